"""Rows and their owners, sequences and their padding.

Packed attention against each sequence by itself: outputs and gradients, in double precision.
"""

import threading
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

from harness.models.base_model import BaseModel
from harness.training.packed import layout as attention
from harness.training.packed.layout import (
    Layout,
    current_layout,
    packed_attention,
    use_layout,
    use_packed_attention,
)

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=6).map(tuple)


@given(LENGTHS)
def test_positions_begin_anew_with_each_sequence(lengths: tuple[int, ...]) -> None:
    found = Layout((), lengths).positions
    assert found.shape == (1, sum(lengths))
    assert found[0].tolist() == [place for length in lengths for place in range(length)]


@given(LENGTHS)
def test_padding_puts_each_row_in_its_place_and_takes_it_back(lengths: tuple[int, ...]) -> None:
    padding = Layout((), lengths).padding
    if len(set(lengths)) == 1:
        assert padding is None  # a view is enough
        return
    assert padding is not None
    assert (padding.sequences, padding.longest) == (len(lengths), max(lengths))
    rows = torch.arange(1, sum(lengths) + 1)
    padded = rows[padding.sources].view(padding.sequences, padding.longest)
    for row, one in zip(padded, torch.split(rows, [*lengths]), strict=True):
        assert row[: len(one)].tolist() == one.tolist()
        # Its own first: a trial that has diverged would spoil the others' products.
        assert row[len(one) :].tolist() == [int(one[0])] * (max(lengths) - len(one))
    assert torch.equal(padded.flatten()[padding.inverse], rows)


def test_a_layout_is_there_within_its_pass_alone() -> None:
    outer, inner = Layout((), (1,)), Layout((), (2,))
    assert current_layout() is None
    with use_layout(outer):
        try:
            with use_layout(inner):
                assert current_layout() is inner
                raise ValueError
        except ValueError:
            assert current_layout() is outer
    assert current_layout() is None


def test_another_thread_does_not_see_it() -> None:
    seen: list[Layout | None] = []
    with use_layout(Layout((), (1,))):
        thread = threading.Thread(target=lambda: seen.append(current_layout()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_places_lie_where_the_rows_lie() -> None:
    layout = Layout((), (2, 3), device=torch.device("meta"))
    assert layout.padding is not None
    found = (layout.positions, layout.padding.sources, layout.padding.inverse)
    assert [each.device.type for each in found] == ["meta"] * 3


HEADS, WIDTH = 4, 8
UNLIKE, ALIKE, LONE = (3, 11, 1, 6), (5, 5, 5), (7,)


class Three(NamedTuple):
    query: Tensor
    key: Tensor
    value: Tensor


def drawn(rows: int, groups: int, dtype: torch.dtype = torch.float64) -> Three:
    generator = torch.Generator().manual_seed(0)
    made = [
        torch.randn(1, heads, rows, WIDTH, generator=generator, dtype=torch.float64).to(dtype)
        for heads in (HEADS, HEADS // groups, HEADS // groups)
    ]
    return Three(*(each.requires_grad_() for each in made))


def seen(length: int, window: int | None) -> Tensor:
    """What each token sees, written out."""
    return torch.tensor(
        [
            [j <= i and (window is None or i - j < window) for j in range(length)]
            for i in range(length)
        ]
    )


def alone(three: Three, length: int, groups: int, window: int | None, scale: float) -> Tensor:
    """One sequence, shape (1, rows, heads, width)."""
    key, value = (each.repeat_interleave(groups, dim=1) for each in three[1:])
    out = functional.scaled_dot_product_attention(
        three.query, key, value, attn_mask=seen(length, window), scale=scale
    )
    return out.transpose(1, 2)


def each_alone(
    three: Three, lengths: tuple[int, ...], groups: int, window: int | None, scale: float
) -> Tensor:
    parts = zip(*(torch.split(each, [*lengths], dim=2) for each in three), strict=True)
    found = [
        alone(Three(*part), length, groups, window, scale)
        for part, length in zip(parts, lengths, strict=True)
    ]
    return torch.cat(found, dim=1)


def together(three: Three, lengths: tuple[int, ...], **named: object) -> Tensor:
    with use_layout(Layout((), lengths)):
        out, weights = packed_attention(nn.Identity(), *three, None, **named)
    assert weights is None
    return out


def gradients(out: Tensor, three: Three) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    flowing = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    return torch.autograd.grad(out, three, flowing.to(out.dtype))


def same(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lengths", [UNLIKE, ALIKE, LONE])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("window", [None, 1, 4, 11, 50])
def test_each_sequence_is_as_if_it_were_alone(
    lengths: tuple[int, ...], groups: int, window: int | None
) -> None:
    three = drawn(sum(lengths), groups)
    wanted = each_alone(three, lengths, groups, window, 0.3)
    found = together(three, lengths, sliding_window=window, scaling=0.3)
    assert found.shape == (1, sum(lengths), HEADS, WIDTH)
    same(found, wanted)
    for one, other in zip(gradients(found, three), gradients(wanted, three), strict=True):
        same(one, other)


def test_without_a_scale_it_is_the_root_of_the_width() -> None:
    three = drawn(sum(UNLIKE), 1)
    same(together(three, UNLIKE), each_alone(three, UNLIKE, 1, None, WIDTH**-0.5))
    capped = together(three, UNLIKE, softcap=1e6)
    torch.testing.assert_close(capped, together(three, UNLIKE), rtol=0, atol=1e-9)


@pytest.mark.parametrize("lengths", [UNLIKE, ALIKE])
@pytest.mark.parametrize("window", [None, 4])
def test_a_softcap_is_gemma_2_s(lengths: tuple[int, ...], window: int | None) -> None:
    class Layer(nn.Module):
        num_key_value_groups = 2

    three = drawn(sum(lengths), 2)
    parts = zip(*(torch.split(each, [*lengths], dim=2) for each in three), strict=True)
    outs = []
    for part, length in zip(parts, lengths, strict=True):
        hidden = torch.where(seen(length, window), 0.0, -torch.inf)
        outs.append(eager_attention_forward(Layer(), *part, hidden, scaling=0.9, softcap=1.5)[0])
    wanted = torch.cat(outs, dim=1)
    found = together(three, lengths, sliding_window=window, scaling=0.9, softcap=1.5)
    # Transformers takes the softmax in float32 here, whatever the precision.
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    for one, other in zip(gradients(found, three), gradients(wanted, three), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    assert not torch.allclose(found, together(three, lengths, sliding_window=window, scaling=0.9))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_back_as_it_went_in(dtype: torch.dtype) -> None:
    three = drawn(sum(UNLIKE), 2, dtype)
    found = together(three, UNLIKE, scaling=0.3)
    assert found.dtype == dtype
    wide = Three(*(each.detach().double().requires_grad_() for each in three))
    wanted = each_alone(wide, UNLIKE, 2, None, 0.3)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-2, atol=1e-2)
    for one, other in zip(gradients(found, three), gradients(wanted, wide), strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one.double(), other, rtol=3e-2, atol=3e-2)


@pytest.mark.parametrize("ill", range(len(UNLIKE)))
@pytest.mark.parametrize("named", [{}, {"sliding_window": 4}, {"softcap": 2.0}])
def test_a_sequence_without_numbers_spoils_no_other(ill: int, named: dict[str, object]) -> None:
    three = drawn(sum(UNLIKE), 1)
    start = sum(UNLIKE[:ill])
    here = slice(start, start + UNLIKE[ill])
    well = together(three, UNLIKE, **named)
    flowing = gradients(well, three)
    spoilt = Three(*(each.detach().clone() for each in three))
    for each in spoilt:
        each[:, :, here] = torch.nan
        each.requires_grad_()
    found = together(spoilt, UNLIKE, **named)
    others = torch.ones(sum(UNLIKE), dtype=torch.bool)
    others[here] = False
    same(found[:, others], well[:, others])
    for one, other in zip(gradients(found, spoilt), flowing, strict=True):
        same(one[:, :, others], other[:, :, others])


def test_a_model_uses_it_meanwhile_and_then_its_own(base: BaseModel) -> None:
    config = base.model.config
    before = config._attn_implementation
    assert before != attention.NAME
    with use_packed_attention(base.model):
        assert config._attn_implementation == attention.NAME
    assert config._attn_implementation == before
    with pytest.raises(AssertionError), use_packed_attention(base.model):
        base.model(input_ids=torch.tensor([[1, 2, 3]]))  # no layout
    assert config._attn_implementation == before


def test_outside_of_a_layout_it_says_so(base: BaseModel) -> None:
    ids = torch.tensor([[1, 2, 3]])
    with (
        use_packed_attention(base.model),
        pytest.raises(AssertionError, match="outside of a layout"),
    ):
        base.model(input_ids=ids)
