"""Each part against the plain formula and torch's own way back, in float64."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from harness.packed.parts import DoraPart, Dropout, Frozen, LoraPart, Part, Removed, Trained

SCALE = 1.7


class Fixed(Dropout):
    """Dropout whose mask is given."""

    def __init__(self, mask: Tensor | None) -> None:
        super().__init__(0.5, torch.Generator())
        self._mask = mask

    def mask(self, rows: Tensor) -> Tensor | None:
        del rows
        return self._mask


class Case:
    """Random weights and rows; whether dropout leaves some of them out."""

    def __init__(self, dropped: bool) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            draw = lambda *shape: torch.randn(*shape, dtype=torch.float64)  # noqa: E731
            self.weight, self.rows, self.gradient = draw(6, 5), draw(7, 5), draw(7, 6)
            self.first, self.second = draw(2, 5), draw(6, 2)
            self.magnitude = draw(6).abs()
            self.old = (draw(2, 5), draw(6, 2))
            self.mask = (torch.rand(7, 5) < 0.6).double() / 0.6 if dropped else None
        self.frozen = Frozen(self.weight, None)

    def trained(self, value: Tensor) -> Trained:
        return Trained(value, torch.zeros_like(value))

    def run(self, part: Part) -> tuple[Tensor, Tensor]:
        """What it adds up to, and the gradient of the rows."""
        out = self.frozen.forward(self.rows)
        kept = part.forward(self.rows, out, self.frozen, training=True)
        flowing = part.early(kept, self.gradient)
        into = self.frozen.backward(flowing)
        part.late(kept, into, self.frozen)
        return out, into


def leaf(value: Tensor) -> Tensor:
    return value.clone().requires_grad_()


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("removed", [False, True])
def test_lora(dropped: bool, removed: bool) -> None:
    case = Case(dropped)
    first, second = case.trained(case.first), case.trained(case.second)
    taken = Removed(*case.old, SCALE) if removed else None
    out, into = case.run(LoraPart(first, second, SCALE, Fixed(case.mask), taken))
    rows, a, b = leaf(case.rows), leaf(case.first), leaf(case.second)
    seen = rows if case.mask is None else rows * case.mask
    wanted = rows @ case.weight.T + SCALE * seen @ a.T @ b.T
    if removed:
        wanted = wanted - SCALE * rows @ case.old[0].T @ case.old[1].T
    wanted.backward(case.gradient)
    torch.testing.assert_close(out, wanted.detach(), rtol=1e-12, atol=1e-12)
    for found, grown in ((into, rows), (first.gradient, a), (second.gradient, b)):
        torch.testing.assert_close(found, grown.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dropped", [False, True])
def test_dora(dropped: bool) -> None:
    case = Case(dropped)
    first, second = case.trained(case.first), case.trained(case.second)
    magnitude = case.trained(case.magnitude)
    part = DoraPart(first, second, SCALE, Fixed(case.mask), magnitude)
    out, into = case.run(part)
    rows, a, b, m = map(leaf, (case.rows, case.first, case.second, case.magnitude))
    norm = (case.weight + SCALE * case.second @ case.first).norm(dim=1)
    torch.testing.assert_close(part.norm(case.frozen), norm, rtol=1e-12, atol=1e-12)
    share = m / norm  # a constant on the way back, as in PEFT
    seen = rows if case.mask is None else rows * case.mask
    frozen = functional.linear(seen, case.weight)
    wanted = rows @ case.weight.T - frozen + share * (frozen + SCALE * seen @ a.T @ b.T)
    wanted.backward(case.gradient)
    torch.testing.assert_close(out, wanted.detach(), rtol=1e-12, atol=1e-12)
    found = (into, first.gradient, second.gradient, magnitude.gradient)
    for part_found, grown in zip(found, (rows, a, b, m), strict=True):
        torch.testing.assert_close(part_found, grown.grad, rtol=1e-11, atol=1e-11)


def test_what_is_not_trained_has_no_gradient() -> None:
    case = Case(dropped=False)
    frozen_first = Trained(case.first, None)
    second = case.trained(case.second)
    case.run(LoraPart(frozen_first, second, SCALE, Fixed(None)))
    assert frozen_first.gradient is None
    assert second.gradient is not None
    assert second.gradient.any()


def test_dropout_keeps_the_share_and_the_expectation() -> None:
    dropout = Dropout(0.3, torch.Generator().manual_seed(1))
    mask = dropout.mask(torch.ones(1000, 100))
    assert mask is not None
    assert float((mask == 0).float().mean()) == pytest.approx(0.3, abs=0.005)
    assert float(mask.mean()) == pytest.approx(1.0, abs=0.01)
    assert len(mask.unique()) == 2


def test_a_neighbours_draws_do_not_shift_ones_own() -> None:
    rows = torch.ones(9, 8)

    def masks(neighbours: int) -> list[Tensor | None]:
        own = Dropout(0.5, torch.Generator().manual_seed(3))
        other = Dropout(0.5, torch.Generator().manual_seed(4))
        found = []
        for _ in range(3):
            for _ in range(neighbours):
                other.mask(rows)
            found.append(own.mask(rows))
        return found

    for one, two in zip(masks(0), masks(5), strict=True):
        assert one is not None
        assert two is not None
        assert torch.equal(one, two)


def test_no_dropout_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(5)
    before = generator.get_state()
    assert Dropout(0.0, generator).mask(torch.ones(3, 3)) is None
    assert torch.equal(generator.get_state(), before)
