"""Scores a split: has it answered, as the task's kind asks; keeps statistics for each example.

Serves trained adapters, the bare base with and without worked examples, and predictions that come
from no model. Knows nothing of training.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from peft.helpers import DoraCaching

from harness.adapters.adapter import merged
from harness.data import tagging
from harness.errors import UserError
from harness.models.base_model import BaseModel
from harness.tasks.task import Answers, Example, Task
from harness.training import likelihood, token_classification
from harness.training.generation import ForwardContext, greedy_decode, no_context
from harness.training.losses import predict_tags
from harness.training.tokenization import TokenizedTask
from harness.trial import SplitScores

_newline_ids: weakref.WeakKeyDictionary[Any, frozenset[int]] = weakref.WeakKeyDictionary()


class Answer(NamedTuple):
    """What a model answered to one example.

    Attributes:
        prediction: as the task's kind takes it.
        text: what was written, or stands for it.
        unparsed: whether any of it could not be read.
    """

    prediction: Any
    text: str
    unparsed: bool


@dataclass(frozen=True)
class _Asking:
    """All that is needed to have some examples answered."""

    base: BaseModel
    task: Task
    tokens: TokenizedTask
    split: str
    chosen: tuple[int, ...]
    shots: Sequence[Example] | None
    batch_size: int
    adapters: tuple[int, ...] = (0,)
    around: ForwardContext = no_context

    def prompts(self) -> list[tuple[int, ...]]:
        """Those of each adapter, one adapter's after the other's."""
        made = self.tokens.prompts(self.split, self.shots).prompts
        return [made[index] for index in self.chosen] * len(self.adapters)

    @property
    def owners(self) -> list[int]:
        """Whose each prompt is."""
        return [adapter for adapter in self.adapters for _ in self.chosen]

    @property
    def rows(self) -> int:
        """Run together: so many of each adapter."""
        return self.batch_size * len(self.adapters)

    @property
    def pad(self) -> int:
        return int(self.base.tokenizer.pad_token_id)


def score(
    base: BaseModel,
    task: Task,
    split: str,
    examples: int | slice | None = None,
    shots: Sequence[Example] | None = None,
    batch_size: int = 64,
    tokens: TokenizedTask | None = None,
) -> SplitScores:
    """Has a split answered and scores it; runs the adapter if one is attached.

    Small adapters in full precision are merged into copies of the weights meanwhile: measured on
    the embedded model, that is faster and writes the same answers.

    Args:
        base: in evaluation mode, an attached adapter included.
        task: what to ask.
        split: which examples.
        examples: score only so many, evenly spaced over the split, or these; None scores all.
        shots: worked examples before each prompt, such as `task.worked(5)`; None for those that
            the task asks for.
        batch_size: rows run together.
        tokens: tokens made before, else they are made here.
    """
    made = tokens or TokenizedTask(base, task, max_length=None)
    everything = task.examples(split)
    chosen = evenly_spaced(len(everything), examples)
    asking = _Asking(base, task, made, split, chosen, shots, batch_size)
    # Where it cannot be merged, a DoRA layer would compute the norms of its weights at each token.
    with merged(base.model), DoraCaching():
        answers = _ANSWERS[task.kind.answers](asking)
    return score_answers(task, split, [everything[index] for index in chosen], answers)


def score_together(
    base: BaseModel,
    task: Task,
    split: str,
    examples: int | slice | None,
    batch_size: int,
    tokens: TokenizedTask,
    adapters: Sequence[int],
    around: ForwardContext,
) -> list[SplitScores]:
    """Has a split answered by several adapters at once, each row by its own.

    Args:
        base: in evaluation mode, with all of them on it.
        task: what to ask; its answers are no tags.
        split: which examples.
        examples: as in `score`.
        batch_size: rows of each adapter that run together.
        tokens: made before.
        adapters: what `around` knows each by.
        around: tells the model whose its rows are.

    Returns:
        The scores of each adapter.
    """
    everything = task.examples(split)
    chosen = evenly_spaced(len(everything), examples)
    asking = _Asking(base, task, tokens, split, chosen, None, batch_size, (*adapters,), around)
    answers = _ANSWERS[task.kind.answers](asking)
    asked = [everything[index] for index in chosen]
    return [
        score_answers(task, split, asked, answers[start : start + len(chosen)])
        for start in range(0, len(answers), len(chosen))
    ]


def _written(asking: _Asking) -> list[Answer]:
    """Decodes greedily; a line break ends an answer where all of the task's are single lines."""
    base, task, tail = asking.base, asking.task, asking.tokens.tail
    stop = newline_ids(base) if has_single_line_answers(task) else frozenset()
    end = base.tokenizer.eos_token_id
    found = greedy_decode(
        base.model,
        asking.prompts(),
        task.max_new_tokens,
        stop.union(tail, () if end is None else (int(end),)),
        asking.pad,
        asking.rows,
        asking.owners,
        asking.around,
    )
    return _read(task, base.tokenizer.batch_decode(found, skip_special_tokens=True))


def _read(task: Task, texts: Sequence[str]) -> list[Answer]:
    parsed = [task.parse(text) for text in texts]
    return [Answer(p.prediction, text, p.unparsed) for p, text in zip(parsed, texts, strict=True)]


def _chosen(asking: _Asking) -> list[Answer]:
    """The likeliest of the classes."""
    task, tokens = asking.task, asking.tokens
    names = task.kind.classes
    answers = tokens.answers([task.write(name) for name in names])
    try:
        found = likelihood.most_likely_answers(
            asking.base.model,
            asking.prompts(),
            answers,
            asking.pad,
            asking.rows,
            asking.owners,
            asking.around,
        )
    except likelihood.AmbiguousError as error:
        first, second = (names[index] for index in error.answers)
        raise UserError(
            f"{task.folder / 'task.yaml'}: classes '{first}' and '{second}' cannot be told apart "
            f"by the tokens of {asking.base.name}; give one of them another name in target.names, "
            "or take 'answers: generation'"
        ) from error
    return [Answer(names[index], task.write(names[index]), unparsed=False) for index in found]


def _likelihood(asking: _Asking) -> list[Answer]:
    """How likely each text is."""
    base, window = asking.base, asking.task.file.window
    length = min(window.length, base.context or window.length)
    made = asking.tokens.texts(asking.split)
    found = likelihood.text_log_likelihoods(
        base.model,
        [made[index] for index in asking.chosen] * len(asking.adapters),
        length,
        min(window.stride, length - 1),
        asking.pad,
        asking.rows,
        asking.owners,
        asking.around,
    )
    return [Answer(each, f"{each.nll:.4f} nats, {each.tokens} tokens", False) for each in found]


def _tagged(asking: _Asking) -> list[Answer]:
    """The entities that each text's tags say, with their places."""
    base, task = asking.base, asking.task
    made = asking.tokens.tagged(asking.split)
    texts = [made[index] for index in asking.chosen]
    labels = task.kind.head.labels
    found = []
    likely = predict_tags(base.model, texts, asking.pad, asking.batch_size)
    for one, tags in zip(texts, likely, strict=True):
        read = token_classification.word_level_tags(tags, one.words, labels)
        spans = tagging.spans(read, one.places, one.text)
        found.append(Answer(spans, task.write(spans), unparsed=False))
    return found


_ANSWERS: Final[dict[Answers, Callable[[_Asking], list[Answer]]]] = {
    Answers.WRITTEN: _written,
    Answers.CHOSEN: _chosen,
    Answers.LIKELIHOOD: _likelihood,
    Answers.TAGGED: _tagged,
}


def score_answers(
    task: Task, split: str, examples: Sequence[Example], answers: Sequence[Answer]
) -> SplitScores:
    """Scores what was answered to these examples; what could not be read is wrong."""
    unparsed = tuple(each.unparsed for each in answers)
    found = task.evaluate((each.prediction for each in answers), examples, unparsed)
    return SplitScores(
        split=split,
        ids=tuple(example.id for example in examples),
        predictions=tuple(each.text for each in answers),
        unparsed=unparsed,
        statistics=found.statistics,
        values=found.values,
    )


def score_predictions(task: Task, split: str, predictions: Sequence[Any]) -> SplitScores:
    """Scores predictions that no model wrote, such as `task.baseline_predictions(NAME, split)`.

    Args:
        task: what was asked.
        split: which examples.
        predictions: for each example of the split, in its order.
    """
    answers = [Answer(each, task.write(each), unparsed=False) for each in predictions]
    return score_answers(task, split, task.examples(split), answers)


def objective_value(task: Task, scores: SplitScores) -> float:
    """The objective over the examples of these scores."""
    return float(task.objective.value(np.asarray(scores.statistics, dtype=float).sum(axis=0)))


def evenly_spaced(count: int, wanted: int | slice | None) -> tuple[int, ...]:
    """Indices of `wanted` of `count` things, evenly spaced; all where None or too many."""
    if isinstance(wanted, slice):
        return tuple(range(count))[wanted]
    if wanted is None or wanted >= count:
        return tuple(range(count))
    return tuple(index * count // wanted for index in range(wanted))


def has_single_line_answers(task: Task) -> bool:
    """Whether answers of this task are single lines, so that a line break ends one."""
    return not any("\n" in task.target(example) for example in task.examples("train"))


def newline_ids(base: BaseModel) -> frozenset[int]:
    """Ids of all tokens whose text holds a line break."""
    tokenizer = base.tokenizer
    if tokenizer not in _newline_ids:
        texts = tokenizer.batch_decode([[index] for index in range(len(tokenizer))])
        _newline_ids[tokenizer] = frozenset(i for i, text in enumerate(texts) if "\n" in text)
    return _newline_ids[tokenizer]
