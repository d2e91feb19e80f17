"""Batched greedy decoding with a preallocated KV cache: the output of `generate`, in less time.

Keys and values are written in place into buffers of the final length, where Transformers' own
cache copies them at each token. On a CPU long batches of prompts are prefilled in parts, whose
activations fit its caches. Rows that have ended leave the batch.
"""

import copy
import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

#: Entered around each forward pass, with the index of each row's adapter and the tokens of a row.
ForwardContext = Callable[[Sequence[int], int], AbstractContextManager[None]]

#: Tokens of prompts that a CPU prefills at a time.
_PREFILL_TOKENS: Final = 1024


def no_context(adapters: Sequence[int], width: int) -> AbstractContextManager[None]:
    """The `ForwardContext` of a model with at most one adapter: does nothing."""
    del adapters, width
    return nullcontext()


class _PreallocatedLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, in buffers with capacity for all tokens to come."""

    def __init__(self, rows: int, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows, self._capacity = rows, capacity
        self._length = 0
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self.buffers(key_states, value_states)
        start, end = self._length, self._length + key_states.shape[-2]
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        self.set_length(end)
        return keys[:, :, :end], values[:, :, :end]

    def buffers(
        self, key_states: torch.Tensor, value_states: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Buffers for states of these shapes; allocated at the first call."""
        if self._buffers is None:
            self.lazy_initialization(key_states, value_states)
            self._buffers = self._allocate(key_states, value_states)
        return self._buffers

    def set_length(self, length: int) -> None:
        """Marks the first `length` positions as filled, if there are buffers."""
        if self._buffers is not None:
            self._length = length
            self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)

    def _allocate(self, *states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = (
            state.new_empty(self._rows, state.shape[1], self._capacity, state.shape[3])
            for state in states
        )
        return keys, values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        if self._buffers is not None:
            keys, values = (self._select(buffer, indices) for buffer in self._buffers)
            self._buffers = (keys, values)
            self.set_length(self._length)

    def _select(self, buffer: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """A buffer of the selected rows; only filled positions are copied."""
        filled = buffer[:, :, : self._length]
        selected = buffer.new_empty(len(indices), *buffer.shape[1:])
        selected[:, :, : self._length] = filled.index_select(0, indices)
        return selected


class _RowRange(NamedTuple):
    """Adjacent rows that run together.

    Attributes:
        rows: their indices.
        first: the column where the longest of them begins.
        padded: whether others are shorter.
    """

    rows: slice
    first: int
    padded: bool


class _RowsLayer(_PreallocatedLayer):  # type: ignore[no-untyped-call]
    """A view of some rows of another layer: writes go into that layer's buffers."""

    def __init__(self, parent: _PreallocatedLayer, row_range: _RowRange) -> None:
        super().__init__(0, 0)
        self._parent, self._row_range = parent, row_range

    def _allocate(self, *states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows, first, _ = self._row_range
        buffers = [buffer[rows] for buffer in self._parent.buffers(*states)]
        for buffer in buffers:
            # Masked, but uninitialised memory may hold NaN, and 0 * NaN is NaN.
            buffer[:, :, :first] = 0
        keys, values = (buffer[:, :, first:] for buffer in buffers)
        return keys, values


class BatchDecoder:
    """A batch of prompts that is continued token by token, with cached keys and values.

    Args:
        model: a causal language model in evaluation mode.
        prompts: token ids, at least one each; padded on the left.
        max_new_tokens: most tokens that may follow.
        pad: id of the padding token (masked).
        adapters: index of each prompt's adapter, prompts of one adapter side by side.
        forward_context: see `ForwardContext`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        pad: int,
        adapters: Sequence[int] | None = None,
        forward_context: ForwardContext = no_context,
    ) -> None:
        device = next(model.parameters()).device
        self._model, self._forward_context = model, forward_context
        self._adapters = [0] * len(prompts) if adapters is None else list(adapters)
        longest = max(map(len, prompts))
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        ids = [(*(pad,) * (longest - len(prompt)), *prompt) for prompt in prompts]
        self._ids = torch.tensor(ids).to(device)
        columns = torch.arange(longest + max_new_tokens)
        self._mask = (columns >= (longest - lengths)[:, None]).long().to(device)
        self._positions = (lengths[:, None] - longest + columns).clamp(min=0).to(device)
        self._cache = _make_cache(model, len(prompts), longest + max_new_tokens)
        self._all_rows = _RowRange(slice(None), 0, bool((lengths < longest).any()))
        self._row_ranges = [self._all_rows]
        if device.type == "cpu" and _preallocated_layers(self._cache):
            self._row_ranges = [*_split_rows(lengths.tolist(), _PREFILL_TOKENS)]
        self._filled = 0

    def logits(self) -> torch.Tensor:
        """Runs the tokens added last; logits of the next token, shape (rows, vocabulary)."""
        if len(self._row_ranges) > 1:
            layers = _preallocated_layers(self._cache)
            ranges = self._row_ranges
            logits = torch.cat([self._run(rows, _cache_of_rows(layers, rows)) for rows in ranges])
            for layer in layers:
                layer.set_length(self._ids.shape[1])
        else:
            logits = self._run(self._all_rows, self._cache)
        self._row_ranges = [self._all_rows]
        self._filled += self._ids.shape[1]
        return logits

    def _run(self, row_range: _RowRange, cache: DynamicCache) -> torch.Tensor:
        rows, first, padded = row_range
        ids = self._ids[rows, first:]
        end = self._filled + self._ids.shape[1]
        keywords: dict[str, Any] = {}
        if padded:  # without a mask, attention may take a faster causal kernel
            keywords["attention_mask"] = self._mask[rows, first:end]
        if _accepts(self._model, "position_ids"):
            keywords["position_ids"] = self._positions[rows, self._filled + first : end]
        if _accepts(self._model, "logits_to_keep"):
            keywords["logits_to_keep"] = 1  # logits of all prompt tokens would need much memory
        with self._forward_context(self._adapters[rows], ids.shape[1]):
            output = self._model(input_ids=ids, past_key_values=cache, use_cache=True, **keywords)
        if cache is self._cache:
            self._cache = output.past_key_values
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def append(self, tokens: torch.Tensor) -> None:
        """Appends one token to each row, shape (rows,)."""
        self._ids = tokens[:, None]

    def select_rows(self, rows: torch.Tensor) -> None:
        """Keeps these rows, in this order; a row that is named several times is copied."""
        self._adapters = [self._adapters[row] for row in rows.tolist()]
        self._ids = self._ids.index_select(0, rows)
        self._mask = self._mask.index_select(0, rows)
        self._positions = self._positions.index_select(0, rows)
        self._cache.batch_select_indices(rows)

    def copy(self) -> "BatchDecoder":
        """An independent copy of the batch in its current state."""
        duplicate = copy.copy(self)
        duplicate._cache = copy.deepcopy(self._cache)
        return duplicate


def _make_cache(model: PreTrainedModel, rows: int, capacity: int) -> DynamicCache:
    """Transformers' cache for this model, its plain layers replaced by preallocated ones."""
    cache = DynamicCache(config=model.config.get_text_config())
    cache.layers = [
        _PreallocatedLayer(rows, capacity) if type(layer) is DynamicLayer else layer
        for layer in cache.layers
    ]
    return cache


def _preallocated_layers(cache: DynamicCache) -> list[_PreallocatedLayer]:
    """The cache's layers, if all of them are preallocated; otherwise none."""
    layers = [layer for layer in cache.layers if isinstance(layer, _PreallocatedLayer)]
    return layers if len(layers) == len(cache.layers) else []


def _cache_of_rows(layers: Sequence[_PreallocatedLayer], row_range: _RowRange) -> DynamicCache:
    """A cache of some rows, which are stored in these layers."""
    cache = DynamicCache()
    cache.layers = [_RowsLayer(layer, row_range) for layer in layers]
    return cache


def _split_rows(lengths: Sequence[int], max_tokens: int) -> Iterator[_RowRange]:
    """Ranges of rows with at most `max_tokens` tokens, padding included; at least one row each."""
    longest, start = max(lengths), 0
    while start < len(lengths):
        end, widest = start + 1, lengths[start]
        while end < len(lengths):
            wider = max(widest, lengths[end])
            if wider * (end + 1 - start) > max_tokens:
                break
            end, widest = end + 1, wider
        padded = min(lengths[start:end]) < widest
        yield _RowRange(slice(start, end), longest - widest, padded)
        start = end


def _accepts(model: PreTrainedModel, keyword: str) -> bool:
    return keyword in inspect.signature(model.forward).parameters


#: Share of ended rows at which they are removed; not sooner, since a removal copies the cache.
_MIN_ENDED_SHARE: Final = 0.125


@torch.inference_mode()
def greedy_decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: Collection[int],
    pad: int,
    batch_size: int,
    adapters: Sequence[int] | None = None,
    forward_context: ForwardContext = no_context,
) -> list[list[int]]:
    """Appends the most likely next token to each prompt until it ends.

    Prompts are sorted by length, so that a batch needs little padding.

    Args:
        model: a causal language model in evaluation mode, with or without adapter.
        prompts: token ids, at least one each.
        max_new_tokens: most tokens to write.
        stop: ids that end a row; they are not part of the answer.
        pad: id of the padding token, added on the left (masked).
        batch_size: rows decoded together.
        adapters: index of each prompt's adapter, where the model has several at once.
        forward_context: tells the model the adapter of each row.

    Returns:
        New token ids of each prompt, in the order of the prompts.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    stops = frozenset(stop)
    adapter_of = adapters or [0] * len(prompts)
    for batch in length_sorted_batches(prompts, batch_size, adapter_of):
        rows, row_adapters = [prompts[i] for i in batch], [adapter_of[i] for i in batch]
        decoder = BatchDecoder(model, rows, max_new_tokens, pad, row_adapters, forward_context)
        _decode_batch(decoder, [answers[i] for i in batch], max_new_tokens, stops)
    return answers


def length_sorted_batches(
    prompts: Sequence[Sequence[int]], batch_size: int, adapters: Sequence[int] | None = None
) -> Iterator[list[int]]:
    """Indices of prompts in batches of similar length, the shortest first.

    Within a batch, prompts of one adapter are side by side.
    """
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        yield batch if adapters is None else sorted(batch, key=lambda index: adapters[index])


def _decode_batch(
    decoder: "BatchDecoder", answers: list[list[int]], max_new_tokens: int, stops: frozenset[int]
) -> None:
    """Appends new tokens to `answers`, one list for each row, until all rows have ended."""
    rows = list(range(len(answers)))
    is_running = [True] * len(rows)
    for _ in range(max_new_tokens):
        tokens = decoder.logits().argmax(dim=-1)
        for index, (row, token_id) in enumerate(zip(rows, tokens.tolist(), strict=True)):
            if is_running[index] and token_id in stops:
                is_running[index] = False
            elif is_running[index]:
                answers[row].append(token_id)
        running = sum(is_running)
        if not running:
            return
        decoder.append(tokens)
        if len(rows) - running >= max(1, _MIN_ENDED_SHARE * len(rows)):
            remaining = [index for index, running_row in enumerate(is_running) if running_row]
            decoder.select_rows(torch.tensor(remaining, device=tokens.device))
            rows = [rows[index] for index in remaining]
            is_running = [True] * running
