"""Skips the frozen layers below the lowest adapter for texts that went through them before.

What these layers make of a text never changes: it is the same in each epoch, for each adapter and
each seed. `PrefixCache` keeps it, `PrefixSkipper` has the model start from it.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.models.base_model import replaced_forwards, transformer_blocks
from harness.models.memory import MEMORY, available_bytes
from harness.training.packed.layers import PackedLinear
from harness.training.packed.layout import Layout, use_layout


class PrefixCache:
    """Hidden states at the input of one layer, by text.

    On a processor each text goes through by itself, so that rounding depends neither on its
    neighbours nor on earlier trials: equal seeds give equal numbers. On a GPU the slots that share
    a step change the rounding anyway, and a single text would leave it idle.

    Args:
        compute: computes the hidden states at the input of a layer, shape (tokens, width), of
            texts' token ids end to end and their layout.
        limit: bytes that are kept at most; by default as `MemoryPolicy` allows.
        batched: whether new texts go through in one pass.
    """

    def __init__(
        self,
        compute: Callable[[int, Tensor, Layout], Tensor],
        limit: int | None = None,
        batched: bool = False,
    ) -> None:
        self._compute, self._limit, self._batched = compute, limit, batched
        self._layer = 0
        self._states: dict[bytes, Tensor] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """How many texts are kept."""
        return len(self._states)

    def hidden_states(self, layer: int, ids: Tensor, layout: Layout) -> Tensor:
        """Hidden states at the input of a layer, shape (rows, width); a copy.

        Args:
            layer: the layer's number.
            ids: token ids of all texts, shape (rows,).
            layout: where each text ends.
        """
        if layer != self._layer:  # the lowest adapter is on another layer than before
            self._clear()
            self._layer = layer
        lengths = [*layout.lengths]
        keys = [text.numpy().tobytes() for text in torch.split(ids.cpu(), lengths)]
        texts = dict(zip(keys, torch.split(ids, lengths), strict=True))
        states = {key: self._states[key] for key in texts if key in self._states}
        states |= self._add({key: text for key, text in texts.items() if key not in states})
        return torch.cat([states[key] for key in keys])

    def disable(self) -> None:
        """Frees all, and keeps nothing from now on: memory ran out."""
        self._clear()
        self._limit = 0

    def _clear(self) -> None:
        self._states.clear()
        self._bytes = 0

    def _add(self, texts: Mapping[bytes, Tensor]) -> dict[bytes, Tensor]:
        """Hidden states of new texts; kept as long as the limit allows."""
        states: dict[bytes, Tensor] = {}
        groups = [[*texts]] if self._batched and texts else [[key] for key in texts]
        for keys in groups:
            lengths = [len(texts[key]) for key in keys]
            ids = torch.cat([texts[key] for key in keys])
            rows = self._compute(self._layer, ids, Layout((), tuple(lengths), ids.device))
            states |= zip(keys, torch.split(rows, lengths), strict=True)
        if self._limit is None:
            share = int(MEMORY.cache_share * available_bytes())
            self._limit = min(MEMORY.cache_limit, share)
        for key, rows in states.items():
            if self._bytes + rows.nbytes <= self._limit:
                # A view into a group's result would keep all of it in memory.
                self._states[key] = rows.clone() if len(groups) < len(states) else rows
                self._bytes += rows.nbytes
        return states


class _LayerReached(Exception):  # noqa: N818 (not an error: the way out of a model)
    """A layer is computed, and nothing behind it is needed."""


class PrefixSkipper:
    """Has a model with packed attention start at the lowest layer that has an adapter.

    Args:
        model: frozen.
        linears: its packed layers by name.
        batched: whether new texts go through in one pass; see `PrefixCache`.

    Attributes:
        count: how many layers there are; 0 where the model is not one plain list of them.
        cache: what the lower layers made of each text.
    """

    def __init__(
        self, model: PreTrainedModel, linears: Mapping[str, PackedLinear], batched: bool = False
    ) -> None:
        stacks = transformer_blocks(model)
        self._layers: list[nn.Module] = [*stacks[0]] if len(stacks) == 1 else []
        self._model = model
        layers = enumerate(self._layers)
        numbers = {part: number for number, layer in layers for part in layer.modules()}
        self._linears = [(numbers.get(packed.layer, 0), packed) for packed in linears.values()]
        # Some models' layers return a tuple: this many items beside the hidden states.
        self._further_outputs: int | None = None
        self.count = len(self._layers)
        self.cache = PrefixCache(self._compute, batched=batched)

    def start_at_lowest(self, ids: Tensor, layout: Layout) -> AbstractContextManager[None]:
        """Has the model start at the lowest layer with an adapter of this pass.

        Args:
            ids: tokens of all texts, as the model takes them, shape (rows,).
            layout: which rows are whose.
        """
        trained = (number for number, linear in self._linears if linear.has_adapter(layout))
        lowest = min(trained, default=0)
        if lowest == 0:
            return nullcontext()
        return self.start_at(lowest, self.cache.hidden_states(lowest, ids, layout))

    def start_at(self, layer: int, states: Tensor) -> AbstractContextManager[None]:
        """Has the model start at a layer with given hidden states, whatever the tokens.

        Args:
            layer: its number, from 1.
            states: at its input, shape (rows, width).
        """
        outputs: Any = states[None]
        if self._further_outputs is not None:
            outputs = (outputs, *[None] * self._further_outputs)
        return replaced_forwards(self._layers[:layer], [lambda *_, **__: outputs] * layer)

    def _compute(self, layer: int, ids: Tensor, layout: Layout) -> Tensor:
        """Runs the model up to a layer."""
        states: list[Tensor] = []
        last = self._layers[layer - 1]
        forward = last.forward

        def stop_after(*args: Any, **keywords: Any) -> None:
            outputs = forward(*args, **keywords)
            is_tensor = isinstance(outputs, Tensor)
            self._further_outputs = None if is_tensor else len(outputs) - 1
            states.append(outputs if is_tensor else outputs[0])
            raise _LayerReached

        with torch.no_grad(), use_layout(layout), replaced_forwards([last], [stop_after]):
            try:
                self._model(input_ids=ids[None], position_ids=layout.positions, use_cache=False)
            except _LayerReached:
                return states[0][0]
        raise RuntimeError(f"the model went past its layer {layer - 1}")
