"""Flat buffers against torch's own optimiser over the separate parameters."""

import torch
from torch import nn

from harness.packed.flat import FlatWeights

SHAPES = ((3, 4), (5, 3), (5,))


def parameters(dtype: torch.dtype) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for s in SHAPES]


def groups(given: list[nn.Parameter]) -> list[dict[str, object]]:
    a, b, vector = given
    return [
        {"params": [a, b], "lr": 0.01, "peak": 0.01, "weight_decay": 0.1},
        {"params": [vector], "lr": 0.04, "peak": 0.04, "weight_decay": 0.0},
    ]


def test_steps_and_clipping_are_those_of_the_separate_parameters() -> None:
    plain, own = parameters(torch.float64), parameters(torch.float64)
    usual = torch.optim.AdamW(groups(plain), lr=1.0, fused=True)
    flat = FlatWeights(groups(own), torch.float64)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        for one, other in zip(plain, own, strict=True):
            gradient = torch.randn(one.shape, generator=generator, dtype=torch.float64)
            one.grad = gradient.clone()
            flat.of(other).add(gradient)
        norm = nn.utils.clip_grad_norm_(plain, 0.5)
        torch.testing.assert_close(flat.clip(0.5), norm, rtol=1e-12, atol=0)
        usual.step()
        flat.step()
        for one, other in zip(plain, own, strict=True):
            torch.testing.assert_close(other.data, one.data, rtol=1e-12, atol=1e-14)
            assert not flat.of(other).gradient.any()


def test_products_in_half_precision_leave_the_weights_whole() -> None:
    own = parameters(torch.float32)
    flat = FlatWeights(groups(own), torch.bfloat16)
    matrix, vector = flat.of(own[0]), flat.of(own[2])
    assert own[0].dtype == torch.float32
    assert matrix.value.dtype == torch.bfloat16
    assert vector.value.dtype == torch.float32  # a magnitude is never rounded
    matrix.add(torch.ones(3, 4))
    flat.step()
    assert torch.equal(matrix.value, own[0].data.bfloat16())


def test_a_released_parameter_has_its_own_memory() -> None:
    own = parameters(torch.float32)
    flat = FlatWeights(groups(own), torch.float32)
    kept = [each.data.clone() for each in own]
    assert own[0].data.untyped_storage().data_ptr() == own[1].data.untyped_storage().data_ptr()
    flat.release()
    assert own[0].data.untyped_storage().data_ptr() != own[1].data.untyped_storage().data_ptr()
    assert all(torch.equal(one.data, two) for one, two in zip(own, kept, strict=True))


def test_what_is_not_in_a_group_is_not_trained() -> None:
    flat = FlatWeights(groups(parameters(torch.float32)), torch.bfloat16)
    other = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    assert flat.of(other).gradient is None
    assert flat.of(other).value.dtype == torch.bfloat16
