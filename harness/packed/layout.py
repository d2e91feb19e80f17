"""Which rows of a batch belong to which slot, and which of them are one sequence.

Set around a forward pass, read by the packed layers and the packed attention. Knows no model.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch


class Share(NamedTuple):
    """Neighbouring rows of one slot.

    Attributes:
        slot: whose.
        start: the first row.
        end: the row behind the last.
    """

    slot: int
    start: int
    end: int


class Among(NamedTuple):
    """Some rows of a slot among all that it has in a pass.

    Attributes:
        whole: how many it has.
        places: of these ones, shape (rows,).
    """

    whole: int
    places: torch.Tensor


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
        among: by slot, which rows these are where they are not all; see `Picked`.
    """

    shares: tuple[Share, ...]
    lengths: tuple[int, ...]
    device: torch.device | str = "cpu"
    among: Mapping[int, Among] = field(default_factory=dict)
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


class Picked:
    """Some rows of a layout, in their order; a layer may go on with these alone.

    Args:
        layout: of all rows.
        rows: of which.
        fill: how many of no slot follow, so that there is a round number.
    """

    def __init__(self, layout: Layout, rows: Sequence[int], fill: int = 0) -> None:
        """Finds whose rows they are."""
        self.rows = torch.tensor([*rows, *[0] * fill], device=layout.device)
        self._count = sum(layout.lengths)
        shares, among, start = [], {}, 0
        for slot, first, last in layout.shares:
            end = bisect_left(rows, last, start)
            shares.append(Share(slot, start, end))
            among[slot] = Among(last - first, self.rows[start:end] - first)
            start = end
        self.layout = Layout(tuple(shares), layout.lengths, layout.device, among)

    def spread(self, gradient: torch.Tensor) -> torch.Tensor:
        """Gradients of the picked rows as those of all rows, zero for the others."""
        whole = gradient.new_zeros(self._count, gradient.shape[1])
        return whole.index_add_(0, self.rows, gradient)


_active: ContextVar[Layout | None] = ContextVar("layout", default=None)


def active() -> Layout | None:
    """The layout of the forward pass in progress; None outside of one."""
    return _active.get()


@contextmanager
def laid_out(layout: Layout) -> Iterator[None]:
    """Runs what is inside with this layout."""
    token = _active.set(layout)
    try:
        yield
    finally:
        _active.reset(token)
