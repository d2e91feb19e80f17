"""Everything about a sweep that can be known before anything is trained or written.

Reads the task's rows, the model's configuration and its tokenizer; loads no weights. Importing
this module loads neither torch nor transformers, because every session of a study imports it.
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, cast

from harness.data import preparation
from harness.data.rows import find_leaks
from harness.errors import UserError
from harness.metrics.evaluate_library import PREFIX
from harness.study.search import directions
from harness.tasks.task import SPLITS, AnswerMode, Task
from harness.trial import TrialConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from harness.config.sweep import Sweep
    from harness.models.base_model import BaseModel
    from harness.tasks.data_card import BaselineScore, DataCard, RowTexts, TokenLimits
    from harness.training.tokenization import PromptBuilder


def cuda() -> bool:
    """Whether trials would run on a GPU."""
    import torch

    return bool(torch.cuda.is_available())


def check_sweep(sweep: Sweep, task: Task) -> tuple[str, ...]:
    """Checks task, data, model and search space against each other.

    Args:
        sweep: what would run.
        task: the sweep's, loaded.

    Returns:
        Notes: what the user should know, though nothing of it stops the sweep.

    Raises:
        UserError: the first thing that would stop it.
    """
    for split in SPLITS:
        if not task.examples(split):
            raise UserError(f"task '{sweep.task}': its split '{split}' has no example")
    _refuse_leaks(sweep, task)
    _try_metrics(task)
    directions(sweep.search.objectives, task)
    _check_model(sweep, task)
    notes = (*task.notes, *_ablation_notes(sweep), *_full_notes(sweep))
    if task.type.supports_zero_shot or not sweep.baselines.shots:
        return notes
    return (*notes, "baselines.shots: the base model is not scored, because its head is untrained")


def summary_lines(sweep: Sweep, task: Task) -> tuple[str, ...]:
    """What a checked sweep is about, in a few lines."""
    counts = [parameters(sweep, task, config) for config in corner_configs(sweep)]
    sizes = ", ".join(f"{len(task.examples(split))} {split}" for split in SPLITS)
    return (
        f"task {task.name}: {sizes} examples; objective {task.objective.name}, "
        f"{task.objective.direction}d, margin {task.objective.margin_text}",
        f"model {sweep.model.name}: {min(counts):,} to {max(counts):,} trainable parameters",
    )


def check_folder(folder: Path) -> Path:
    """Checks that a folder can be made and written to, without making it.

    Returns:
        The folder, or its nearest parent that exists.

    Raises:
        UserError: it cannot.
    """
    existing = folder.resolve()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"{folder}: cannot be written to; give another folder")
    return existing


def count_leaks(task: Task) -> dict[str, int]:
    """How many inputs of a split also stand in an earlier one, by split, where there are any."""
    rows = {split: task.rows(split) for split in SPLITS}
    return dict(Counter(leak.split for leak in find_leaks(rows)))


def _refuse_leaks(sweep: Sweep, task: Task) -> None:
    leaking = find_leaks({split: task.rows(split) for split in SPLITS})
    if leaking and not sweep.data.allow_leaks:
        raise UserError(
            f"{preparation.leak_message(leaking)}: scores on them would be inflated; remove them "
            f"from one split, set data.leaks: drop in {task.folder / 'task.yaml'} to train "
            "without them, or run with --allow-leaks (the report will say so)"
        )


def corner_configs(sweep: Sweep) -> tuple[TrialConfig, ...]:
    """The lowest and highest rank on each target, with the first variant."""
    space = sweep.space
    ranks = sorted({min(space.rank), max(space.rank)})
    return tuple(
        TrialConfig(space.variant[0], rank, float(rank), 0.0, targets, 1e-3, 0)
        for targets, rank in product(space.target_modules, ranks)
    )


def _try_metrics(task: Task) -> None:
    """Scores a right answer by each metric that is a script: a script may do anything.

    Raises:
        UserError: one of them raises, or gives no number.
    """
    first = task.examples("validation")[0]
    for metric in task.metrics:
        if metric.name.startswith(PREFIX):
            task.score(first.reference, first, metric)


def _check_model(sweep: Sweep, task: Task) -> None:
    """Looks up the targets in the model and attaches each variant once, without weights."""
    from harness.adapters.attach import empty_base_model
    from harness.adapters.targets import target_names

    space = sweep.space
    for targets in space.target_modules:
        try:
            target_names(empty_base_model(sweep.model, task.type.head), targets)
        except UserError as error:
            raise UserError(f"space.target_modules: {error}") from None
    if "float16" in space.compute_dtype and not cuda():
        raise UserError("space.compute_dtype: float16 needs a GPU; use bfloat16 or float32")
    for variant in space.variant:
        plain = TrialConfig(variant, 2, 1.0, 0.0, space.target_modules[0], 1e-3, 0)
        parameters(sweep, task, plain)
        for name in space.varied_settings():
            for level in space.levels(name):
                try:
                    parameters(sweep, task, plain.with_level(name, level))
                except UserError as error:
                    reason = str(error).removeprefix(f"{name}: ")
                    raise UserError(f"space.{name}: {variant}: {reason}") from None


def parameters(sweep: Sweep, task: Task, config: TrialConfig) -> int:
    """Trainable parameters of a configuration, from the shapes of base and head alone.

    Raises:
        UserError: there is no such model, or the targets match none of its modules.
    """
    from harness.adapters.attach import count_parameters

    return count_parameters(sweep.model, config, head=task.type.head)


def _full_notes(sweep: Sweep) -> tuple[str, ...]:
    model = sweep.model
    # `auto` is resolved when the study begins; where it comes out as bfloat16 the report says so.
    full_precision = model.dtype in ("float32", "auto")
    if not sweep.baselines.full or (full_precision and model.quantization == "none"):
        return ()
    key = "quantization" if full_precision else "dtype"
    setting = f"model.{key}: {getattr(model, key)}"
    return (f"baselines.full: full fine-tuning is skipped, because {setting} cannot be trained",)


def _ablation_notes(sweep: Sweep) -> tuple[str, ...]:
    factors = sweep.ablation.factors
    available = sweep.space.available_levels(factors)
    missing = {
        factor: [str(level) for level in levels if level not in available[factor]]
        for factor, levels in factors.items()
    }
    return tuple(
        f"ablation.factors.{factor}: {', '.join(names)} left out, because space.{factor} has no "
        "such level"
        for factor, names in missing.items()
        if names
    )


class _TokenizerOnly(NamedTuple):
    """The part of a base model that prompts are built with."""

    name: str
    tokenizer: PreTrainedTokenizerBase


def data_card_of(sweep: Sweep, task: Task) -> DataCard:
    """Measures the task's rows with the tokenizer of the sweep's model.

    Raises:
        UserError: the data or the model's tokenizer are faulty.
    """
    from harness.models.base_model import load_tokenizer
    from harness.tasks.data_card import make_data_card
    from harness.training.tokenization import PromptBuilder

    base = _TokenizerOnly(sweep.model.name, load_tokenizer(sweep.model))
    prompts = PromptBuilder(cast("BaseModel", base), task)
    return make_data_card(
        {split: task.rows(split) for split in SPLITS},
        {split: _prompts_and_answers(task, prompts, split) for split in SPLITS},
        lambda texts: [len(ids) for ids in prompts.encode(texts)],
        _token_limits(sweep, task, prompts),
        task.type.labels_of if task.type.labelled else None,
        task.preparation,
        tuple(_baseline_scores(task)),
    )


def _prompts_and_answers(task: Task, prompts: PromptBuilder, split: str) -> Sequence[RowTexts]:
    from harness.tasks.data_card import RowTexts

    examples = task.examples(split)
    if not task.type.fields:  # no prompt: the model reads the text alone
        return [RowTexts("", example.text) for example in examples]
    shots = task.few_shot_examples(task.file.shots)
    answers = [task.target(example) for example in examples]
    if task.file.chat:  # the chat template separates the turns, so that no blank is needed
        answers = [answer.lstrip() for answer in answers]
    return [
        RowTexts(prompts.text(example, shots), answer)
        for example, answer in zip(examples, answers, strict=True)
    ]


def _token_limits(sweep: Sweep, task: Task, prompts: PromptBuilder) -> TokenLimits:
    from harness.models.base_model import load_config, load_tokenizer
    from harness.tasks.data_card import TokenLimits

    length, answers = sweep.training.max_length, task.type.answers
    if answers is AnswerMode.LIKELIHOOD:
        return TokenLimits(length, None, 1 + len(prompts.tail))
    if answers is AnswerMode.TAGGED:
        return TokenLimits(length, None, load_tokenizer(sweep.model).num_special_tokens_to_add())
    written = answers is AnswerMode.GENERATED
    longest = task.max_new_tokens
    if not written:
        classes = prompts.answers([task.write(name) for name in task.type.classes])
        longest = max(len(ids) for ids in classes) + len(prompts.tail)
    context = getattr(load_config(sweep.model), "max_position_embeddings", None)
    return TokenLimits(
        length,
        task.max_new_tokens if written else None,
        len(prompts.head) + len(prompts.tail),
        max(1, context - longest) - len(prompts.head) if context else None,
    )


def _baseline_scores(task: Task) -> Iterator[BaselineScore]:
    """What the task's baselines, which train nothing, score on the test split."""
    from harness.tasks.data_card import BaselineScore

    metric, examples = task.metric, task.examples("test")
    for name in task.baselines:
        predictions = task.baseline_predictions(name, "test")
        rows = [
            task.score(prediction, example)
            for prediction, example in zip(predictions, examples, strict=True)
        ]
        yield BaselineScore(name, task.values(rows)[metric.name] * metric.scale, metric.unit)
