"""What the frozen layers below the lowest adapter make of a text, made once and kept.

It is the same in each epoch, for each adapter and each seed. Knows token ids and layouts, nothing
of layers.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from harness.models.memory import available
from harness.packed.layout import Layout

#: Bytes that are kept at most, and the share of free memory.
_ROOM: Final = 512 << 20
_SHARE: Final = 0.1


class Below:
    """Rows at the entry of a layer, of texts that come again.

    Each text goes through by itself, so that rounding does not depend on its neighbours, nor on
    which trials were here before: equal seeds give equal numbers.

    Args:
        through: makes the rows at the entry of a layer, shape (tokens, width), of a text's token
            ids.
        room: bytes that are kept at most; by default as free memory allows.
    """

    def __init__(self, through: Callable[[int, Tensor], Tensor], room: int | None = None) -> None:
        """Keeps nothing yet."""
        self._through, self._room = through, room
        self._level = 0
        self._found: dict[bytes, Tensor] = {}
        self._kept = 0

    def rows(self, level: int, ids: Tensor, layout: Layout) -> Tensor:
        """Rows at the entry of a layer, of texts end to end; for the caller to change.

        Args:
            level: the layer's number.
            ids: token ids of all texts, shape (rows,).
            layout: where each text ends.
        """
        if level != self._level:  # another lowest adapter; what was kept is of no use to it
            self._level, self._kept = level, 0
            self._found.clear()
        return torch.cat([self._one(each) for each in torch.split(ids, [*layout.lengths])])

    def _one(self, ids: Tensor) -> Tensor:
        key = ids.cpu().numpy().tobytes()
        found = self._found.get(key)
        if found is None:
            found = self._through(self._level, ids)
            if self._room is None:
                self._room = min(_ROOM, int(_SHARE * available()))
            if self._kept + found.nbytes <= self._room:
                self._found[key] = found
                self._kept += found.nbytes
        return found
