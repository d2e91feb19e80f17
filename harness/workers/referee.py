"""Ends the scoring of a search trial that is shown to be behind the leader."""

from typing import Any, Final

import numpy as np
import optuna
from optuna.trial import TrialState

from harness.analysis.racing import is_behind, level
from harness.results import Objective
from harness.storage.records import Records
from harness.storage.studies import Studies
from harness.trial import SplitScores, Stage

#: A step behind that of every reading.
_END: Final = 10**9


class Referee:
    """Compares what of a trial is scored with the best search trial so far.

    Args:
        studies: knows the leader.
        records: keep its scores.
        objective: of the study.
        alpha: probability of ending one that is as good as the leader; 0 ends none.
    """

    def __init__(
        self, studies: Studies, records: Records, objective: Objective, alpha: float
    ) -> None:
        """Has seen nobody."""
        self._studies, self._records = studies, records
        self._objective, self._alpha = objective, alpha
        self._leader: tuple[int, dict[str, Any]] | None = None
        self._looked: dict[int, float] = {}

    def judge(self, trial: optuna.Trial, scores: SplitScores, whole: int) -> str | None:
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
        error = level(before, share, self._alpha)
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
