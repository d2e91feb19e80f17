"""Greedy, batched decoding: what `generate(do_sample=False)` writes, at less cost.

Rows that have come to their end leave the batch. Knows token ids only, nothing of texts or tasks.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import torch
from transformers import PreTrainedModel

from harness.training.continuation import Around, Continuation, alone

#: Rows leave the batch when at least this share has ended: each time the cache is copied.
_LEAVING: Final = 0.125


@torch.inference_mode()
def greedy(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: Collection[int],
    pad: int,
    batch_size: int,
    owners: Sequence[int] | None = None,
    around: Around = alone,
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
    for chosen in by_length(prompts, batch_size, whose):
        going = Continuation(
            model,
            [prompts[i] for i in chosen],
            max_new_tokens,
            pad,
            [whose[i] for i in chosen],
            around,
        )
        _write(going, [answers[i] for i in chosen], max_new_tokens, stops)
    return answers


def by_length(
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
    going: "Continuation", answers: list[list[int]], new: int, stops: frozenset[int]
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
