"""Which rows of a batch belong to which slot, and which of them are one sequence.

Set around a forward pass, read by the packed layers and the packed attention. Knows no model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Layout:
    """Rows of a forward pass.

    Attributes:
        shares: rows of the slots; those of no slot see the bare base.
        lengths: tokens of each sequence; they lie end to end.
        device: where the rows lie.
    """

    shares: tuple[Share, ...]
    lengths: tuple[int, ...]
    device: torch.device | str = "cpu"

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

    @cached_property
    def positions(self) -> torch.Tensor:
        """Places within their sequence, shape (1, rows)."""
        return torch.cat([torch.arange(length) for length in self.lengths])[None].to(self.device)


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
