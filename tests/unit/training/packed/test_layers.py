"""The two kernels against each other, in double precision: same outputs, same gradients.

An adapter that stands still does what PEFT's layer does, in double precision.
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.adapters import attach
from harness.models.base_model import BaseModel
from harness.training.packed.layers import (
    BatchedKernel,
    LoopKernel,
    kernel_for,
    make_inference_lora,
)
from harness.training.packed.layout import Layout, SlotRows
from harness.training.packed.lora_math import (
    DoraOp,
    Dropout,
    FrozenWeight,
    LoraOp,
    RemovedInit,
    TrainedWeight,
)
from harness.trial import TrialConfig
from tests import packs

IN, OUT = 12, 10
#: Rank, scale and dropout of each slot's adapter.
SLOTS = ((3, 1.7, 0.0), (8, 0.5, 0.4), (1, 2.0, 0.0), (8, 1.0, 0.2))


def drawn(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def trained(value: Tensor, learns: bool = True) -> TrainedWeight:
    # What was added up before has to stay.
    return TrainedWeight(value, torch.ones_like(value) if learns else None)


def lora(slot: int, learns: bool = True, removed: RemovedInit | None = None) -> LoraOp:
    rank, scale, p = SLOTS[slot]
    first = trained(drawn(rank, IN, seed=slot), learns)
    second = trained(drawn(OUT, rank, seed=10 + slot))
    dropout = Dropout(p, torch.Generator().manual_seed(slot))
    return LoraOp(first, second, scale, dropout, removed)


def dora(slot: int) -> DoraOp:
    plain = lora(slot)
    magnitude = trained(drawn(OUT, seed=20 + slot).abs())
    return DoraOp(plain.first, plain.second, plain.scale, plain.dropout, magnitude)


def all_lora() -> dict[int, LoraOp]:
    return {slot: lora(slot) for slot in range(4)}


def frozen_first() -> dict[int, LoraOp]:
    return {slot: lora(slot, learns=slot != 1) for slot in range(4)}


def mixed() -> dict[int, LoraOp]:
    removed = RemovedInit(drawn(2, IN, seed=31), drawn(OUT, 2, seed=32), 0.7)
    return {0: lora(0), 1: dora(1), 2: lora(2, removed=removed), 3: lora(3)}


def only_one() -> dict[int, LoraOp]:
    return {2: lora(2)}


def shares(*counts: int) -> Layout:
    ends = torch.tensor(counts).cumsum(0).tolist()
    given = [
        SlotRows(slot, end - count, end)
        for slot, (end, count) in enumerate(zip(ends, counts, strict=True))
    ]
    return Layout(tuple(given), (ends[-1],))


def used(
    kernel: LoopKernel, parts: dict[int, LoraOp], layout: Layout, count: int
) -> Sequence[Tensor]:
    """Outputs, the inputs' gradient, and the gradients of all weights."""
    rows, gradient = drawn(count, IN, seed=40), drawn(count, OUT, seed=41)
    frozen = FrozenWeight(drawn(OUT, IN, seed=42), None)
    out = frozen.forward(rows)
    kept = kernel.forward(parts, rows, out, frozen, layout)
    before, given = gradient.clone(), rows.clone()
    into = frozen.backward(kernel.backward_outputs(kept, gradient, needed=True))
    kernel.backward_inputs(kept, into, frozen)
    assert torch.equal(gradient, before)  # it belongs to autograd
    assert torch.equal(rows, given)
    found = [out, into]
    for part in parts.values():
        weights = [part.first, part.second]
        weights += [part.magnitude] if isinstance(part, DoraOp) else []
        found += [each.gradient for each in weights if each.gradient is not None]
    return found


@pytest.mark.parametrize("make", [all_lora, frozen_first, mixed, only_one])
@pytest.mark.parametrize(
    ("layout", "count"),
    [
        pytest.param(shares(5, 5, 5, 5), 20, id="equal"),
        pytest.param(shares(7, 2, 1, 4), 17, id="unlike, and rows of nobody"),
    ],
)
def test_kernels_say_the_same(make: object, layout: Layout, count: int) -> None:
    assert callable(make)
    wanted = used(LoopKernel(), make(), layout, count)
    found = used(BatchedKernel(), make(), layout, count)
    assert len(found) == len(wanted) > 2
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_what_one_slot_makes_no_number_stays_with_it() -> None:
    layout = shares(7, 2, 1, 4)
    wanted = used(BatchedKernel(), all_lora(), layout, 14)
    parts = all_lora()
    ruined = parts[1]
    assert isinstance(ruined, LoraOp)
    ruined.second.value.fill_(torch.nan)
    found = used(BatchedKernel(), parts, layout, 14)
    assert found[0][7:9].isnan().all()
    assert found[1][7:9].isnan().any()
    for one, other in zip(found[:2], wanted[:2], strict=True):
        assert torch.equal(one[:7], other[:7])
        assert torch.equal(one[9:], other[9:])
    for place in (2, 3, 6, 7, 8, 9):  # gradients of the others
        assert torch.equal(found[place], wanted[place])


class Counted(TorchDispatchMode):
    """Counts what a GPU would be asked to do: all operations but views."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("ranks", [(4, 4), (2, 6)], ids=["equal ranks", "unlike ranks"])
def test_more_slots_ask_for_no_more_operations(ranks: tuple[int, int]) -> None:
    counts = []
    for slots in (2, 16):
        parts: dict[int, LoraOp] = {}
        for slot in range(slots):
            rank = ranks[slot % 2]
            first, second = drawn(rank, IN, seed=slot), drawn(OUT, rank, seed=50 + slot)
            nothing = Dropout(0.0, torch.Generator())
            parts[slot] = LoraOp(trained(first), trained(second), 1.0 + slot, nothing)
        layout = shares(*[3 + slot % 2 for slot in range(slots)])
        used(
            BatchedKernel(), dict(parts), layout, sum(layout.lengths)
        )  # what is found once a pass
        with Counted() as counted:
            used(BatchedKernel(), parts, layout, sum(layout.lengths))
        counts.append(counted.count)
    assert counts[0] == counts[1]


def test_a_processor_goes_slot_by_slot_and_a_gpu_all_at_once() -> None:
    assert isinstance(kernel_for(torch.device("cpu")), LoopKernel)
    assert isinstance(kernel_for(torch.device("cuda", 0)), BatchedKernel)


#: What was taken out of the frozen weights counts; what the pack trains does not.
SCALE = 0.7


def part(removed: RemovedInit | None) -> LoraOp:
    nothing = TrainedWeight(torch.empty(0), None)
    return LoraOp(nothing, nothing, 1.0, Dropout(0.3, torch.Generator()), removed)


@pytest.mark.parametrize("variant", ["lora", "rslora", "lora_plus", "dora"])
def test_a_layer_is_peft_s(variant: str, double: BaseModel) -> None:
    drawn = torch.Generator().manual_seed(0)
    config = TrialConfig(variant, 4, 8.0, 0.3, "all_linear", 1e-3, 0)
    with attach.attached_adapter(double, config) as adapter, torch.no_grad():
        for weight in (each for each in double.model.parameters() if each.requires_grad):
            weight += 0.1 * torch.randn(weight.shape, generator=drawn, dtype=weight.dtype)
        layers = packs.lora_layers(adapter)
        assert len(layers) > 7
        for layer in layers.values():
            layer.eval()
            frozen = FrozenWeight(layer.get_base_layer().get_parameter("weight"), None)
            rows = torch.randn(5, frozen.weight.shape[1], generator=drawn, dtype=torch.float64)
            out = frozen.forward(rows)
            make_inference_lora(layer, part(None), frozen).add(rows, out)
            wanted = layer(rows)
            torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10)
            if variant == "dora":
                continue
            first = torch.randn(2, rows.shape[1], generator=drawn, dtype=torch.float64)
            second = torch.randn(out.shape[1], 2, generator=drawn, dtype=torch.float64)
            less = frozen.forward(rows)
            make_inference_lora(layer, part(RemovedInit(first, second, SCALE)), frozen).add(
                rows, less
            )
            missing = SCALE * rows @ first.T @ second.T
            torch.testing.assert_close(less, wanted - missing, rtol=1e-10, atol=1e-10)
