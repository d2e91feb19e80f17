"""What the frozen layers below the lowest adapter make of a text, made once and kept.

It is the same in each epoch, for each adapter and each seed. Knows token ids and layouts, nothing
of layers.
"""

from collections.abc import Callable, Mapping
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

    On a processor each text goes through by itself, so that rounding does not depend on its
    neighbours, nor on which trials were here before: equal seeds give equal numbers. On a GPU,
    which slots share a step decides on rounding anyway, and a text alone leaves it idle.

    Args:
        through: makes the rows at the entry of a layer, shape (tokens, width), of texts' token
            ids end to end and their layout.
        room: bytes that are kept at most; by default as free memory allows.
        together: whether texts that are new go through in one pass.
    """

    def __init__(
        self,
        through: Callable[[int, Tensor, Layout], Tensor],
        room: int | None = None,
        together: bool = False,
    ) -> None:
        """Keeps nothing yet."""
        self._through, self._room, self._together = through, room, together
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
            self._forget()
            self._level = level
        lengths = [*layout.lengths]
        keys = [each.numpy().tobytes() for each in torch.split(ids.cpu(), lengths)]
        texts = dict(zip(keys, torch.split(ids, lengths), strict=True))
        here = {key: self._found[key] for key in texts if key in self._found}
        here |= self._made({key: text for key, text in texts.items() if key not in here})
        return torch.cat([here[key] for key in keys])

    def give_back(self) -> None:
        """Keeps nothing any more: memory ran out."""
        self._forget()
        self._room = 0

    def _forget(self) -> None:
        self._found.clear()
        self._kept = 0

    def _made(self, texts: Mapping[bytes, Tensor]) -> dict[bytes, Tensor]:
        """Rows of texts that are new; kept where there is room."""
        found: dict[bytes, Tensor] = {}
        groups = [[*texts]] if self._together and texts else [[key] for key in texts]
        for keys in groups:
            lengths = [len(texts[key]) for key in keys]
            ids = torch.cat([texts[key] for key in keys])
            rows = self._through(self._level, ids, Layout((), tuple(lengths), ids.device))
            found |= zip(keys, torch.split(rows, lengths), strict=True)
        if self._room is None:
            self._room = min(_ROOM, int(_SHARE * available()))
        for key, rows in found.items():
            if self._kept + rows.nbytes <= self._room:
                # A part of what others share would keep all of it in memory.
                self._found[key] = rows.clone() if len(groups) < len(found) else rows
                self._kept += rows.nbytes
        return found
