"""Optuna's sampler and pruner as a sweep sets them, and the order in which trials are taken.

Knows slots by their names, nothing of databases or training.
"""

import copy
import hashlib
import warnings
from typing import Any, Final, cast

import optuna
from optuna.trial import FrozenTrial

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
    """

    def _sample(self, study: Any, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        return super()._sample(
            cast("optuna.Study", _ByTurn(study)), _renumbered(trial), search_space
        )


class _ByTurn:
    """A study whose trials bear the numbers of their slots."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, *args: Any, **keywords: Any) -> list[FrozenTrial]:
        trials = [_renumbered(one) for one in self._study._get_trials(*args, **keywords)]
        return sorted(trials, key=lambda one: one.number)


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
        return _InTurn(
            seed=seed,
            n_startup_trials=sweep.search.startup,
            multivariate=True,
            constant_liar=True,
        )


def pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    """The pruner that a sweep names."""
    if sweep.search.pruner == "none" or sweep.training.readings == 0:
        return optuna.pruners.NopPruner()
    if sweep.search.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return optuna.pruners.MedianPruner(
        n_startup_trials=sweep.search.pruner_startup, n_warmup_steps=0
    )
