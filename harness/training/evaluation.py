"""Scores a split: predicts its answers as the task's type asks; statistics for each example.

For trained adapters, the base model with and without few-shot examples, and predictions that come
from no model.
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
from harness.tasks.task import AnswerMode, Example, Task
from harness.training import likelihood, token_classification
from harness.training.generation import ForwardContext, greedy_decode, no_context
from harness.training.losses import predict_tags
from harness.training.tokenization import TokenizedTask
from harness.trial import SplitScores

#: Cached for each tokenizer, since it takes decoding the whole vocabulary.
_newline_ids: weakref.WeakKeyDictionary[Any, frozenset[int]] = weakref.WeakKeyDictionary()


class Answer(NamedTuple):
    """A model's answer to one example.

    Attributes:
        prediction: as the task type's metrics take it.
        text: the output, or its equivalent as text.
        unparsed: whether a part of the output could not be parsed.
    """

    prediction: Any
    text: str
    unparsed: bool


@dataclass(frozen=True)
class _ScoringJob:
    """Examples to answer, and what is needed for it."""

    base: BaseModel
    task: Task
    tokens: TokenizedTask
    split: str
    indices: tuple[int, ...]
    shots: Sequence[Example] | None
    batch_size: int
    adapters: tuple[int, ...] = (0,)
    forward_context: ForwardContext = no_context

    def prompts(self) -> list[tuple[int, ...]]:
        """The prompts of all adapters, one adapter after the other."""
        prompts = self.tokens.prompts(self.split, self.shots).prompts
        return [prompts[index] for index in self.indices] * len(self.adapters)

    @property
    def pad(self) -> int:
        return int(self.base.tokenizer.pad_token_id)

    @property
    def batching(self) -> tuple[int, int, list[int], ForwardContext]:
        """Pad id, rows of a batch (`batch_size` an adapter), each prompt's adapter, context."""
        prompt_adapters = [adapter for adapter in self.adapters for _ in self.indices]
        rows = self.batch_size * len(self.adapters)
        return self.pad, rows, prompt_adapters, self.forward_context


def score(
    base: BaseModel,
    task: Task,
    split: str,
    examples: int | slice | None = None,
    shots: Sequence[Example] | None = None,
    batch_size: int = 64,
    tokens: TokenizedTask | None = None,
) -> SplitScores:
    """Predicts and scores the answers of a split; runs the adapter if one is attached.

    Small adapters in full precision are temporarily merged into copies of the weights: measured on
    the embedded model, that is faster and gives the same answers.

    Args:
        base: in evaluation mode, an attached adapter included.
        task: the task of the split.
        split: name of the split.
        examples: number of examples, evenly spaced over the split, or a slice of it; None for all.
        shots: few-shot examples before each prompt, such as `task.few_shot_examples(5)`; None for
            those of the task's file.
        batch_size: rows run together.
        tokens: the tokenized task; by default it is tokenized here.
    """
    tokenized = tokens or TokenizedTask(base, task, max_length=None)
    examples_of_split = task.examples(split)
    indices = evenly_spaced(len(examples_of_split), examples)
    job = _ScoringJob(base, task, tokenized, split, indices, shots, batch_size)
    # An unmerged DoRA layer would otherwise compute the norms of its weights at each token.
    with merged(base.model), DoraCaching():
        answers = _ANSWERS[task.type.answers](job)
    return score_answers(task, split, [examples_of_split[index] for index in indices], answers)


def score_together(
    base: BaseModel,
    task: Task,
    split: str,
    examples: int | slice | None,
    batch_size: int,
    tokens: TokenizedTask,
    adapters: Sequence[int],
    forward_context: ForwardContext,
) -> list[SplitScores]:
    """Predicts and scores the answers of a split with several adapters at once.

    Args:
        base: in evaluation mode, with all adapters attached.
        task: the task of the split; its answers are no tags.
        split: name of the split.
        examples: as in `score`.
        batch_size: rows of each adapter that run together.
        tokens: the tokenized task.
        adapters: indices of the adapters in `forward_context`.
        forward_context: tells the model the adapter of each row.

    Returns:
        The scores of each adapter, in the order of `adapters`.
    """
    examples_of_split = task.examples(split)
    indices = evenly_spaced(len(examples_of_split), examples)
    job = _ScoringJob(
        base, task, tokens, split, indices, None, batch_size, (*adapters,), forward_context
    )
    answers = _ANSWERS[task.type.answers](job)
    scored_examples = [examples_of_split[index] for index in indices]
    return [
        score_answers(task, split, scored_examples, answers[start : start + len(indices)])
        for start in range(0, len(answers), len(indices))
    ]


def _generate(job: _ScoringJob) -> list[Answer]:
    """Greedy decoding; a line break ends an answer where all answers of the task are one line."""
    base, task, tail = job.base, job.task, job.tokens.tail
    stop = newline_ids(base) if has_single_line_answers(task) else frozenset()
    end = base.tokenizer.eos_token_id
    stop = stop.union(tail, () if end is None else (int(end),))
    token_ids = greedy_decode(base.model, job.prompts(), task.max_new_tokens, stop, *job.batching)
    texts = base.tokenizer.batch_decode(token_ids, skip_special_tokens=True)
    parsed = [task.parse(text) for text in texts]
    return [Answer(p.prediction, text, p.unparsed) for p, text in zip(parsed, texts, strict=True)]


def _choose_class(job: _ScoringJob) -> list[Answer]:
    """The most likely of the classes."""
    task, tokens = job.task, job.tokens
    names = task.type.classes
    answers = tokens.answers([task.write(name) for name in names])
    try:
        best = likelihood.most_likely_answers(
            job.base.model, job.prompts(), answers, *job.batching
        )
    except likelihood.AmbiguousError as error:
        first, second = (names[index] for index in error.answers)
        raise UserError(
            f"{task.folder / 'task.yaml'}: the tokens of {job.base.name} do not distinguish the "
            f"classes '{first}' and '{second}'; give one of them another name in target.names, "
            "or use 'answers: generation'"
        ) from error
    return [Answer(names[index], task.write(names[index]), unparsed=False) for index in best]


def _measure_likelihood(job: _ScoringJob) -> list[Answer]:
    """The log-likelihood of each text."""
    base, window = job.base, job.task.file.window
    length = min(window.length, base.context or window.length)
    texts = job.tokens.texts(job.split)
    sequences = [texts[index] for index in job.indices] * len(job.adapters)
    likelihoods = likelihood.text_log_likelihoods(
        base.model, sequences, length, min(window.stride, length - 1), *job.batching
    )
    return [Answer(x, f"{x.nll:.4f} nats, {x.tokens} tokens", False) for x in likelihoods]


def _tag_entities(job: _ScoringJob) -> list[Answer]:
    """The entities of each text's predicted tags, with their offsets."""
    base, task = job.base, job.task
    split_texts = job.tokens.tagged(job.split)
    texts = [split_texts[index] for index in job.indices]
    labels = task.type.head.labels
    answers = []
    log_probabilities = predict_tags(base.model, texts, job.pad, job.batch_size)
    for text, tags in zip(texts, log_probabilities, strict=True):
        word_tags = token_classification.word_level_tags(tags, text.words, labels)
        spans = tagging.tags_to_spans(word_tags, text.offsets, text.text)
        answers.append(Answer(spans, task.write(spans), unparsed=False))
    return answers


_ANSWERS: Final[dict[AnswerMode, Callable[[_ScoringJob], list[Answer]]]] = {
    AnswerMode.GENERATED: _generate,
    AnswerMode.MOST_LIKELY: _choose_class,
    AnswerMode.LIKELIHOOD: _measure_likelihood,
    AnswerMode.TAGGED: _tag_entities,
}


def score_answers(
    task: Task, split: str, examples: Sequence[Example], answers: Sequence[Answer]
) -> SplitScores:
    """Scores the answers to these examples; an unparsed answer counts as wrong."""
    unparsed = tuple(answer.unparsed for answer in answers)
    scores = task.evaluate((answer.prediction for answer in answers), examples, unparsed)
    ids = tuple(example.id for example in examples)
    texts = tuple(answer.text for answer in answers)
    return SplitScores(split, ids, texts, unparsed, scores.statistics, scores.values)


def score_predictions(task: Task, split: str, predictions: Sequence[Any]) -> SplitScores:
    """Scores predictions of no model, such as `task.baseline_predictions("dictionary", split)`.

    There is one for each example of the split, in its order.
    """
    answers = [Answer(value, task.write(value), unparsed=False) for value in predictions]
    return score_answers(task, split, task.examples(split), answers)


def objective_value(task: Task, scores: SplitScores) -> float:
    """The objective over the examples of these scores."""
    return float(task.objective.value(np.asarray(scores.statistics, dtype=float).sum(axis=0)))


def evenly_spaced(count: int, selection: int | slice | None) -> tuple[int, ...]:
    """Evenly spaced indices below `count`: `selection` of them, a slice, or all (None)."""
    if isinstance(selection, slice):
        return tuple(range(count))[selection]
    if selection is None or selection >= count:
        return tuple(range(count))
    return tuple(index * count // selection for index in range(selection))


def has_single_line_answers(task: Task) -> bool:
    """Whether all training answers are single lines, so that a line break ends an answer."""
    return not any("\n" in task.target(example) for example in task.examples("train"))


def newline_ids(base: BaseModel) -> frozenset[int]:
    """Ids of all tokens whose text contains a line break."""
    tokenizer = base.tokenizer
    if tokenizer not in _newline_ids:
        texts = tokenizer.batch_decode([[index] for index in range(len(tokenizer))])
        _newline_ids[tokenizer] = frozenset(i for i, text in enumerate(texts) if "\n" in text)
    return _newline_ids[tokenizer]
