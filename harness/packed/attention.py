"""Causal attention within each of several sequences that lie end to end in one row.

Registered with Transformers, whose models call it in the place of their own. On a processor the
core runs in float32: its way back in bfloat16 took three times as long. Knows layouts only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from harness.packed.layout import Padding, active

#: What Transformers knows it by.
NAME: Final = "harness_packed"


class _Pad(Function):
    """(rows, heads, width) to (sequences, heads, longest, width); padding holds any numbers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: Padding) -> Tensor:
        ctx.padding = padding
        rows = x.index_select(0, padding.places)
        return rows.view(padding.sequences, padding.longest, *x.shape[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # Causal rows never see what lies behind them: the padding's own gradients are zero.
        return gradient.flatten(0, 1).index_select(0, ctx.padding.back), None


class _Unpad(Function):
    """(sequences, longest, heads, width) back to (rows, heads, width)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: Padding) -> Tensor:
        ctx.padding = padding
        return x.flatten(0, 1).index_select(0, padding.back)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        padding: Padding = ctx.padding
        whole = gradient.new_zeros(padding.sequences * padding.longest, *gradient.shape[1:])
        whole.index_copy_(0, padding.back, gradient)
        return whole.view(padding.sequences, padding.longest, *gradient.shape[1:]), None


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """In the place of Transformers' attention functions, within `laid_out`.

    Args:
        module: the attention layer, which knows how many query heads share a key.
        query: shape (1, heads, rows, width).
        key: shape (1, key heads, rows, width).
        value: shape as `key`.
        attention_mask: not used: sequences are told apart by the layout.
        scaling: of the products; None for the root of the width.
        dropout: is 0 in evaluation mode, in which the base always is.
        sliding_window: tokens that a token sees, itself included; None for all before it.
        softcap: Gemma 2's bound on the products, or None.

    Returns:
        Shape (1, rows, heads, width), and no weights.
    """
    del module, attention_mask, dropout
    layout = active()
    assert layout is not None, "packed attention outside of a layout"
    padding, dtype = layout.padding, query.dtype
    if query.device.type == "cpu" and dtype in (torch.bfloat16, torch.float16):
        query, key, value = query.float(), key.float(), value.float()
    count, groups = len(layout.lengths), query.shape[1] // key.shape[1]
    query, key, value = (_sequences(each, count, padding) for each in (query, key, value))
    if groups > 1:
        key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    longest = max(layout.lengths)
    mask = _window(longest, sliding_window, query)
    if softcap is not None:
        out = _capped(query, key, value, mask, scaling, softcap)
    else:
        out = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling
        )
    out = out.transpose(1, 2).to(dtype)
    if padding is None:
        return out.reshape(1, -1, *out.shape[2:]), None
    found: Tensor = _Unpad.apply(out, padding)  # type: ignore[no-untyped-call]
    return found[None], None


def _sequences(x: Tensor, count: int, padding: Padding | None) -> Tensor:
    """(1, heads, rows, width) to (sequences, heads, longest, width)."""
    rows = x[0].transpose(0, 1)
    if padding is None:
        return rows.reshape(count, -1, *rows.shape[1:]).transpose(1, 2)
    found: Tensor = _Pad.apply(rows, padding)  # type: ignore[no-untyped-call]
    return found.transpose(1, 2)


def _window(longest: int, window: int | None, like: Tensor) -> Tensor | None:
    """Which tokens each token sees, where that is not simply all before it."""
    if window is None or window >= longest:
        return None
    places = torch.arange(longest, device=like.device)
    distance = places[:, None] - places
    return (distance >= 0) & (distance < window)


def _capped(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    softcap: float,
) -> Tensor:
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    weights = torch.tanh(query @ key.transpose(2, 3) * (scale / softcap)) * softcap
    if mask is None:
        size = weights.shape[-1]
        mask = torch.ones(size, size, dtype=torch.bool, device=weights.device).tril()
    return weights.masked_fill(~mask, float("-inf")).softmax(dim=-1) @ value


ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)


@contextmanager
def attending(model: PreTrainedModel) -> Iterator[None]:
    """Has a model use packed attention meanwhile."""
    configs = [model.config, model.config.get_text_config()]
    before = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation = NAME
        yield
    finally:
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name
