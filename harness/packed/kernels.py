"""Two ways to go through the adapters' parts of one layer: slot by slot, or all in one product.

Knows layouts and parts, nothing of models, variants or trials.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from harness.packed.dropping import Dropped
from harness.packed.layout import Blocks, Layout, Share
from harness.packed.parts import Frozen, LoraPart, Part, Trained


class Kernel(Protocol):
    """Goes through the parts of one layer, forwards and backwards; keeps nothing itself."""

    def forward(
        self, parts: Mapping[int, Part], rows: Tensor, out: Tensor, frozen: Frozen, layout: Layout
    ) -> Any:
        """Adds to `out` what the adapters make of their rows; answers what the way back needs.

        Args:
            parts: by slot.
            rows: inputs of all slots, shape (rows, in).
            out: what the frozen weights made of them, without bias, shape (rows, out).
            frozen: these weights.
            layout: whose rows they are.
        """
        ...

    def early(self, kept: Any, gradient: Tensor, needed: bool) -> Tensor:
        """The gradient that flows through the frozen weights; adds up those of the adapters.

        Args:
            kept: what `forward` answered.
            gradient: of the outputs, shape (rows, out); not changed.
            needed: whether the answer is of use.
        """
        ...

    def late(self, kept: Any, into: Tensor, frozen: Frozen) -> None:
        """Adds to the inputs' gradient what flows through the adapters, shape (rows, in)."""
        ...


class SlotBySlot:
    """Each slot with its exact rank: nothing is computed in vain, as a processor likes it."""

    def forward(
        self, parts: Mapping[int, Part], rows: Tensor, out: Tensor, frozen: Frozen, layout: Layout
    ) -> Any:
        """See `Kernel`."""
        kept = []
        for slot, start, end in layout.shares:
            part = parts.get(slot)
            if part is not None:
                here = slice(start, end)
                found = part.forward(rows[here], out[here], frozen, layout.among.get(slot))
                kept.append((part, here, found))
        return kept

    def early(self, kept: Any, gradient: Tensor, needed: bool) -> Tensor:
        """See `Kernel`."""
        through: Tensor | None = None
        for part, here, found in kept:
            own = gradient[here]
            flowing = part.early(found, own)
            if flowing is not own and needed:
                through = gradient.clone() if through is None else through
                through[here] = flowing
        return gradient if through is None else through

    def late(self, kept: Any, into: Tensor, frozen: Frozen) -> None:
        """See `Kernel`."""
        for part, here, found in kept:
            part.late(found, into[here], frozen)


class _Batch(NamedTuple):
    """What the way back needs of the slots that share products.

    Attributes:
        parts: one a slot.
        blocks: their rows, each slot's filled up to the longest.
        seen: the inputs that dropout left, shape (slots, longest, in).
        low: scale times their products with A, zero where a block is filled up, shape
            (slots, longest, rank).
        dropped: by place among the slots, what dropout took of its rows.
        first: A of all, filled up to the highest rank, (slots, rank, in).
        second: B of all, (slots, out, rank).
        scales: of all, (slots, 1, 1).
        back: the gradient of `low`, once it is known.
    """

    parts: Sequence[LoraPart]
    blocks: Blocks
    seen: Tensor
    low: Tensor
    dropped: Mapping[int, Dropped]
    first: Tensor
    second: Tensor
    scales: Tensor
    back: list[Tensor]


class Padded:
    """All plain LoRA slots in one batched product, ranks and rows filled up with zeros.

    On a GPU a product of rank 8 is over before the next one is launched, so fewer and larger ones
    win. What is not a plain A and B (DoRA, PiSSA, OLoRA) goes slot by slot.
    """

    def __init__(self) -> None:
        """For what is not batched."""
        self._apart = SlotBySlot()

    def forward(
        self, parts: Mapping[int, Part], rows: Tensor, out: Tensor, frozen: Frozen, layout: Layout
    ) -> Any:
        """See `Kernel`."""
        plain: list[tuple[Share, LoraPart]] = []
        for share in layout.shares:
            part = parts.get(share.slot)
            if type(part) is LoraPart and part.removed is None and share.end > share.start:
                plain.append((share, part))
        if len(plain) < 2:
            return None, self._apart.forward(parts, rows, out, frozen, layout)
        together = {share.slot for share, _ in plain}
        rest = {slot: part for slot, part in parts.items() if slot not in together}
        others = self._apart.forward(rest, rows, out, frozen, layout)
        return self._batched(plain, rows, out, layout), others

    def _batched(
        self, plain: Sequence[tuple[Share, LoraPart]], rows: Tensor, out: Tensor, layout: Layout
    ) -> _Batch:
        parts = [part for _, part in plain]
        blocks = layout.blocks(tuple(share.slot for share, _ in plain))
        seen, dropped = rows, dict[int, Dropped]()
        for place, (share, part) in enumerate(plain):
            here = rows[share.start : share.end]
            drawn = part.dropout.draw(here, layout.among.get(share.slot))
            if drawn is not None:
                seen = rows.clone() if seen is rows else seen
                seen[share.start : share.end] = drawn.of(here)
                dropped[place] = drawn
        seen = blocks.of(seen)
        first, second = _filled(parts, layout)
        scales = layout.numbers(tuple(part.scale for part in parts), seen.dtype)[:, None, None]
        low = blocks.emptied(torch.bmm(seen, first.mT)).mul_(scales)
        out.index_add_(0, blocks.rows, blocks.back(torch.bmm(low, second.mT)))
        return _Batch(parts, blocks, seen, low, dropped, first, second, scales, [])

    def early(self, kept: Any, gradient: Tensor, needed: bool) -> Tensor:
        """See `Kernel`."""
        batch: _Batch | None
        batch, others = kept
        if batch is not None:
            flowing = batch.blocks.of(gradient)
            back = batch.blocks.emptied(torch.bmm(flowing, batch.second)).mul_(batch.scales)
            batch.back.append(back)
            _add([part.first for part in batch.parts], torch.bmm(back.mT, batch.seen))
            _add([part.second for part in batch.parts], torch.bmm(flowing.mT, batch.low))
        return self._apart.early(others, gradient, needed)

    def late(self, kept: Any, into: Tensor, frozen: Frozen) -> None:
        """See `Kernel`."""
        batch: _Batch | None
        batch, others = kept
        if batch is not None:
            flowing = batch.blocks.back(torch.bmm(batch.back[0], batch.first))
            for place, drawn in batch.dropped.items():
                here = batch.blocks.parts[place]
                flowing[here] = drawn.of(flowing[here])
            into.index_add_(0, batch.blocks.rows, flowing)
        self._apart.late(others, into, frozen)


def _filled(parts: Sequence[LoraPart], layout: Layout) -> tuple[Tensor, Tensor]:
    """A and B of all, filled up to the highest rank: (slots, rank, in), (slots, out, rank).

    In as many operations for thirty slots as for two.
    """
    ranks = tuple(len(part.first.value) for part in parts)
    first = [part.first.value for part in parts]
    second = [part.second.value for part in parts]
    if len(set(ranks)) == 1:
        return torch.stack(first), torch.stack(second)
    rank = max(ranks)
    # The row behind the last is the one that fills up.
    of_all = torch.cat([*first, first[0].new_zeros(1, first[0].shape[1])])
    beside = torch.cat([*second, second[0].new_zeros(len(second[0]), 1)], dim=1)
    places = layout.filling(ranks)
    return (
        of_all[places].view(len(parts), rank, -1),
        beside[:, places].view(-1, len(parts), rank).transpose(0, 1),
    )


def _add(trained: Sequence[Trained], gradients: Tensor) -> None:
    """Adds each slot's corner of the filled-up gradients, (slots, rows, columns), to its own."""
    wide = next((each.gradient.dtype for each in trained if each.gradient is not None), None)
    if wide is None:
        return
    pairs = [
        (each.gradient, found[: each.value.shape[0], : each.value.shape[1]])
        for each, found in zip(trained, gradients.to(wide), strict=True)
        if each.gradient is not None
    ]
    torch._foreach_add_([gradient for gradient, _ in pairs], [found for _, found in pairs])


def suited(device: torch.device) -> Kernel:
    """The kernel for a device."""
    return Padded() if device.type == "cuda" else SlotBySlot()
