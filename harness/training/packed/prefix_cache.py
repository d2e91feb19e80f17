"""A model's own layers, those left out whose answer is known already.

What they make of a text below the lowest adapter never changes: the model is stopped there once,
and goes on from there later. Knows token ids and layouts, nothing of slots or trials.

What the frozen layers below the lowest adapter make of a text, made once and kept.

It is the same in each epoch, for each adapter and each seed. Knows token ids and layouts, nothing
of layers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.models.base_model import transformer_blocks
from harness.models.memory import available_bytes
from harness.training.packed.layers import PackedLinear
from harness.training.packed.layout import Layout, use_layout

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
            self._room = min(_ROOM, int(_SHARE * available_bytes()))
        for key, rows in found.items():
            if self._kept + rows.nbytes <= self._room:
                # A part of what others share would keep all of it in memory.
                self._found[key] = rows.clone() if len(groups) < len(found) else rows
                self._kept += rows.nbytes
        return found


class _Reached(Exception):  # noqa: N818 (no fault: the way out of a model)
    """A layer is done, and what it made is what was wanted."""


class OwnLayers:
    """The layers of a model whose packed attention is in use around each call.

    Args:
        model: frozen.
        linears: its packed layers by name.
        together: whether texts that are new go through in one pass; see `Below`.

    Attributes:
        count: how many layers there are; 0 where the model is not one plain list of them.
        below: what the lower ones made.
    """

    def __init__(
        self, model: PreTrainedModel, linears: Mapping[str, PackedLinear], together: bool = False
    ) -> None:
        found = transformer_blocks(model)
        self._layers: list[nn.Module] = [*found[0]] if len(found) == 1 else []
        self._model = model
        owners = {part: at for at, layer in enumerate(self._layers) for part in layer.modules()}
        self._places = [(owners.get(each.layer, 0), each) for each in linears.values()]
        self._others: int | None = None  # what a layer answers beside its rows; None for no tuple
        self.count = len(self._layers)
        self.below = Below(self._before, together=together)

    @contextmanager
    def from_lowest(self, ids: Tensor, layout: Layout) -> Iterator[None]:
        """Has the model begin where somebody in this pass learns.

        Args:
            ids: tokens of all texts, as the model is given them, shape (rows,).
            layout: whose they are.
        """
        lowest = min((at for at, each in self._places if each.learns(layout)), default=0)
        if lowest == 0:
            yield
        else:
            with self.entered(lowest, self.below.rows(lowest, ids, layout)):
                yield

    @contextmanager
    def entered(self, level: int, rows: Tensor) -> Iterator[None]:
        """Has the model go on from given rows, whatever the tokens.

        Args:
            level: the layer that they enter, from 1.
            rows: as `below` has them, shape (rows, width).
        """
        stream = rows[None]
        known = stream if self._others is None else (stream, *[None] * self._others)
        with _answering(self._layers[:level], lambda *_, **__: known):
            yield

    def _before(self, level: int, ids: Tensor, layout: Layout) -> Tensor:
        found: list[Tensor] = []
        last = self._layers[level - 1]
        own = last.forward

        def reach(*given: Any, **named: Any) -> None:
            out = own(*given, **named)
            self._others = None if isinstance(out, Tensor) else len(out) - 1
            found.append(out if self._others is None else out[0])
            raise _Reached

        with torch.no_grad(), use_layout(layout), _answering([last], reach):
            try:
                self._model(input_ids=ids[None], position_ids=layout.positions, use_cache=False)
            except _Reached:
                return found[0][0]
        raise RuntimeError(f"the model went past its layer {level - 1}")


@contextmanager
def _answering(layers: Sequence[nn.Module], answer: Callable[..., Any]) -> Iterator[None]:
    """Has layers answer something else meanwhile."""
    before = [layer.__dict__.get("forward") for layer in layers]
    try:
        for layer in layers:
            layer.forward = answer
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.__dict__.pop("forward", None)
            if own is not None:
                layer.forward = own
