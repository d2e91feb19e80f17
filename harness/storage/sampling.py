"""Optuna's sampler and pruner as a sweep sets them, and the order in which trials are taken.

Knows slots by their names, nothing of databases or training.
"""

import copy
import hashlib
import math
import warnings
from typing import Any, Final, cast

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from harness.objectives import LOSSES
from harness.sweep import Sweep
from harness.trial import Stage


def turn(trial: FrozenTrial) -> tuple[int, int]:
    """The order of claims: search slots by their index.

    One that is run again comes before its successors, so that the sampler sees what it would have
    seen without the interruption.
    """
    stage, _, index = str(trial.user_attrs.get("slot", "")).partition("/")
    return (int(index), 0) if stage == Stage.SEARCH.value else (trial.number, 1)


#: Where the numbers of all other stages begin; the search's are its slots'.
_AFTER_SEARCH: Final = 1_000_000


class _InTurn(optuna.samplers.TPESampler):
    """TPE that sees trials in the order of their slots.

    Which kernel it draws from depends on the trials' numbers, and a trial that was lost and run
    again has a later one: a study that was interrupted would go another way.

    Attributes:
        others: further objectives.
    """

    others: tuple[str, ...] = ()

    def _sample(self, study: Any, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        seen = _ByTurn(study, self.others)
        return super()._sample(cast("optuna.Study", seen), _renumbered(trial), search_space)


class _ByTurn:
    """A study whose trials bear the numbers of their slots.

    Args:
        study: as it is.
        others: further objectives. The sampler is shown a study of several then; for everybody
            else its value is the task's objective.
    """

    def __init__(self, study: optuna.Study, others: tuple[str, ...] = ()) -> None:
        self._study, self._others = study, others

    @property
    def directions(self) -> list[StudyDirection]:
        return [*self._study.directions, *[StudyDirection.MINIMIZE] * len(self._others)]

    def _is_multi_objective(self) -> bool:
        return len(self.directions) > 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, *args: Any, **keywords: Any) -> list[FrozenTrial]:
        trials = [_renumbered(one) for one in self._study._get_trials(*args, **keywords)]
        if self._others:
            trials = [one for one in trials if _of_several(one, self._others)]
        return sorted(trials, key=lambda one: one.number)


def _of_several(twin: FrozenTrial, others: tuple[str, ...]) -> bool:
    """Gives a copy of a trial all its values; whether it can be compared with others."""
    if twin.state != TrialState.COMPLETE:
        return twin.state != TrialState.PRUNED
    losses = twin.user_attrs.get(LOSSES) or {}
    values = [*(twin.values or ()), *(losses.get(name, math.nan) for name in others)]
    if not all(map(math.isfinite, values)):
        return False
    twin.values = values
    return True


def _renumbered(trial: FrozenTrial) -> FrozenTrial:
    twin = copy.copy(trial)
    place, later = turn(trial)
    twin.number = place + later * _AFTER_SEARCH
    return twin


def sampler(sweep: Sweep, slot: str) -> optuna.samplers.BaseSampler:
    """The sampler of a slot, seeded by its name."""
    digest = hashlib.sha256(f"{sweep.seed}/{slot}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    if sweep.search.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = _InTurn(
            seed=seed,
            n_startup_trials=sweep.search.startup,
            multivariate=True,
            constant_liar=True,
        )
    found.others = sweep.search.objectives
    return found


def pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    """The pruner that a sweep names."""
    search = sweep.search
    if search.pruner == "none" or search.objectives or sweep.training.readings == 0:
        return optuna.pruners.NopPruner()
    if search.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return optuna.pruners.MedianPruner(n_startup_trials=search.pruner_startup, n_warmup_steps=0)
