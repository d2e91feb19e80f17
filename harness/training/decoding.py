"""Greedy, batched decoding: what `generate(do_sample=False)` writes, at less cost.

Rows that have come to their end leave the batch, and keys and values are written in place into
buffers of the final length where Transformers' own cache copies them at each token. Knows token
ids only, nothing of texts or tasks.
"""

import inspect
from collections.abc import Collection, Sequence
from typing import Any, Final

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

#: Rows leave the batch when at least this share has ended: each time the cache is copied.
_LEAVING: Final = 0.125


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, in buffers with room for all tokens to come."""

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._room = room
        self._length = 0
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self._buffers is None:
            self.lazy_initialization(key_states, value_states)
            self._buffers = (self._empty(key_states), self._empty(value_states))
        start, self._length = self._length, self._length + key_states.shape[-2]
        keys, values = self._buffers
        keys[:, :, start : self._length] = key_states
        values[:, :, start : self._length] = value_states
        self.keys, self.values = keys[:, :, : self._length], values[:, :, : self._length]
        return self.keys, self.values

    def _empty(self, states: torch.Tensor) -> torch.Tensor:
        batch, heads, _, width = states.shape
        return states.new_empty(batch, heads, self._room, width)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        if self._buffers is not None:
            keys, values = (self._chosen(buffer, indices) for buffer in self._buffers)
            self._buffers = (keys, values)
            self.keys, self.values = keys[:, :, : self._length], values[:, :, : self._length]

    def _chosen(self, buffer: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """A buffer of some rows; only what is filled is copied."""
        filled = buffer[:, :, : self._length]
        chosen = buffer.new_empty(len(indices), *buffer.shape[1:])
        chosen[:, :, : self._length] = filled.index_select(0, indices)
        return chosen


@torch.inference_mode()
def greedy(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: Collection[int],
    pad: int,
    batch_size: int,
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

    Returns:
        New token ids for each prompt, in the order given.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    stops = frozenset(stop)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        _Decoding(model, [prompts[i] for i in chosen], max_new_tokens, pad).run(
            [answers[i] for i in chosen], stops
        )
    return answers


class _Decoding:
    """One batch on its way."""

    def __init__(
        self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], new: int, pad: int
    ) -> None:
        device = next(model.parameters()).device
        self._model, self._new = model, new
        longest = max(map(len, prompts))
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        self._ids = torch.tensor(
            [(*(pad,) * (longest - len(prompt)), *prompt) for prompt in prompts]
        ).to(device)
        places = torch.arange(longest + new)
        self._mask = (places >= (longest - lengths)[:, None]).long().to(device)
        self._positions = (lengths[:, None] - longest + places).clamp(min=0).to(device)
        self._padded = bool((lengths < longest).any())
        self._cache = _cache(model, longest + new)
        self._filled = 0

    def run(self, answers: list[list[int]], stops: frozenset[int]) -> None:
        """Appends new tokens to `answers`, one list a row, until each row has ended."""
        rows = list(range(len(answers)))
        going = [True] * len(rows)
        for _ in range(self._new):
            token = self._next()
            for place, (row, found) in enumerate(zip(rows, token.tolist(), strict=True)):
                if going[place] and found in stops:
                    going[place] = False
                elif going[place]:
                    answers[row].append(found)
            left = sum(going)
            if not left:
                return
            self._ids = token[:, None]
            if len(rows) - left >= max(1, _LEAVING * len(rows)):
                keep = [place for place, goes in enumerate(going) if goes]
                self._keep(torch.tensor(keep, device=token.device))
                rows = [rows[place] for place in keep]
                going = [True] * left

    def _next(self) -> torch.Tensor:
        end = self._filled + self._ids.shape[1]
        keywords: dict[str, Any] = {}
        if self._padded:
            keywords["attention_mask"] = self._mask[:, :end]
        if _takes(self._model, "position_ids"):
            keywords["position_ids"] = self._positions[:, self._filled : end]
        if _takes(self._model, "logits_to_keep"):
            keywords["logits_to_keep"] = 1
        out = self._model(
            input_ids=self._ids, past_key_values=self._cache, use_cache=True, **keywords
        )
        self._cache = out.past_key_values
        self._filled = end
        best: torch.Tensor = out.logits[:, -1].argmax(dim=-1)
        return best

    def _keep(self, rows: torch.Tensor) -> None:
        self._ids = self._ids.index_select(0, rows)
        self._mask = self._mask.index_select(0, rows)
        self._positions = self._positions.index_select(0, rows)
        self._cache.batch_select_indices(rows)


def _cache(model: PreTrainedModel, room: int) -> DynamicCache:
    """Transformers' cache for this model; its plain layers are replaced by roomy ones."""
    cache = DynamicCache(config=model.config.get_text_config())
    cache.layers = [
        _RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def _takes(model: PreTrainedModel, keyword: str) -> bool:
    return keyword in inspect.signature(model.forward).parameters
