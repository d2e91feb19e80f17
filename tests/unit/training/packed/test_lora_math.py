"""Parts against autograd: outputs, gradients of weights and of inputs, in double precision.

What is dropped from a slot's rows is its own generator's choice.
"""

from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from harness.adapters.fast_layers import dropout
from harness.training.packed.lora_math import (
    DoraOp,
    Dropout,
    Dropped,
    FrozenWeight,
    LoraOp,
    RemovedInit,
    TrainedWeight,
    row_norms,
)

ROWS, IN, OUT, RANK, SCALE = 7, 12, 10, 3, 1.7


class Injected(Dropout):
    """Drops what a mask of 0 and 2 says, whatever the rows."""

    def __init__(self, given: Tensor | None) -> None:
        super().__init__(0.0, torch.Generator())
        self.given = given

    def draw(self, rows: Tensor) -> Dropped | None:
        if self.given is None:
            return None
        assert rows.shape == self.given.shape
        return partial(dropout, positions=(self.given.flatten() == 0).nonzero()[:, 0], p=0.5)


class Numbers(NamedTuple):
    rows: Tensor
    weight: Tensor
    first: Tensor
    second: Tensor
    magnitude: Tensor
    gradient: Tensor
    mask: Tensor


@pytest.fixture
def numbers() -> Numbers:
    drawn = torch.Generator().manual_seed(0)
    shapes = ((ROWS, IN), (OUT, IN), (RANK, IN), (OUT, RANK), (OUT,), (ROWS, OUT), (ROWS, IN))
    made = [torch.randn(shape, generator=drawn, dtype=torch.float64) for shape in shapes]
    return Numbers(*made[:-1], mask=(made[-1] > 0).double() * 2)


def trained(value: Tensor, learns: bool = True) -> TrainedWeight:
    # What was added up before has to stay.
    return TrainedWeight(value, torch.ones_like(value) if learns else None)


def used(part: LoraOp, frozen: FrozenWeight, given: Numbers) -> tuple[Tensor, Tensor]:
    """Outputs and the inputs' gradient, in the order that a packed layer goes."""
    out = frozen.forward(given.rows)
    kept = part.forward(given.rows, out, frozen)
    before = given.gradient.clone()
    into = frozen.backward(part.backward_outputs(kept, given.gradient))
    part.backward_inputs(kept, into, frozen)
    assert torch.equal(given.gradient, before)  # it belongs to autograd
    return out, into


def same(found: Tensor, wanted: Tensor | None) -> None:
    assert wanted is not None
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("learns", [True, False])
def test_lora_is_what_autograd_says(dropped: bool, learns: bool, numbers: Numbers) -> None:
    mask = numbers.mask if dropped else None
    first, second = trained(numbers.first, learns), trained(numbers.second)
    part = LoraOp(first, second, SCALE, Injected(mask))
    out, into = used(part, FrozenWeight(numbers.weight, None), numbers)

    rows, a, b = (each.clone().requires_grad_() for each in (numbers.rows, *numbers[2:4]))
    seen = rows if mask is None else rows * mask
    wanted = rows @ numbers.weight.T + SCALE * (seen @ a.T) @ b.T
    wanted.backward(numbers.gradient)
    same(out, wanted.detach())
    same(into, rows.grad)
    assert second.gradient is not None
    same(second.gradient - 1, b.grad)
    if learns:
        assert first.gradient is not None
        same(first.gradient - 1, a.grad)


@pytest.mark.parametrize("dropped", [False, True])
def test_dora_is_what_autograd_says(dropped: bool, numbers: Numbers) -> None:
    mask = numbers.mask if dropped else None
    first, second = trained(numbers.first), trained(numbers.second)
    magnitude = trained(numbers.magnitude)
    part = DoraOp(first, second, SCALE, Injected(mask), magnitude)
    out, into = used(part, FrozenWeight(numbers.weight, None), numbers)

    rows, a, b, m = (each.clone().requires_grad_() for each in (numbers.rows, *numbers[2:5]))
    # Section 4.3 of the paper: the norm is a constant on the way back.
    norm = (numbers.weight + SCALE * b @ a).norm(dim=1).detach()
    seen = rows if mask is None else rows * mask
    bare, update = seen @ numbers.weight.T, SCALE * (seen @ a.T) @ b.T
    wanted = rows @ numbers.weight.T + (m / norm - 1) * bare + m / norm * update
    wanted.backward(numbers.gradient)
    same(out, wanted.detach())
    same(into, rows.grad)
    for each, reference in ((first, a), (second, b), (magnitude, m)):
        assert each.gradient is not None
        same(each.gradient - 1, reference.grad)


def test_dora_s_norm_is_that_of_the_matrix(numbers: Numbers) -> None:
    _, weight, first, second, *_ = numbers
    found = row_norms(FrozenWeight(weight, None), first, second, SCALE)
    same(found, (weight + SCALE * second @ first).norm(dim=1))


def test_dora_s_norm_is_taken_in_float32_at_least(numbers: Numbers) -> None:
    _, weight, first, second, *_ = (each.bfloat16() for each in numbers)
    found = row_norms(FrozenWeight(weight, None), first, second, SCALE)
    wanted = (weight.double() + SCALE * second.double() @ first.double()).norm(dim=1)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=2e-2, atol=0)


def test_what_was_taken_out_of_the_weights_is_taken_away(numbers: Numbers) -> None:
    rows, weight, first, second, *_ = numbers
    frozen, removed = FrozenWeight(weight, None), RemovedInit(first, second, SCALE)
    left = weight - SCALE * second @ first
    out = frozen.forward(rows)
    removed.forward(rows, out)
    same(out, rows @ left.T)
    into = frozen.backward(numbers.gradient)
    removed.backward(numbers.gradient, into)
    same(into, numbers.gradient @ left)


@pytest.mark.parametrize("dropped", [False, True])
def test_what_was_taken_out_flows_back_past_dropout(dropped: bool, numbers: Numbers) -> None:
    old = (numbers.first.flip(0) + 1, numbers.second.flip(1) - 1)
    mask = numbers.mask if dropped else None
    first, second = trained(numbers.first), trained(numbers.second)
    part = LoraOp(first, second, SCALE, Injected(mask), RemovedInit(*old, SCALE))
    out, into = used(part, FrozenWeight(numbers.weight, None), numbers)
    rows = numbers.rows.clone().requires_grad_()
    seen = rows if mask is None else rows * mask
    wanted = rows @ numbers.weight.T + SCALE * seen @ numbers.first.T @ numbers.second.T
    wanted = wanted - SCALE * rows @ old[0].T @ old[1].T
    wanted.backward(numbers.gradient)
    torch.testing.assert_close(out, wanted.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(into, rows.grad, rtol=1e-12, atol=1e-12)


@pytest.fixture(params=["places", "mask"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor and as on a GPU."""
    if request.param == "mask":
        monkeypatch.setattr(Dropout, "_by_index", Dropout._by_mask)


def test_nothing_is_drawn_where_nothing_is_dropped() -> None:
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    assert Dropout(0.0, generator).draw(torch.ones(9, 5)) is None
    assert torch.equal(generator.get_state(), before)


@pytest.mark.usefixtures("way")
def test_each_draw_is_another_and_the_generator_s() -> None:
    rows = torch.ones(9, 5)
    seen = []
    for seed in (3, 3, 4):
        dropout = Dropout(0.4, torch.Generator().manual_seed(seed))
        draws = [dropout.draw(rows) for _ in range(2)]
        seen.append([None if each is None else each(rows) for each in draws])
    assert all(torch.equal(one, other) for one, other in zip(seen[0], seen[1], strict=True))
    assert not torch.equal(seen[0][0], seen[0][1])
    assert not torch.equal(seen[0][0], seen[2][0])


@pytest.mark.usefixtures("way")
def test_the_share_that_is_dropped_is_p_and_the_mean_stays() -> None:
    rows = torch.ones(400, 500)
    dropped = Dropout(0.1, torch.Generator().manual_seed(3)).draw(rows)
    assert dropped is not None
    left = dropped(rows)
    # Four standard errors of 200,000 draws.
    assert float((left == 0).double().mean()) == pytest.approx(0.1, abs=0.0027)
    assert float(left.double().mean()) == pytest.approx(1, abs=0.003)


@pytest.mark.usefixtures("way")
def test_what_is_no_number_is_dropped_like_the_rest() -> None:
    rows = torch.full((40, 50), torch.nan)
    dropped = Dropout(0.5, torch.Generator().manual_seed(3)).draw(rows)
    assert dropped is not None
    assert 700 < int((dropped(rows) == 0).sum()) < 1300
