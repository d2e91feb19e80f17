"""Optuna's TPE with its median pruner, as people write it, and what its pick is worth.

Its scores come from this project's engine, which does the same mathematics sooner; its time is
charged as measured for the usual loop. Picks are trained anew with fresh seeds and scored on the
test split, each seed's picks in turn.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import optuna

from benchmarks.charging import Prices
from benchmarks.plain_loop import Spent
from harness.analysis.estimates import compare_all_pairs, compare_to_reference, estimates_of
from harness.analysis.scores import ScoreArray, reduce_statistics
from harness.config.sweep import Sweep
from harness.results import Objective
from harness.tasks.task import Task
from harness.training.trainer import Trainer
from harness.trial import Measurement, Outcome, SplitScores, TrialConfig, TrialRequest

#: Seeds of the final trainings begin here: far from those of any study.
_FRESH: Final = 900_000


class Searched(NamedTuple):
    """What a search came to.

    Attributes:
        pick: its best trial; None where none was complete.
        value: of the pick, on validation.
        outcomes: trials by how they ended.
        steps: that all trials trained.
        scored: examples that all trials scored.
        cost: charged for the usual loop.
    """

    pick: TrialConfig | None
    value: float
    outcomes: Mapping[str, int]
    steps: int
    scored: int
    cost: Spent


def search(
    trainer: Trainer, sweep: Sweep, task: Task, prices: Prices, trials: int, seed: int
) -> Searched:
    """Runs one study with one seed of training.

    Args:
        trainer: an engine.
        sweep: its space, readings and number of examples at a reading.
        task: names the objective.
        prices: of the usual loop.
        trials: pruned ones included, as `n_trials` counts.
        seed: of the sampler; trainings have seed 0.
    """
    whole = len(task.examples("validation"))
    reading = min(whole, sweep.training.reading_examples)
    cost, steps, scored = Spent(), 0, 0
    outcomes: dict[str, int] = {outcome.value: 0 for outcome in Outcome}
    configs: dict[int, TrialConfig] = {}

    def objective(trial: optuna.Trial) -> float:
        nonlocal cost, steps, scored
        config = configs[trial.number] = sweep.space.suggest(trial, seed=0)

        def report(_: int, found: Measurement) -> bool:
            if found.value is None:
                return True
            trial.report(found.value, found.step)
            return not trial.should_prune()

        request = TrialRequest(trial.number, config, readings=True)
        result = next(iter(trainer.train(iter([request]), report)))
        complete = result.outcome is Outcome.COMPLETE
        own_steps = result.measurements[-1].step if result.measurements else 0
        own_scored = reading * sum(one.value is not None for one in result.measurements)
        own_scored += whole if complete else 0
        cost = cost.plus(prices.charge(config.variant, own_steps, own_scored))
        steps, scored = steps + own_steps, scored + own_scored
        outcomes[result.outcome.value] += 1
        if not complete:
            raise optuna.TrialPruned
        return float(result.scores["validation"].values[task.objective.name])

    study = optuna.create_study(
        direction="maximize" if task.objective.sign > 0 else "minimize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(),
    )
    study.optimize(objective, n_trials=trials)
    if not outcomes[Outcome.COMPLETE.value]:
        return Searched(None, float("nan"), outcomes, steps, scored, cost)
    best = study.best_trial
    return Searched(configs[best.number], float(best.value or 0), outcomes, steps, scored, cost)


def tested(
    trainer: Trainer, picks: Mapping[str, TrialConfig], seeds: int
) -> dict[str, list[SplitScores]]:
    """Trains each pick with fresh seeds and scores the test split.

    Raises:
        SystemExit: a training failed.
    """
    found: dict[str, list[SplitScores]] = {name: [] for name in picks}
    for index in range(seeds):
        for name, config in picks.items():
            request = TrialRequest(0, config.replace(seed=_FRESH + index), splits=("test",))
            result = next(iter(trainer.train(iter([request]), lambda *_: True)))
            if result.outcome is not Outcome.COMPLETE:
                raise SystemExit(f"{name}, seed {index}: {result.error}")
            found[name].append(result.scores["test"])
    return found


def compared(
    scores: Mapping[str, Sequence[SplitScores]], objective: Objective, reference: str
) -> dict[str, dict[str, Any]]:
    """Each pick's mean with its interval, and its difference to the reference, paired.

    Intervals are those of the report: 95 %, over training seeds and examples.

    Args:
        scores: of each pick, one a seed, all on the same examples.
        objective: of the task.
        reference: the pick that others are held against.
    """
    names = tuple(scores)
    first = scores[reference][0]
    statistics = np.array(
        [
            [reduce_statistics(np.array(one.statistics), objective) for one in each]
            for each in scores.values()
        ]
    )
    cube = ScoreArray(names, tuple(range(statistics.shape[1])), first.ids, statistics)
    found: dict[str, dict[str, Any]] = {}
    for row in estimates_of(cube, objective).to_dict("records"):
        found[str(row["key"])] = {name: float(row[name]) for name in ("value", "low", "high")}
    if len(names) > 1:
        rows = compare_to_reference(
            compare_all_pairs(cube, objective), objective, reference, names
        )
        for row in rows.to_dict("records"):
            found[str(row["key"])]["difference"] = [
                float(row[name]) for name in ("difference", "low", "high")
            ]
    return found
