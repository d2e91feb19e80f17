"""Forecasts a sweep before it runs: trials, parameters, memory, time.

Time and memory come from a few steps that one process trains and a few examples that it scores on
this machine; several workers slow each other down, which the forecast leaves out.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from harness.config.sweep import Sweep
from harness.errors import UserError
from harness.study import checks
from harness.study.ablation import plan_cells
from harness.tasks.task import Task
from harness.trial import Outcome, TrialConfig, TrialRequest

#: Optimiser steps of the run that is timed.
_TIMED_STEPS: Final = 6
#: Share of a search trial's steps that are run on average, pruned trials included: an assumption,
#: which `plan` states.
_PRUNED_SHARE: Final = 0.75


@dataclass(frozen=True)
class Timing:
    """One configuration, timed.

    Attributes:
        train_seconds: a full training run.
        validation_seconds: scoring the validation split.
        test_seconds: scoring the test split.
        peak_memory: bytes, the whole process.
    """

    train_seconds: float
    validation_seconds: float
    test_seconds: float
    peak_memory: int


@dataclass(frozen=True)
class StageForecast:
    """A stage before it runs.

    Attributes:
        stage: its name.
        trials: trials at most.
        seconds: wall seconds with the given workers.
        fits: whether it ends before `minutes` is over; True where there is no bound.
    """

    stage: str
    trials: int
    seconds: float
    fits: bool


def largest_config(sweep: Sweep, task: Task) -> TrialConfig:
    """The configuration with the most trainable parameters, about the slowest one."""
    return max(
        checks.corner_configs(sweep), key=lambda config: checks.parameters(sweep, task, config)
    )


def time_trial(sweep: Sweep, task: Task, threads: int) -> Timing:
    """Trains and scores a little of the largest configuration.

    Raises:
        UserError: the model cannot be loaded, or the trial fails.
    """
    from harness.models import base_model
    from harness.training.evaluation import score
    from harness.training.loop import step_count
    from harness.training.packed.selection import make_trainer, resolve_precision
    from harness.training.tokenization import TokenizedTask

    model = resolve_precision(sweep.model, task, sweep.training, threads, lambda _, value: value)
    base = base_model.load(model, threads, task.type.head)
    short = sweep.training.model_copy(
        update={"epochs": None, "steps": _TIMED_STEPS, "readings": 0}
    )
    trainer = make_trainer(base, task, short, sweep.engine, lambda _, value: value)
    config = largest_config(sweep, task)

    def requests() -> Iterator[TrialRequest]:
        yield TrialRequest(0, config, splits=())

    result = next(iter(trainer.train(requests(), lambda *_: True)))
    if result.outcome is not Outcome.COMPLETE:
        raise UserError(f"{config.label()}: a timed run failed: {result.error}")
    began = time.perf_counter()
    count = min(32, len(task.examples("validation")))
    tokens = TokenizedTask(base, task, sweep.training.max_length)
    rows = sweep.training.score_batch_size
    score(base, task, "validation", count, batch_size=rows, tokens=tokens)
    example = (time.perf_counter() - began) / count
    steps = step_count(sweep.training, len(task.examples("train")), 1.0)
    return Timing(
        result.cost.train_seconds / _TIMED_STEPS * steps,
        example * len(task.examples("validation")),
        example * len(task.examples("test")),
        result.cost.peak_memory,
    )


def forecast_stages(
    sweep: Sweep, task: Task, timing: Timing, workers: int
) -> tuple[StageForecast, ...]:
    """Trials and time of each stage, as if every configuration were the largest."""
    trial = timing.train_seconds + timing.validation_seconds
    tested = trial + timing.test_seconds
    centre = largest_config(sweep, task)
    cells, _ = plan_cells(sweep, centre, sweep.ablation.max_cells)
    distinct = len({cell.config for cell in cells})
    settings, looks = sweep.ablation, sweep.confirmation.looks
    tune = distinct * settings.rates
    tuning = timing.train_seconds * settings.tuning_budget + timing.validation_seconds
    # Full fine-tuning is assumed to cost what the largest adapter costs.
    full_rates = len(sweep.baselines.full_rates or ()) or settings.rates
    full_seconds = full_rates * tuning + settings.seeds * tested
    full = [("full", full_rates + settings.seeds, full_seconds)] if sweep.baselines.full else []
    finalists = sweep.confirmation.max_configurations
    confirm = finalists * looks[0] + sum(
        # Usually about half of the finalists remain contenders at a later look.
        (finalists + 1) // 2 * (after - before)
        for before, after in pairwise(looks)
    )
    rows = [
        ("search", sweep.search.trials, sweep.search.trials * trial * _PRUNED_SHARE),
        ("tune", tune, tune * tuning),
        ("ablate", distinct * settings.seeds, distinct * settings.seeds * trial),
        *full,
        ("confirm", confirm, confirm * tested),
    ]
    limit = float("inf") if sweep.minutes is None else sweep.minutes * 60
    forecasts, total = [], 0.0
    for stage, trials, seconds in rows:
        total += seconds / workers
        forecasts.append(StageForecast(stage, trials, seconds / workers, total <= limit))
    return tuple(forecasts)
