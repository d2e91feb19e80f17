"""The data card of a sweep: its task's rows, measured with its model's tokenizer, before it runs.

Loads no weights.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

from transformers import PreTrainedTokenizerBase

from harness.config.sweep import Sweep
from harness.models.base_model import BaseModel, load_config, load_tokenizer
from harness.tasks import data_card
from harness.tasks.data_card import (
    BaselineScore,
    DataCard,
    PreparationCounts,
    RowTexts,
    TokenLimits,
)
from harness.tasks.task import SPLITS, AnswerMode, Task, load_task_for
from harness.training.tokenization import PromptBuilder


class _Bare(NamedTuple):
    """As much of a base model as prompts are made with."""

    name: str
    tokenizer: PreTrainedTokenizerBase


def data_card_of(sweep: Sweep) -> DataCard:
    """Looks at the data of a sweep.

    Raises:
        UserError: the task, its data or the model's tokenizer are faulty.
    """
    task = load_task_for(sweep)
    bare = _Bare(sweep.model.name, load_tokenizer(sweep.model))
    prompting = PromptBuilder(cast("BaseModel", bare), task)
    return data_card.make_data_card(
        {split: task.rows(split) for split in SPLITS},
        {split: _texts(task, prompting, split) for split in SPLITS},
        lambda texts: [len(ids) for ids in prompting.encode(texts)],
        _limits(sweep, task, prompting),
        task.type.labels_of if task.type.labelled else None,
        PreparationCounts(*task.preparation),
        tuple(_floors(task)),
    )


def _texts(task: Task, prompting: PromptBuilder, split: str) -> Sequence[RowTexts]:
    examples = task.examples(split)
    if not task.type.fields:  # nothing is asked: the text alone is read
        return [RowTexts("", example.text) for example in examples]
    shots = task.few_shot_examples(task.file.shots)
    answers = [task.target(example) for example in examples]
    if task.file.chat:  # a turn begins on its own, without a blank
        answers = [answer.lstrip() for answer in answers]
    return [
        RowTexts(prompting.text(example, shots), answer)
        for example, answer in zip(examples, answers, strict=True)
    ]


def _limits(sweep: Sweep, task: Task, prompting: PromptBuilder) -> TokenLimits:
    length, answers = sweep.training.max_length, task.type.answers
    if answers is AnswerMode.LIKELIHOOD:
        return TokenLimits(length, None, 1 + len(prompting.tail))
    if answers is AnswerMode.TAGGED:
        return TokenLimits(length, None, load_tokenizer(sweep.model).num_special_tokens_to_add())
    written = answers is AnswerMode.GENERATED
    longest = task.max_new_tokens
    if not written:
        names = prompting.answers([task.write(name) for name in task.type.classes])
        longest = max(len(ids) for ids in names) + len(prompting.tail)
    context = getattr(load_config(sweep.model), "max_position_embeddings", None)
    return TokenLimits(
        length,
        task.max_new_tokens if written else None,
        len(prompting.head) + len(prompting.tail),
        max(1, context - longest) - len(prompting.head) if context else None,
    )


def _floors(task: Task) -> Iterator[BaselineScore]:
    """What answers of nothing that was trained reach on the test split."""
    metric, examples = task.metric, task.examples("test")
    for name in task.baselines:
        rows = [
            task.score(guess, example)
            for guess, example in zip(
                task.baseline_predictions(name, "test"), examples, strict=True
            )
        ]
        yield BaselineScore(name, task.values(rows)[metric.name] * metric.scale, metric.unit)
