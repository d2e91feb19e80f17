"""Which rows of a batch belong to which slot, and which of them are one sequence.

Set around a forward pass, read by the packed layers and the packed attention. Knows no model.

Causal attention within each of several sequences that lie end to end in one row.

Registered with Transformers, whose models call it in the place of their own. On a processor the
core runs in float32: its way back in bfloat16 took three times as long. Knows layouts only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


class SlotRows(NamedTuple):
    """Neighbouring rows of one slot.

    Attributes:
        slot: whose.
        start: the first row.
        end: the row behind the last.
    """

    slot: int
    start: int
    end: int


class Padding(NamedTuple):
    """How sequences that lie end to end become rows of one length, and back.

    Attributes:
        sequences: how many there are.
        longest: tokens of the longest.
        places: where each padded place takes its row from, shape (sequences * longest,); padding
            takes its sequence's first.
        back: where each row stands among the padded places, shape (rows,).
    """

    sequences: int
    longest: int
    places: torch.Tensor
    back: torch.Tensor


class Blocks(NamedTuple):
    """Rows of some slots as blocks of one length, and back.

    Attributes:
        slots: how many.
        longest: rows of the longest.
        rows: of the slots, one slot's behind the other's, shape (rows,).
        parts: where each slot's are among these.
        places: where each place of a block takes its row from, shape (slots * longest,); one that
            fills up takes its slot's first.
        inside: where each of `rows` stands among the places, shape (rows,).
        real: whether a place is no filling, shape (slots, longest, 1); None where all are.
    """

    slots: int
    longest: int
    rows: torch.Tensor
    parts: tuple[slice, ...]
    places: torch.Tensor
    inside: torch.Tensor
    real: torch.Tensor | None

    def of(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows of a pass, (rows, width), as blocks, (slots, longest, width)."""
        return rows[self.places].view(self.slots, self.longest, -1)

    def emptied(self, blocks: torch.Tensor) -> torch.Tensor:
        """Blocks with zeros where they are filled up."""
        return blocks if self.real is None else blocks * self.real

    def back(self, blocks: torch.Tensor) -> torch.Tensor:
        """Blocks as rows, in the order of `rows`."""
        flat = blocks.flatten(0, 1)
        return flat if self.real is None else flat[self.inside]


@dataclass(frozen=True)
class Layout:
    """Rows of a forward pass.

    Attributes:
        shares: rows of the slots; those of no slot see the bare base.
        lengths: tokens of each sequence; they lie end to end.
        device: where the rows lie.
    """

    shares: tuple[SlotRows, ...]
    lengths: tuple[int, ...]
    device: torch.device | str = "cpu"
    _blocks: dict[tuple[int, ...], Blocks] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _fillings: dict[tuple[int, ...], torch.Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _numbers: dict[tuple[tuple[float, ...], torch.dtype], torch.Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def padding(self) -> Padding | None:
        """None where all sequences are equally long: a view is enough."""
        longest = max(self.lengths)
        if longest * len(self.lengths) == sum(self.lengths):
            return None
        lengths = torch.tensor(self.lengths)
        starts = lengths.cumsum(0) - lengths
        within = torch.arange(longest)
        real = within < lengths[:, None]
        # Padding is a sequence's own: what another one has may be no number any more.
        places = starts[:, None] + torch.where(real, within, 0)
        back = torch.nonzero(real.flatten()).flatten()
        places, back = places.flatten().to(self.device), back.to(self.device)
        return Padding(len(self.lengths), longest, places, back)

    def blocks(self, slots: tuple[int, ...]) -> Blocks:
        """Rows of some slots, which have some each, as blocks; found once for all layers."""
        if slots not in self._blocks:
            shares = {share.slot: share for share in self.shares}
            spans = [(shares[slot].start, shares[slot].end) for slot in slots]
            counts = [end - start for start, end in spans]
            longest = max(counts)
            within = torch.arange(longest)
            real = within < torch.tensor(counts)[:, None]
            starts = torch.tensor([start for start, _ in spans])[:, None]
            places = (starts + torch.where(real, within, 0)).flatten().to(self.device)
            ends = torch.tensor(counts).cumsum(0).tolist()
            self._blocks[slots] = Blocks(
                len(slots),
                longest,
                torch.cat([torch.arange(*span) for span in spans]).to(self.device),
                tuple(slice(end - count, end) for end, count in zip(ends, counts, strict=True)),
                places,
                torch.nonzero(real.flatten()).flatten().to(self.device),
                None if bool(real.all()) else real[:, :, None].to(self.device),
            )
        return self._blocks[slots]

    def filling(self, counts: tuple[int, ...]) -> torch.Tensor:
        """Places in blocks of some rows each, those end to end, as places of equal blocks.

        What fills a block up comes from the row behind the last. Found once for all layers.
        """
        if counts not in self._fillings:
            within = torch.arange(max(counts))
            sizes = torch.tensor(counts)
            starts = (sizes.cumsum(0) - sizes)[:, None]
            places = torch.where(within < sizes[:, None], starts + within, sum(counts))
            self._fillings[counts] = places.flatten().to(self.device)
        return self._fillings[counts]

    def numbers(self, given: tuple[float, ...], dtype: torch.dtype) -> torch.Tensor:
        """Some numbers where the rows lie, shape (numbers,); brought there once for all layers."""
        if (given, dtype) not in self._numbers:
            self._numbers[given, dtype] = torch.tensor(given, dtype=dtype, device=self.device)
        return self._numbers[given, dtype]

    @cached_property
    def positions(self) -> torch.Tensor:
        """Places within their sequence, shape (1, rows)."""
        return torch.cat([torch.arange(length) for length in self.lengths])[None].to(self.device)


_active: ContextVar[Layout | None] = ContextVar("layout", default=None)


def current_layout() -> Layout | None:
    """The layout of the forward pass in progress; None outside of one."""
    return _active.get()


@contextmanager
def use_layout(layout: Layout) -> Iterator[None]:
    """Runs what is inside with this layout."""
    token = _active.set(layout)
    try:
        yield
    finally:
        _active.reset(token)


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
    """In the place of Transformers' attention functions, within `use_layout`.

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
    layout = current_layout()
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
def use_packed_attention(model: PreTrainedModel) -> Iterator[None]:
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
