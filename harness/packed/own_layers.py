"""A model's own layers, those left out whose answer is known already.

What they make of a text below the lowest adapter never changes: the model is stopped there once,
and goes on from there later. Knows token ids and layouts, nothing of slots or trials.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.models.stacks import stacks
from harness.packed.below import Below
from harness.packed.layout import Layout, laid_out
from harness.packed.linear import PackedLinear


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
        """Finds the layers, and which packed ones are in them."""
        found = stacks(model)
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

        with torch.no_grad(), laid_out(layout), _answering([last], reach):
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
