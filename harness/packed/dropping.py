"""Dropout of one slot's inputs, drawn apart from its neighbours'. Knows no layer."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from harness.adapters.quick_dropout import DroppedPlaces, drop
from harness.packed.layout import Among


class Dropped(Protocol):
    """What dropout takes from some rows."""

    def of(self, rows: Tensor) -> Tensor:
        """What is left of rows, or of a gradient with respect to them."""
        ...


class Places(NamedTuple):
    """Dropped elements as a processor likes them: few numbers.

    Attributes:
        places: of the elements, counted through all rows.
        p: with which probability.
    """

    places: Tensor
    p: float

    def of(self, rows: Tensor) -> Tensor:
        """See `Dropped`."""
        return drop(rows, self.places, self.p)


class Mask(NamedTuple):
    """Dropped elements as a GPU likes them: nothing whose size it has to be asked for.

    Attributes:
        dropped: whether an element is, shape of the rows.
        p: with which probability.
    """

    dropped: Tensor
    p: float

    def of(self, rows: Tensor) -> Tensor:
        """See `Dropped`."""
        return rows.masked_fill(self.dropped, 0).mul_(1 / (1 - self.p))


class Dropout:
    """Dropout of one slot, from a generator of its own: no neighbour can shift it.

    On a processor as `harness.adapters.quick_dropout` draws it, but all layers from one stream:
    there is no checkpointing here, which would have to draw the same once more.

    Args:
        p: share of elements set to zero, in [0, 1).
        generator: seeds that stream.
    """

    def __init__(self, p: float, generator: torch.Generator) -> None:
        """Draws nothing."""
        self._p, self._generator = p, generator
        self._stream: DroppedPlaces | None = None
        self._own: torch.Generator | None = None

    def draw(self, rows: Tensor, among: Among | None = None) -> Dropped | None:
        """What is dropped this time; None where nothing ever is.

        Args:
            rows: shape (rows, in).
            among: which of the slot's rows these are; what is drawn does not depend on it.
        """
        if not self._p:
            return None
        return (self._places if rows.device.type == "cpu" else self._mask)(rows, among)

    def _places(self, rows: Tensor, among: Among | None) -> Places:
        if self._stream is None:
            self._stream = DroppedPlaces(self._p, self._seed())
        count, width = (rows.shape[0] if among is None else among.whole), rows.shape[1]
        places = self._stream.following(count * width)
        return Places(places if among is None else _moved(places, among, width), self._p)

    def _mask(self, rows: Tensor, among: Among | None) -> Mask:
        if self._own is None:
            self._own = torch.Generator(rows.device).manual_seed(self._seed())
        shape = (rows.shape[0] if among is None else among.whole, rows.shape[1])
        dropped = torch.rand(shape, generator=self._own, device=rows.device) < self._p
        return Mask(dropped if among is None else dropped[among.places], self._p)

    def _seed(self) -> int:
        return int(torch.randint(1 << 62, (), generator=self._generator))


def _moved(places: Tensor, among: Among, width: int) -> Tensor:
    """Places in all rows as places in those that go on; the others' are left out."""
    goes = torch.full((among.whole,), -1, device=places.device)
    goes[among.places] = torch.arange(len(among.places), device=places.device)
    row = places.div(width, rounding_mode="floor")
    now = goes[row]
    kept = now >= 0
    return now.sub_(row).mul_(width).add_(places)[kept]
