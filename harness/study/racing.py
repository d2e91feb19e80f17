"""Ends the scoring of a search trial that is shown to be behind the leader.

Racing in the search: is a configuration shown to be behind the leader by the examples so far?

A paired test over examples with the trained adapters held fixed, at several looks whose errors
add up (the relative in Optuna is WilcoxonPruner, which takes no looks into account). It decides
what is worth scoring further, never what is recommended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from optuna.trial import TrialState
from scipy.special import stdtrit

from harness.analysis.bootstrap import influence, scores
from harness.analysis.scores import metric_function, reduce_statistics
from harness.trial import SplitScores, Stage

if TYPE_CHECKING:
    import optuna

    from harness.aggregates import Array
    from harness.results import Objective
    from harness.storage.records import Records
    from harness.storage.study import StudyStore


#: Fewer examples than this say nothing of a spread.
LEAST: Final = 20


def error_to_spend(before: float, now: float, alpha: float) -> float:
    """Error that a look may spend: alpha (now^2 - before^2), as Kim and DeMets (1987), rho = 2.

    Args:
        before: share of the examples at the look before, 0 at the first.
        now: share of them at this one.
        alpha: of all looks together.
    """
    return alpha * (now**2 - before**2)


def is_behind(candidate: Array, leader: Array, objective: Objective, error: float) -> bool:
    """Whether a one-sided paired test says that the leader is better.

    The metric is not a mean over examples, so what each example adds to the difference is found by
    leaving it out (jackknife), and their mean is held against Student's quantile.

    Args:
        candidate: statistics of the examples, shape (E, columns of the objective).
        leader: of the same examples, in the same order.
        objective: says how scores are made from them.
        error: level of the test.
    """
    if len(candidate) < LEAST or not 0 < error < 1:
        return False
    statistics = reduce_statistics(np.stack([leader, candidate])[:, None], objective)
    value = metric_function(objective)
    lead = objective.sign * (scores(statistics, value) @ np.ones(1))
    effects = influence(statistics, value)[:, 0]
    difference = float(lead[0] - lead[1])
    spread = float((effects[0] - effects[1]).std(ddof=1)) / np.sqrt(len(candidate))
    return bool(difference > stdtrit(len(candidate) - 1, 1 - error) * spread and difference > 0)


#: A step behind that of every reading.
_END: Final = 10**9


class ScoreRace:
    """Compares what of a trial is scored with the best search trial so far.

    Args:
        studies: knows the leader.
        records: keep its scores.
        objective: of the study.
        alpha: probability of ending one that is as good as the leader; 0 ends none.
    """

    def __init__(
        self, studies: StudyStore, records: Records, objective: Objective, alpha: float
    ) -> None:
        self._studies, self._records = studies, records
        self._objective, self._alpha = objective, alpha
        self._leader: tuple[int, dict[str, Any]] | None = None
        self._looked: dict[int, float] = {}

    def reason_to_stop(self, trial: optuna.Trial, scores: SplitScores, whole: int) -> str | None:
        """Why the rest of a trial's examples is not worth scoring; None if it is.

        What is there is handed to Optuna then, for its sampler to learn from.

        Args:
            trial: the running one.
            scores: what is there.
            whole: examples of the split.
        """
        share = len(scores.ids) / whole
        before = self._looked.get(trial.number, 0.0)
        self._looked[trial.number] = share
        leader = self._leading()
        if leader is None or not self._alpha:
            return None
        best, statistics = leader
        if any(name not in statistics for name in scores.ids):
            return None
        own = np.asarray(scores.statistics, dtype=float)
        other = np.asarray([statistics[name] for name in scores.ids], dtype=float)
        error = error_to_spend(before, share, self._alpha)
        if not is_behind(own, other, self._objective, error):
            return None
        values = [float(self._objective.value(each.sum(axis=0))) for each in (own, other)]
        trial.report(values[0], _END)
        return (
            f"raced: after {len(own)} of {whole} examples {self._objective.name} {values[0]:.4g}, "
            f"behind trial {best} with {values[1]:.4g} at p < {error:.2g}"
        )

    def _leading(self) -> tuple[int, dict[str, Any]] | None:
        trials = [
            trial
            for trial in self._studies.trials(TrialState.COMPLETE)
            if trial.user_attrs["stage"] == Stage.SEARCH.value and trial.values
        ]
        if not trials:
            return None
        # The older of two that are equal.
        best = max(trials, key=lambda t: (self._objective.sign * float(t.values[0]), -t.number))
        number = int(best.user_attrs.get("duplicate_of", best.number))
        if self._leader is None or self._leader[0] != number:
            self._leader = (number, self._records.statistics(number, "validation"))
        return self._leader
