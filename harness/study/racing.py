"""Racing in the search: ends the scoring of a trial that is shown to be behind the leader.

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


#: From fewer examples than this a variance cannot be estimated.
MIN_EXAMPLES: Final = 20


def error_to_spend(previous: float, current: float, alpha: float) -> float:
    """Error that a look may spend: alpha (t^2 - s^2) after Kim and DeMets (1987), rho = 2.

    Args:
        previous: s, the share of the examples at the previous look, 0 at the first.
        current: t, the share of them at this one.
        alpha: error of all looks together.
    """
    return alpha * (current**2 - previous**2)


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
    if len(candidate) < MIN_EXAMPLES or not 0 < error < 1:
        return False
    statistics = reduce_statistics(np.stack([leader, candidate])[:, None], objective)
    value = metric_function(objective)
    lead = objective.sign * (scores(statistics, value) @ np.ones(1))
    effects = influence(statistics, value)[:, 0]
    difference = float(lead[0] - lead[1])
    spread = float((effects[0] - effects[1]).std(ddof=1)) / np.sqrt(len(candidate))
    return bool(difference > stdtrit(len(candidate) - 1, 1 - error) * spread and difference > 0)


#: A step after that of every reading.
_LAST_STEP: Final = 10**9


class ScoreRace:
    """Compares the examples of a trial that are scored with the best search trial so far.

    Args:
        studies: knows the leader.
        records: have its scores.
        objective: of the study.
        alpha: probability of ending a trial that is as good as the leader; 0 ends none.
    """

    def __init__(
        self, studies: StudyStore, records: Records, objective: Objective, alpha: float
    ) -> None:
        self._studies, self._records = studies, records
        self._objective, self._alpha = objective, alpha
        self._cached_leader: tuple[int, dict[str, Any]] | None = None
        self._previous_share: dict[int, float] = {}

    def reason_to_stop(self, trial: optuna.Trial, scores: SplitScores, size: int) -> str | None:
        """Why the rest of a trial's examples is not worth scoring; None if it is.

        If not, the score so far is reported to Optuna, for its sampler to learn from.

        Args:
            trial: the running one.
            scores: of the examples so far.
            size: examples of the split.
        """
        share = len(scores.ids) / size
        previous = self._previous_share.get(trial.number, 0.0)
        self._previous_share[trial.number] = share
        leader = self._leader()
        if leader is None or not self._alpha:
            return None
        number, statistics = leader
        if any(name not in statistics for name in scores.ids):
            return None
        candidate_rows = np.asarray(scores.statistics, dtype=float)
        leader_rows = np.asarray([statistics[name] for name in scores.ids], dtype=float)
        error = error_to_spend(previous, share, self._alpha)
        if not is_behind(candidate_rows, leader_rows, self._objective, error):
            return None
        value, leading = (
            float(self._objective.value(rows.sum(axis=0)))
            for rows in (candidate_rows, leader_rows)
        )
        trial.report(value, _LAST_STEP)
        return (
            f"raced: after {len(candidate_rows)} of {size} examples {self._objective.name} "
            f"{value:.4g}, behind trial {number} with {leading:.4g} at p < {error:.2g}"
        )

    def _leader(self) -> tuple[int, dict[str, Any]] | None:
        """Number and statistics of the best search trial; None before the first is complete."""
        trials = [
            trial
            for trial in self._studies.trials(TrialState.COMPLETE)
            if trial.user_attrs["stage"] == Stage.SEARCH.value and trial.values
        ]
        if not trials:
            return None
        # Of two equal ones the older.
        best = max(trials, key=lambda t: (self._objective.sign * float(t.values[0]), -t.number))
        number = int(best.user_attrs.get("duplicate_of", best.number))
        if self._cached_leader is None or self._cached_leader[0] != number:
            self._cached_leader = (number, self._records.statistics(number, "validation"))
        return self._cached_leader
