"""Scores a split: decodes answers, has the task read them, keeps statistics for each example.

Serves trained adapters, the bare base with and without worked examples, and predictions that come
from no model. Knows nothing of training.
"""

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from peft.helpers import DoraCaching

from harness.adapters.merging import merged
from harness.models.base_model import BaseModel
from harness.task import Example, Mention, Task
from harness.training.batches import TaskTokens
from harness.training.decoding import greedy
from harness.trial import SplitScores

_newline_ids: weakref.WeakKeyDictionary[Any, frozenset[int]] = weakref.WeakKeyDictionary()


def score(
    base: BaseModel,
    task: Task,
    split: str,
    examples: int | None = None,
    prefix: str = "",
    batch_size: int = 64,
    tokens: TaskTokens | None = None,
) -> SplitScores:
    """Decodes greedily and scores what was written; runs the adapter if one is attached.

    Small adapters in full precision are merged into copies of the weights meanwhile: measured on
    the embedded model, that is faster and writes the same answers.

    Args:
        base: in evaluation mode, an attached adapter included.
        task: what to ask.
        split: which examples.
        examples: score only so many, evenly spaced over the split; None scores all.
        prefix: text put before each prompt, such as `task.few_shot(5)`.
        batch_size: rows decoded together.
        tokens: tokens made before, else they are made here.
    """
    made = tokens or TaskTokens(base, task, max_length=1)
    prompts = made.prompts(split, prefix).prompts
    chosen = evenly(len(prompts), examples)
    end = base.tokenizer.eos_token_id
    stop = newline_ids(base) if one_line(task) else frozenset()
    # Where it cannot be merged, a DoRA layer would compute the norms of its weights at each token.
    with merged(base.model), DoraCaching():
        answers = greedy(
            base.model,
            [prompts[index] for index in chosen],
            task.max_new_tokens,
            stop if end is None else stop | {int(end)},
            int(base.tokenizer.pad_token_id),
            batch_size,
        )
    texts = base.tokenizer.batch_decode(answers, skip_special_tokens=True)
    everything = task.examples(split)
    return score_texts(task, split, [everything[index] for index in chosen], texts)


def score_texts(
    task: Task, split: str, examples: Sequence[Example], texts: Sequence[str]
) -> SplitScores:
    """Reads and scores what was written for these examples; what cannot be read is wrong."""
    parsed = [task.parse(text) for text in texts]
    unparsed = tuple(each.unparsed for each in parsed)
    statistics = tuple(
        tuple(map(float, task.score(each.prediction, example)))
        for each, example in zip(parsed, examples, strict=True)
    )
    return SplitScores(
        split=split,
        ids=tuple(example.id for example in examples),
        predictions=tuple(texts),
        unparsed=unparsed,
        statistics=statistics,
        values=task.values(statistics, unparsed),
    )


def score_predictions(
    task: Task, split: str, predictions: Sequence[Sequence[Mention]]
) -> SplitScores:
    """Scores predictions that no model wrote, such as `task.guesses("dictionary", split)`.

    Args:
        task: what was asked.
        split: which examples.
        predictions: for each example of the split, in its order.
    """
    return score_texts(task, split, task.examples(split), [task.write(p) for p in predictions])


def objective_value(task: Task, scores: SplitScores) -> float:
    """The objective over the examples of these scores."""
    return float(task.objective.value(np.asarray(scores.statistics, dtype=float).sum(axis=0)))


def evenly(count: int, wanted: int | None) -> tuple[int, ...]:
    """Indices of `wanted` of `count` things, evenly spaced; all where None or too many."""
    if wanted is None or wanted >= count:
        return tuple(range(count))
    return tuple(index * count // wanted for index in range(wanted))


def one_line(task: Task) -> bool:
    """Whether answers of this task are single lines, so that a line break ends one."""
    return not any("\n" in task.target(example) for example in task.examples("train"))


def newline_ids(base: BaseModel) -> frozenset[int]:
    """Ids of all tokens whose text holds a line break."""
    tokenizer = base.tokenizer
    if tokenizer not in _newline_ids:
        texts = tokenizer.batch_decode([[index] for index in range(len(tokenizer))])
        _newline_ids[tokenizer] = frozenset(i for i, text in enumerate(texts) if "\n" in text)
    return _newline_ids[tokenizer]
