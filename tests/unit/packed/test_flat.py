"""Flat buffers against `torch.optim.AdamW` over the parameters themselves."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from harness.config.settings import TrainingSettings
from harness.training import loop as optimisation
from harness.training.packed.slot import FlatWeights

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
    return optimisation.groups(named.items(), 1e-2, 0.1, {"b_rate_ratio": 4.0})


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
        share = optimisation.rate_share(step, 6, training)
        for each in (reference, weights.optimiser):
            optimisation.set_rate(each, share)
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
    weights.optimiser.param_groups[0]["params"][0].data.zero_()
    assert all(torch.equal(each, held[name]) for name, each in named.items())
