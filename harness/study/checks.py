"""Everything about a sweep that can be known before anything is trained or written."""

import os
from collections import Counter
from itertools import product
from pathlib import Path

from harness.config.sweep import Sweep
from harness.data import preparation
from harness.data.rows import find_leaks
from harness.errors import UserError
from harness.metrics.evaluate_library import PREFIX
from harness.study.objectives import directions
from harness.tasks.task import SPLITS, Task, load_task_for
from harness.trial import TrialConfig


def cuda() -> bool:
    """Whether trials would run on a GPU."""
    import torch

    return bool(torch.cuda.is_available())


def check_sweep(sweep: Sweep) -> tuple[str, ...]:
    """Checks task, data, model and search space against each other.

    Returns:
        What the user should know, though nothing of it stops the sweep.

    Raises:
        UserError: the first thing that would stop it.
    """
    task = load_task_for(sweep)
    for split in SPLITS:
        if not task.examples(split):
            raise UserError(f"task '{sweep.task}': its split '{split}' has no example")
    _refuse_leaks(sweep, task)
    _try_metrics(task)
    directions(sweep.search.objectives, task)
    _check_model(sweep)
    notes = (*task.notes, *_ablation_notes(sweep), *_full_notes(sweep))
    if task.type.supports_zero_shot or not sweep.baselines.shots:
        return notes
    return (*notes, "baselines.shots: the bare base is not scored, for its head is new")


def summary_lines(sweep: Sweep) -> tuple[str, ...]:
    """What a checked sweep is about, in a few lines."""
    task = load_task_for(sweep)
    counts = [parameters(sweep, config) for config in corner_configs(sweep)]
    sizes = ", ".join(f"{len(task.examples(split))} {split}" for split in SPLITS)
    return (
        f"task {task.name}: {sizes} examples; objective {task.objective.name}, "
        f"{task.objective.direction}d, margin {task.objective.margin_text}",
        f"model {sweep.model.name}: {min(counts):,} to {max(counts):,} trainable parameters",
    )


def check_folder(folder: Path) -> Path:
    """Checks that a folder can be made and written to, without making it.

    Returns:
        The folder, or the nearest one above it that exists.

    Raises:
        UserError: it cannot.
    """
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"{folder}: cannot be written to; give another folder")
    return there


def leaked(task: Task) -> dict[str, int]:
    """How many inputs of a split stand in an earlier one, too; splits without such left out."""
    found = find_leaks({split: task.rows(split) for split in SPLITS})
    return dict(Counter(leak.split for leak in found))


def _refuse_leaks(sweep: Sweep, task: Task) -> None:
    found = find_leaks({split: task.rows(split) for split in SPLITS})
    if found and not sweep.data.allow_leaks:
        raise UserError(
            f"{preparation.leak_message(found)}: scores on them would be too good; take them out "
            f"of one split, say data.leaks: drop in {task.folder / 'task.yaml'} to train without "
            "them, or run with --allow-leaks, which the report tells"
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
    """Scripts of metrics may do anything: each scores a right answer before a model is asked.

    Raises:
        UserError: one of them raises, or gives no number.
    """
    first = task.examples("validation")[0]
    for metric in task.metrics:
        if metric.name.startswith(PREFIX):
            task.score(first.reference, first, metric)


def _check_model(sweep: Sweep) -> None:
    """Targets are looked up in the model's names; each variant is put on once, without weights."""
    from harness.adapters.attach import empty_base_model
    from harness.adapters.targets import target_names

    space = sweep.space
    for targets in space.target_modules:
        try:
            target_names(empty_base_model(sweep.model, load_task_for(sweep).type.head), targets)
        except UserError as error:
            raise UserError(f"space.target_modules: {error}") from None
    if "float16" in space.compute_dtype and not cuda():
        raise UserError("space.compute_dtype: float16 needs a GPU; use bfloat16 or float32")
    for variant in space.variant:
        plain = TrialConfig(variant, 2, 1.0, 0.0, space.target_modules[0], 1e-3, 0)
        parameters(sweep, plain)
        for name in space.varied_settings():
            for level in space.levels(name):
                try:
                    parameters(sweep, plain.with_level(name, level))
                except UserError as error:
                    raise UserError(f"space.{name}: {variant}: {_bare(error, name)}") from None


def _bare(error: UserError, name: str) -> str:
    return str(error).removeprefix(f"{name}: ")


def parameters(sweep: Sweep, config: TrialConfig) -> int:
    """Trainable parameters of a configuration, from the shapes of base and head alone.

    Raises:
        UserError: the model is not there, or the targets match none of its modules.
    """
    from harness.adapters.attach import count_parameters

    return count_parameters(sweep.model, config, head=load_task_for(sweep).type.head)


def _full_notes(sweep: Sweep) -> tuple[str, ...]:
    model = sweep.model
    whole = model.dtype in ("float32", "auto")  # settled later: then the report says so
    if not sweep.baselines.full or (whole and model.quantization == "none"):
        return ()
    key = "quantization" if whole else "dtype"
    told = f"model.{key}: {getattr(model, key)}"
    return (f"baselines.full: full fine-tuning is left out, for {told} cannot be trained",)


def _ablation_notes(sweep: Sweep) -> tuple[str, ...]:
    notes = []
    wanted = sweep.ablation.factors
    kept = sweep.space.available_levels(wanted)
    for factor, levels in wanted.items():
        gone = [str(level) for level in levels if level not in kept[factor]]
        if gone:
            notes.append(
                f"ablation.factors.{factor}: {', '.join(gone)} left out, for space.{factor} "
                "has no such level"
            )
    return tuple(notes)
