"""A batch of prompts that is gone on from token by token, with keys and values kept.

Keys and values are written in place into buffers of the final length, where Transformers' own
cache copies them at each token; and long batches of prompts are read part by part on a processor,
whose cache would not hold what a layer makes of them. Knows token ids only.

Greedy, batched decoding: what `generate(do_sample=False)` writes, at less cost.

Rows that have come to their end leave the batch. Knows token ids only, nothing of texts or tasks.
"""

import copy
import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

#: Run around each call of a model: given whose adapter each row is for, and the tokens of a row.
ForwardContext = Callable[[Sequence[int], int], AbstractContextManager[None]]

#: Tokens of prompts that a processor reads at a time.
_AT_A_TIME: Final = 1024


def no_context(owners: Sequence[int], width: int) -> AbstractContextManager[None]:
    """Of a model that has one adapter at most: nothing is to be told."""
    del owners, width
    return nullcontext()


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, in buffers with room for all tokens to come."""

    def __init__(self, rows: int, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows, self._room = rows, room
        self._length = 0
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self.buffers(key_states, value_states)
        start, end = self._length, self._length + key_states.shape[-2]
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        self.filled(end)
        return keys[:, :, :end], values[:, :, :end]

    def buffers(
        self, key_states: torch.Tensor, value_states: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """For states like these; made when they are asked for first."""
        if self._buffers is None:
            self.lazy_initialization(key_states, value_states)
            self._buffers = self._made(key_states, value_states)
        return self._buffers

    def filled(self, length: int) -> None:
        """So many places are; nothing where nobody asked for buffers."""
        if self._buffers is not None:
            self._length = length
            self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)

    def _made(self, *states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = (
            each.new_empty(self._rows, each.shape[1], self._room, each.shape[3]) for each in states
        )
        return keys, values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        if self._buffers is not None:
            keys, values = (self._chosen(buffer, indices) for buffer in self._buffers)
            self._buffers = (keys, values)
            self.filled(self._length)

    def _chosen(self, buffer: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """A buffer of some rows; only what is filled is copied."""
        filled = buffer[:, :, : self._length]
        chosen = buffer.new_empty(len(indices), *buffer.shape[1:])
        chosen[:, :, : self._length] = filled.index_select(0, indices)
        return chosen


class _Part(NamedTuple):
    """Neighbouring rows that are read together.

    Attributes:
        rows: which.
        first: the column where the longest of them begins.
        padded: whether others are shorter.
    """

    rows: slice
    first: int
    padded: bool


class _PartLayer(_RoomyLayer):  # type: ignore[no-untyped-call]
    """Some rows of another layer; what is written here is written there."""

    def __init__(self, whole: _RoomyLayer, part: _Part) -> None:
        super().__init__(0, 0)
        self._whole, self._part = whole, part

    def _made(self, *states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows, first, _ = self._part
        mine = [buffer[rows] for buffer in self._whole.buffers(*states)]
        for each in mine:
            # Masked, but no number at all times nothing is no number.
            each[:, :, :first] = 0
        keys, values = (each[:, :, first:] for each in mine)
        return keys, values


class BatchDecoder:
    """A batch of prompts that is gone on from, token by token, with keys and values kept.

    Args:
        model: a causal language model in evaluation mode.
        prompts: token ids, each at least one; padded on the left.
        new: tokens that may follow.
        pad: id to pad with (masked).
        owners: whose each prompt is, those of one owner side by side.
        around: see `ForwardContext`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        new: int,
        pad: int,
        owners: Sequence[int] | None = None,
        around: ForwardContext = no_context,
    ) -> None:
        device = next(model.parameters()).device
        self._model, self._around = model, around
        self._owners = [0] * len(prompts) if owners is None else list(owners)
        longest = max(map(len, prompts))
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        self._ids = torch.tensor(
            [(*(pad,) * (longest - len(prompt)), *prompt) for prompt in prompts]
        ).to(device)
        places = torch.arange(longest + new)
        self._mask = (places >= (longest - lengths)[:, None]).long().to(device)
        self._positions = (lengths[:, None] - longest + places).clamp(min=0).to(device)
        self._cache = _cache(model, len(prompts), longest + new)
        self._whole = _Part(slice(None), 0, bool((lengths < longest).any()))
        at_once = _AT_A_TIME if device.type == "cpu" and _roomy(self._cache) else None
        self._parts = [self._whole] if at_once is None else [*_parts(lengths.tolist(), at_once)]
        self._filled = 0

    def logits(self) -> torch.Tensor:
        """Runs the tokens that were added last; logits of what follows, shape (rows, words)."""
        if len(self._parts) > 1:
            layers = _roomy(self._cache)
            found = torch.cat([self._run(part, _within(layers, part)) for part in self._parts])
            for layer in layers:
                layer.filled(self._ids.shape[1])
        else:
            found = self._run(self._whole, self._cache)
        self._parts = [self._whole]
        self._filled += self._ids.shape[1]
        return found

    def _run(self, part: _Part, cache: DynamicCache) -> torch.Tensor:
        rows, first, padded = part
        ids = self._ids[rows, first:]
        end = self._filled + self._ids.shape[1]
        keywords: dict[str, Any] = {}
        if padded:
            keywords["attention_mask"] = self._mask[rows, first:end]
        if _takes(self._model, "position_ids"):
            keywords["position_ids"] = self._positions[rows, self._filled + first : end]
        if _takes(self._model, "logits_to_keep"):
            keywords["logits_to_keep"] = 1
        with self._around(self._owners[rows], ids.shape[1]):
            out = self._model(input_ids=ids, past_key_values=cache, use_cache=True, **keywords)
        if cache is self._cache:
            self._cache = out.past_key_values
        found: torch.Tensor = out.logits[:, -1]
        return found

    def add(self, tokens: torch.Tensor) -> None:
        """One more token for each row, shape (rows,)."""
        self._ids = tokens[:, None]

    def keep(self, rows: torch.Tensor) -> None:
        """Goes on with these rows, in their order; one that is named several times branches."""
        self._owners = [self._owners[row] for row in rows.tolist()]
        self._ids = self._ids.index_select(0, rows)
        self._mask = self._mask.index_select(0, rows)
        self._positions = self._positions.index_select(0, rows)
        self._cache.batch_select_indices(rows)

    def copy(self) -> "BatchDecoder":
        """The same batch at the same place; going on with one leaves the other."""
        twin = copy.copy(self)
        twin._cache = copy.deepcopy(self._cache)
        return twin


def _cache(model: PreTrainedModel, rows: int, room: int) -> DynamicCache:
    """Transformers' cache for this model; its plain layers are replaced by roomy ones."""
    cache = DynamicCache(config=model.config.get_text_config())
    cache.layers = [
        _RoomyLayer(rows, room) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def _roomy(cache: DynamicCache) -> list[_RoomyLayer]:
    """Its layers, if all are roomy ones."""
    found = [layer for layer in cache.layers if isinstance(layer, _RoomyLayer)]
    return found if len(found) == len(cache.layers) else []


def _within(layers: Sequence[_RoomyLayer], part: _Part) -> DynamicCache:
    """The cache of some rows, which lie in these layers."""
    found = DynamicCache()
    found.layers = [_PartLayer(layer, part) for layer in layers]
    return found


def _parts(lengths: Sequence[int], at_once: int) -> Iterator[_Part]:
    """Neighbours that have `at_once` tokens at most, padding included; a row at least."""
    longest, start = max(lengths), 0
    while start < len(lengths):
        end, widest = start + 1, lengths[start]
        while end < len(lengths):
            wider = max(widest, lengths[end])
            if wider * (end + 1 - start) > at_once:
                break
            end, widest = end + 1, wider
        padded = min(lengths[start:end]) < widest
        yield _Part(slice(start, end), longest - widest, padded)
        start = end


def _takes(model: PreTrainedModel, keyword: str) -> bool:
    return keyword in inspect.signature(model.forward).parameters


#: Rows leave the batch when at least this share has ended: each time the cache is copied.
_LEAVING: Final = 0.125


@torch.inference_mode()
def greedy_decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: Collection[int],
    pad: int,
    batch_size: int,
    owners: Sequence[int] | None = None,
    around: ForwardContext = no_context,
) -> list[list[int]]:
    """The likeliest next token, again and again, for each prompt.

    Prompts are sorted by length, so that a batch needs little padding.

    Args:
        model: a causal language model in evaluation mode, with or without adapter.
        prompts: token ids, each at least one.
        max_new_tokens: tokens to write at most.
        stop: ids that end a row; they are not part of the answer.
        pad: id to pad with on the left (masked).
        batch_size: rows decoded together.
        owners: whose adapter each prompt is for, where the model has several at once.
        around: tells the model whose its rows are.

    Returns:
        New token ids for each prompt, in the order given.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    stops = frozenset(stop)
    whose = owners or [0] * len(prompts)
    for chosen in length_sorted_batches(prompts, batch_size, whose):
        going = BatchDecoder(
            model,
            [prompts[i] for i in chosen],
            max_new_tokens,
            pad,
            [whose[i] for i in chosen],
            around,
        )
        _write(going, [answers[i] for i in chosen], max_new_tokens, stops)
    return answers


def length_sorted_batches(
    prompts: Sequence[Sequence[int]], batch_size: int, owners: Sequence[int] | None = None
) -> Iterator[list[int]]:
    """Indices of prompts in batches of similar length, the shortest first.

    Within a batch those of one owner are side by side.
    """
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        yield batch if owners is None else sorted(batch, key=lambda index: owners[index])


def _write(
    going: "BatchDecoder", answers: list[list[int]], new: int, stops: frozenset[int]
) -> None:
    """Appends new tokens to `answers`, one list a row, until each row has ended."""
    rows = list(range(len(answers)))
    open_ = [True] * len(rows)
    for _ in range(new):
        token = going.logits().argmax(dim=-1)
        for place, (row, found) in enumerate(zip(rows, token.tolist(), strict=True)):
            if open_[place] and found in stops:
                open_[place] = False
            elif open_[place]:
                answers[row].append(found)
        left = sum(open_)
        if not left:
            return
        going.add(token)
        if len(rows) - left >= max(1, _LEAVING * len(rows)):
            keep = [place for place, goes in enumerate(open_) if goes]
            going.keep(torch.tensor(keep, device=token.device))
            rows = [rows[place] for place in keep]
            open_ = [True] * left
