"""Pieces of a decoder layer against Transformers' own and autograd, in double precision."""

import pytest
import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import (
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
)

from harness.training.packed.layout import Layout, laid_out
from harness.training.packed.llama import Core, Norm, Turn, gated, ungated
from tests import toy

DRAWN = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=DRAWN, dtype=torch.float64)


def same(found: Tensor, wanted: Tensor | None) -> None:
    assert wanted is not None
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(7, 12), (7, 2, 6)])
def test_norm_is_transformers_own(shape: tuple[int, ...]) -> None:
    module = LlamaRMSNorm(shape[-1], eps=1e-3).double()
    nn.init.normal_(module.weight)
    x, gradient = drawn(*shape), drawn(*shape)
    norm = Norm(module, torch.float64)
    out, kept = norm.forward(x)
    given = x.clone().requires_grad_()
    # Its own forward goes by float32.
    wanted = module.weight * given * torch.rsqrt(given.pow(2).mean(-1, keepdim=True) + 1e-3)
    wanted.backward(gradient)
    torch.testing.assert_close(out, module(x), rtol=1e-6, atol=1e-6)
    same(out, wanted.detach())
    same(norm.backward(kept, gradient), given.grad)


def test_turn_is_transformers_own() -> None:
    config = toy.llama_config()
    layout = Layout((), (5, 9))
    query, key, gradient = drawn(14, 2, 16), drawn(14, 1, 16), drawn(14, 2, 16)
    cosines, sines = LlamaRotaryEmbedding(config)(query[None], layout.positions)
    assert cosines.shape[-1] == query.shape[-1]
    turn = Turn(cosines[0], sines[0])
    given = query.clone().requires_grad_()
    wanted = apply_rotary_pos_emb(
        given.transpose(0, 1)[None], key.transpose(0, 1)[None], cosines, sines
    )
    for found, one in zip((turn.forward(query), turn.forward(key)), wanted, strict=True):
        same(found, one[0].transpose(0, 1).detach())
    wanted[0][0].transpose(0, 1).backward(gradient)
    same(turn.backward(gradient), given.grad)


@pytest.mark.parametrize("window", [None, 3])
def test_core_sees_its_own_sequence_up_to_itself(window: int | None) -> None:
    layout = Layout((), (5, 9))
    heads = (drawn(14, 4, 6), drawn(14, 2, 6), drawn(14, 2, 6))
    gradient = drawn(14, 24)
    core = Core(0.3, window)
    with laid_out(layout):
        out, kept = core.forward(*heads, learns=True)
        unlearnt, nothing = core.forward(*heads, learns=False)
    assert nothing is None
    assert kept is not None
    same(out, unlearnt)

    given = [each.clone().requires_grad_() for each in heads]
    query, key, value = given[0], *(each.repeat_interleave(2, dim=1) for each in given[1:])
    places, owners = layout.positions[0], torch.tensor([0] * 5 + [1] * 9)
    distance = places[:, None] - places
    seen = (owners[:, None] == owners) & (distance >= 0) & (distance < (window or 99))
    products = torch.einsum("ihw,jhw->hij", query, key) * 0.3
    shares = products.masked_fill(~seen, float("-inf")).softmax(-1)
    wanted = torch.einsum("hij,jhw->ihw", shares, value).flatten(1)
    wanted.backward(gradient)
    same(out, wanted.detach())
    for found, one in zip(core.backward(kept, gradient), given, strict=True):
        same(found, one.grad)


def test_gate_is_silu_of_one_times_the_other() -> None:
    gate, up, gradient = drawn(7, 12), drawn(7, 12), drawn(7, 12)
    given = [each.clone().requires_grad_() for each in (gate, up)]
    wanted = nn.functional.silu(given[0]) * given[1]
    wanted.backward(gradient)
    out, kept = gated(gate, up)
    same(out, wanted.detach())
    for found, one in zip(ungated(kept, gradient), given, strict=True):
        same(found, one.grad)
