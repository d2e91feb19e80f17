"""Which rows of a packed batch belong to which slot and sequence, and attention within these.

All sequences of a pass lie end to end in one row. A `Layout` is set around the forward pass and
read by the packed layers and by `packed_attention`, which takes the place of Transformers' own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


class SlotRows(NamedTuple):
    """A run of rows that belong to one slot.

    Attributes:
        slot: its number.
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
        sources: the row that each padded position is taken from, shape (sequences * longest,);
            padding is taken from its sequence's first.
        inverse: the padded position of each row, shape (rows,).
    """

    sequences: int
    longest: int
    sources: Tensor
    inverse: Tensor


class Blocks(NamedTuple):
    """Rows of some slots as blocks of one length, and back.

    Attributes:
        slots: how many.
        longest: rows of the longest.
        rows: of the slots, one slot's behind the other's, shape (rows,).
        parts: where each slot's are among these.
        sources: the row that each position of a block is taken from, shape (slots * longest,);
            padding is taken from its slot's first.
        inverse: the position in the blocks of each of `rows`, shape (rows,).
        mask: whether a position is not padding, shape (slots, longest, 1); None where all are.
    """

    slots: int
    longest: int
    rows: Tensor
    parts: tuple[slice, ...]
    sources: Tensor
    inverse: Tensor
    mask: Tensor | None

    def of(self, rows: Tensor) -> Tensor:
        """Rows of a pass, (rows, width), as blocks, (slots, longest, width)."""
        return rows[self.sources].view(self.slots, self.longest, -1)

    def zero_padding(self, blocks: Tensor) -> Tensor:
        """Blocks with zeros for padding."""
        return blocks if self.mask is None else blocks * self.mask

    def back(self, blocks: Tensor) -> Tensor:
        """Blocks as rows, in the order of `rows`."""
        flat = blocks.flatten(0, 1)
        return flat if self.mask is None else flat[self.inverse]


class Layout:
    """Rows of a forward pass.

    Args:
        shares: rows of the slots; those of no slot see the base without an adapter.
        lengths: tokens of each sequence; they lie end to end.
        device: where the rows are.
    """

    def __init__(
        self,
        shares: tuple[SlotRows, ...],
        lengths: tuple[int, ...],
        device: torch.device | str = "cpu",
    ) -> None:
        self.shares, self.lengths, self.device = shares, lengths, device
        self._blocks: dict[tuple[int, ...], Blocks] = {}
        self._padding_indices: dict[tuple[int, ...], Tensor] = {}
        self._numbers: dict[tuple[tuple[float, ...], torch.dtype], Tensor] = {}

    @cached_property
    def padding(self) -> Padding | None:
        """None where all sequences are equally long: a view is enough."""
        longest = max(self.lengths)
        if longest * len(self.lengths) == sum(self.lengths):
            return None
        lengths = torch.tensor(self.lengths)
        sources, inverse, _ = _padded(lengths.cumsum(0) - lengths, lengths, self.device)
        return Padding(len(self.lengths), longest, sources, inverse)

    def blocks(self, slots: tuple[int, ...]) -> Blocks:
        """Rows of some slots, none of them without rows, as blocks; cached for all layers."""
        if slots not in self._blocks:
            shares = {share.slot: share for share in self.shares}
            spans = [(shares[slot].start, shares[slot].end) for slot in slots]
            counts = [end - start for start, end in spans]
            starts = torch.tensor([start for start, _ in spans])
            sources, inverse, mask = _padded(starts, torch.tensor(counts), self.device)
            ends = accumulate(counts)
            self._blocks[slots] = Blocks(
                len(slots),
                max(counts),
                torch.cat([torch.arange(*span) for span in spans]).to(self.device),
                tuple(slice(end - count, end) for end, count in zip(ends, counts, strict=True)),
                sources,
                inverse,
                None if bool(mask.all()) else mask[:, :, None].to(self.device),
            )
        return self._blocks[slots]

    def padding_index(self, counts: tuple[int, ...]) -> Tensor:
        """The index that pads groups of rows, which lie end to end, to the size of the largest.

        Padding is taken from the row behind the last. Cached for all layers.

        Args:
            counts: rows of each group.

        Returns:
            Shape (groups * largest,).
        """
        if counts not in self._padding_indices:
            positions = torch.arange(max(counts))
            sizes = torch.tensor(counts)
            starts = (sizes.cumsum(0) - sizes)[:, None]
            index = torch.where(positions < sizes[:, None], starts + positions, sum(counts))
            self._padding_indices[counts] = index.flatten().to(self.device)
        return self._padding_indices[counts]

    def numbers(self, values: tuple[float, ...], dtype: torch.dtype) -> Tensor:
        """Some numbers as a tensor on the device of the rows, shape (numbers,); cached."""
        if (values, dtype) not in self._numbers:
            # Each transfer to a GPU makes it wait, and every layer asks for the same numbers.
            self._numbers[values, dtype] = torch.tensor(values, dtype=dtype, device=self.device)
        return self._numbers[values, dtype]

    @cached_property
    def positions(self) -> Tensor:
        """Each row's position in its sequence, shape (1, rows)."""
        return torch.cat([torch.arange(length) for length in self.lengths])[None].to(self.device)


def _padded(
    starts: Tensor, counts: Tensor, device: torch.device | str
) -> tuple[Tensor, Tensor, Tensor]:
    """Sources and inverse of groups of rows, see `Padding`; which positions are no padding."""
    positions = torch.arange(int(counts.max()))
    mask = positions < counts[:, None]
    # Padding comes from the same group: the rows of a diverged neighbour may have NaN.
    sources = (starts[:, None] + torch.where(mask, positions, 0)).flatten()
    return sources.to(device), torch.nonzero(mask.flatten()).flatten().to(device), mask


_active: ContextVar[Layout | None] = ContextVar("layout", default=None)


def current_layout() -> Layout | None:
    """The layout of the forward pass in progress; None outside of one."""
    return _active.get()


@contextmanager
def use_layout(layout: Layout) -> Iterator[None]:
    """Sets the layout inside the context."""
    token = _active.set(layout)
    try:
        yield
    finally:
        _active.reset(token)


#: The name of packed attention in Transformers' registry.
NAME: Final = "harness_packed"


class _Pad(Function):
    """(rows, heads, width) to (sequences, heads, longest, width); padding holds any numbers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: Padding) -> Tensor:
        ctx.padding = padding
        rows = x.index_select(0, padding.sources)
        return rows.view(padding.sequences, padding.longest, *x.shape[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # Attention is causal and padding comes last: its own gradients are zero.
        return gradient.flatten(0, 1).index_select(0, ctx.padding.inverse), None


class _Unpad(Function):
    """(sequences, longest, heads, width) back to (rows, heads, width)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: Padding) -> Tensor:
        ctx.padding = padding
        return x.flatten(0, 1).index_select(0, padding.inverse)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        padding: Padding = ctx.padding
        padded = gradient.new_zeros(padding.sequences * padding.longest, *gradient.shape[1:])
        padded.index_copy_(0, padding.inverse, gradient)
        return padded.view(padding.sequences, padding.longest, *gradient.shape[1:]), None


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
    """Causal attention within each sequence, as Transformers calls it; inside of `use_layout`.

    Args:
        module: the attention layer, which knows how many query heads share a key.
        query: shape (1, heads, rows, width).
        key: shape (1, key heads, rows, width).
        value: shape as `key`.
        attention_mask: not used: the layout has the sequences.
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
    # On a processor torch's backward pass in bfloat16 takes three times as long as in float32.
    if query.device.type == "cpu" and dtype in (torch.bfloat16, torch.float16):
        query, key, value = query.float(), key.float(), value.float()
    count, groups = len(layout.lengths), query.shape[1] // key.shape[1]
    query, key, value = (_sequences(x, count, padding) for x in (query, key, value))
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    longest = max(layout.lengths)
    mask = _window_mask(longest, sliding_window, query)
    if softcap is not None:
        out = _softcapped_attention(query, key, value, mask, scaling, softcap)
    else:
        out = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling
        )
    out = out.transpose(1, 2).to(dtype)
    if padding is None:
        return out.reshape(1, -1, *out.shape[2:]), None
    unpadded: Tensor = _Unpad.apply(out, padding)  # type: ignore[no-untyped-call]
    return unpadded[None], None


def _sequences(x: Tensor, count: int, padding: Padding | None) -> Tensor:
    """(1, heads, rows, width) to (sequences, heads, longest, width)."""
    rows = x[0].transpose(0, 1)
    if padding is None:
        return rows.reshape(count, -1, *rows.shape[1:]).transpose(1, 2)
    padded: Tensor = _Pad.apply(rows, padding)  # type: ignore[no-untyped-call]
    return padded.transpose(1, 2)


def _window_mask(longest: int, window: int | None, like: Tensor) -> Tensor | None:
    """Which tokens each token sees, shape (longest, longest); None for all before it."""
    if window is None or window >= longest:
        return None
    positions = torch.arange(longest, device=like.device)
    distance = positions[:, None] - positions
    return (distance >= 0) & (distance < window)


def _softcapped_attention(
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
    """Has a model use packed attention inside the context."""
    configs = [model.config, model.config.get_text_config()]
    before = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation = NAME
        yield
    finally:
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name
