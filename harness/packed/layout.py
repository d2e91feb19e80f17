"""Which rows of a batch belong to which slot, and which of them are one sequence.

Set around a forward pass, read by the packed layers and the packed attention. Knows no model.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import torch

_CPU: Final = torch.device("cpu")


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
            takes the first of its own sequence, so that no other's numbers, which may be none,
            get into its products.
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
        shares: rows of the slots, in units of `rows` of a batch: tokens where sequences lie end
            to end, else whole sequences. Rows of no slot see the bare base.
        lengths: tokens of each sequence where they lie end to end in one row; else none.
        training: whether dropout is drawn and gradients are kept.
        device: where the rows lie.
    """

    shares: tuple[Share, ...]
    lengths: tuple[int, ...] = ()
    training: bool = False
    device: torch.device = _CPU

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
        places = (starts[:, None] + torch.where(real, within, 0)).flatten().to(self.device)
        back = torch.nonzero(real.flatten()).flatten().to(self.device)
        return Padding(len(self.lengths), longest, places, back)

    @cached_property
    def positions(self) -> torch.Tensor:
        """Places within their sequence, shape (1, rows)."""
        places = torch.cat([torch.arange(length) for length in self.lengths])
        return places[None].to(self.device)


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


def shares_of(owners: Sequence[int]) -> tuple[Share, ...]:
    """Rows by their owner; neighbours of one owner are one share.

    Args:
        owners: the slot of each row.
    """
    found: list[Share] = []
    for row, slot in enumerate(owners):
        if found and found[-1].slot == slot:
            found[-1] = found[-1]._replace(end=row + 1)
        else:
            found.append(Share(slot, row, row + 1))
    return tuple(found)
