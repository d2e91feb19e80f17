"""Flat buffers against `torch.optim.AdamW` over the parameters themselves.

An adapter beside its base: the base is bare, and the adapter is what it was when it is back.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from harness.adapters import attach
from harness.adapters.adapter import Adapter
from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel, checksum
from harness.training import loop
from harness.training.packed.slot import DetachedAdapter, FlatWeights
from harness.trial import TrialConfig

SHAPES = {
    "a.lora_A.weight": (3, 17),
    "a.lora_B.weight": (5, 3),
    "a.lora_magnitude_vector.weight": (5,),
    "b.lora_A.weight": (3, 8),
    "b.lora_B.weight": (11, 3),
    "b.lora_magnitude_vector.weight": (11,),
}
#: A whole number of the 16 numbers that AdamW's kernel takes at once.
WHOLE = {name: (16, *shape[1:]) for name, shape in SHAPES.items()}
Named = dict[str, nn.Parameter]
Shapes = dict[str, tuple[int, ...]]


def made(dtype: torch.dtype = torch.float64, shapes: Shapes = SHAPES) -> Named:
    drawn = torch.Generator().manual_seed(0)
    return {
        name: nn.Parameter(torch.randn(shape, generator=drawn, dtype=torch.float64).to(dtype))
        for name, shape in shapes.items()
    }


def groups(named: Named) -> list[dict[str, Any]]:
    return loop.parameter_groups(named.items(), 1e-2, 0.1, {"b_rate_ratio": 4.0})


def gradients(step: int, shapes: Shapes = SHAPES) -> list[torch.Tensor]:
    drawn = torch.Generator().manual_seed(step + 1)
    return [torch.randn(shape, generator=drawn, dtype=torch.float64) for shape in shapes.values()]


def give(weights: FlatWeights, named: Named, found: Sequence[torch.Tensor]) -> None:
    for parameter, gradient in zip(named.values(), found, strict=True):
        weights.of(parameter).add(gradient.to(parameter.dtype))


@pytest.mark.parametrize(("shapes", "near"), [(WHOLE, 0.0), (SHAPES, 1e-14)])
def test_steps_are_those_of_adamw_over_the_parameters(shapes: Shapes, near: float) -> None:
    plain, named = made(shapes=shapes), made(shapes=shapes)
    weights = FlatWeights(groups(named), torch.float64)
    reference = torch.optim.AdamW(groups(plain), lr=1e-2, fused=True)
    training = TrainingSettings(steps=6, warmup=0.4)
    for step in range(6):
        share = loop.schedule_factor(step, 6, training)
        for each in (reference, weights.optimizer):
            loop.set_rate(each, share)
        found = gradients(step, shapes)
        give(weights, named, found)
        for parameter, gradient in zip(plain.values(), found, strict=True):
            parameter.grad = gradient
        reference.step()
        weights.step()
        for name, parameter in named.items():
            # The last few numbers of each tensor go another way through the kernel than those
            # within a long buffer, which can change the last digit.
            torch.testing.assert_close(parameter, plain[name], rtol=near, atol=0)
            assert torch.equal(weights.of(parameter).value, parameter)


@pytest.mark.parametrize("bound", [0.5, 1e6])
def test_gradients_are_clipped_as_they_are_over_the_parameters(bound: float) -> None:
    plain, named = made(), made()
    weights = FlatWeights(groups(named), torch.float64)
    give(weights, named, gradients(0))
    for parameter, gradient in zip(plain.values(), gradients(0), strict=True):
        parameter.grad = gradient
    wanted = nn.utils.clip_grad_norm_(plain.values(), bound)
    # The squares are added up in another order.
    assert float(weights.clip(bound)) == pytest.approx(float(wanted), rel=1e-14)
    for name, parameter in named.items():
        found = weights.of(parameter).gradient
        assert found is not None
        torch.testing.assert_close(found, plain[name].grad, rtol=1e-14, atol=0)


def test_gradients_are_added_up_until_a_step() -> None:
    named = made()
    weights = FlatWeights(groups(named), torch.float64)
    for step in range(2):
        give(weights, named, gradients(step))
    wanted = [one + other for one, other in zip(gradients(0), gradients(1), strict=True)]
    for parameter, total in zip(named.values(), wanted, strict=True):
        found = weights.of(parameter).gradient
        assert found is not None
        assert torch.equal(found, total)
    weights.step()
    assert not any(weights.of(each).gradient.any() for each in named.values())
    give(weights, named, gradients(0))
    weights.clear()
    assert not any(weights.of(each).gradient.any() for each in named.values())


def test_half_precision_rounds_matrices_for_products_alone() -> None:
    named = made(torch.float32)
    before = copy.deepcopy(named)
    weights = FlatWeights(groups(named), torch.bfloat16)
    for step in range(3):
        give(weights, named, gradients(step))
        weights.step()
        for parameter in named.values():
            trained = weights.of(parameter)
            assert parameter.dtype == torch.float32
            assert trained.gradient is not None
            assert trained.gradient.dtype == torch.float32
            if parameter.ndim < 2:  # they scale whole outputs
                assert torch.equal(trained.value, parameter)
                continue
            assert trained.value.dtype == torch.bfloat16
            assert torch.equal(trained.value, parameter.bfloat16())
            # Nothing rounds what is trained.
            assert not torch.equal(trained.value.float(), parameter)
    assert not any(torch.equal(named[name], each) for name, each in before.items())


def test_what_is_not_trained_has_no_gradient_and_is_rounded_once() -> None:
    named = made(torch.float32)
    frozen = named["a.lora_A.weight"].requires_grad_(False)
    weights = FlatWeights(groups(named), torch.bfloat16)
    trained = weights.of(frozen)
    assert trained.gradient is None
    assert torch.equal(trained.value, frozen.bfloat16())
    trained.add(torch.ones_like(trained.value))  # nothing to add to
    assert torch.equal(weights.of(frozen).value, frozen.bfloat16())


def test_released_parameters_have_memory_of_their_own() -> None:
    named = made()
    whole = sum(each.numel() * each.element_size() for each in named.values())
    weights = FlatWeights(groups(named), torch.float64)
    held = {name: each.detach().clone() for name, each in named.items()}
    weights.release()
    for name, each in named.items():
        assert torch.equal(each, held[name])
        assert each.untyped_storage().nbytes() == each.numel() * each.element_size() < whole
    weights.optimizer.param_groups[0]["params"][0].data.zero_()
    assert all(torch.equal(each, held[name]) for name, each in named.items())


PROBE = torch.tensor([[1, 40, 50, 60, 7, 200]])
VARIANTS = ("lora", "dora", "orthogonal", "pissa", "vera")


def config(variant: str = "lora", **changes: object) -> TrialConfig:
    return TrialConfig(variant, 4, 8.0, 0.0, "all_linear", 5e-3, 5).replace(**changes)


@torch.no_grad()
def logits(base: BaseModel) -> Tensor:
    found: Tensor = base.model(input_ids=PROBE, use_cache=False).logits
    return found


def parts(base: BaseModel) -> list[tuple[str, type]]:
    return [(name, type(module)) for name, module in base.model.named_modules()]


@torch.no_grad()
def moved(adapter: Adapter, seed: int) -> None:
    """Other weights than at the start, so that the adapter says something."""
    drawn = torch.Generator().manual_seed(seed)
    for weight in adapter.base.parameters():
        if weight.requires_grad:
            weight += 0.1 * torch.randn(weight.shape, generator=drawn)


@contextmanager
def parked(
    base: BaseModel, wanted: TrialConfig, seed: int = 1
) -> Iterator[tuple[DetachedAdapter, Tensor]]:
    """An adapter taken aside, and what the base says with it on."""
    bare = [(weight, weight.data) for weight in base.model.parameters()]
    with attach.attached_adapter(base, wanted) as adapter:
        moved(adapter, seed)
        said = logits(base)
        aside = DetachedAdapter(adapter, bare)
        try:
            yield aside, said
        finally:
            aside.enter()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_base_is_bare_while_an_adapter_is_parked(variant: str, base: BaseModel) -> None:
    bare, there, weights = logits(base), parts(base), checksum(base.model)
    with parked(base, config(variant)) as (aside, said):
        assert not torch.equal(said, bare)
        for _ in range(2):
            assert torch.equal(logits(base), bare)
            assert parts(base) == there
            assert checksum(base.model) == weights
            assert not hasattr(base.model, "peft_config")
            assert not any(weight.requires_grad for weight in base.model.parameters())
            with aside.present():
                assert torch.equal(logits(base), said)
                assert hasattr(base.model, "peft_config")
    assert torch.equal(logits(base), bare)
    assert checksum(base.model) == weights


def test_whatever_happens_while_it_is_on_it_is_taken_off(base: BaseModel) -> None:
    bare = logits(base)
    with parked(base, config()) as (aside, _):
        with pytest.raises(IndexError), aside.present():
            base.model(input_ids=PROBE + 1000)
        assert torch.equal(logits(base), bare)


@pytest.mark.parametrize("first", ["lora", "dora", "pissa"])
def test_two_adapters_are_on_in_turn(first: str, base: BaseModel) -> None:
    bare = logits(base)
    with ExitStack() as stack:
        one, said_by_one = stack.enter_context(parked(base, config(first), 1))
        other, said_by_other = stack.enter_context(
            parked(base, config("dora", rank=2, target_modules="qv"), 2)
        )
        assert not torch.equal(said_by_one, said_by_other)
        for aside, said in ((one, said_by_one), (other, said_by_other)) * 2:
            with aside.present():
                assert torch.equal(logits(base), said)
            assert torch.equal(logits(base), bare)
    assert torch.equal(logits(base), bare)


# PEFT asks Transformers by the old name of a property.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_a_parked_adapter_is_saved_as_peft_reads_it(
    variant: str, base: BaseModel, model_folder: Path, tmp_path: Path
) -> None:
    bare = [(weight, weight.data) for weight in base.model.parameters()]
    with attach.attached_adapter(base, config(variant)) as adapter:
        moved(adapter, 3)
        said, aside = logits(base), DetachedAdapter(adapter, bare)
        with parked(base, config("lora", rank=1), 4), aside.present():
            attach.save_adapter(adapter, str(tmp_path / "it"))
        aside.enter()
    fresh = AutoModelForCausalLM.from_pretrained(model_folder)
    loaded = PeftModel.from_pretrained(fresh, tmp_path / "it").eval()
    with torch.no_grad():
        found = loaded(input_ids=PROBE, use_cache=False).logits
    torch.testing.assert_close(found, said, rtol=1e-5, atol=1e-5)
