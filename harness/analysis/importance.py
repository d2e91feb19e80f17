"""What the search's readings on the way tell about its final scores.

Search trials lie where a sampler looked, so nothing here is an ablation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.analysis.scores import complete

if TYPE_CHECKING:
    from harness.results import StudyResults

#: Fewer trials than this say nothing about a rank correlation.
ENOUGH: Final = 8


def rung_correlation(results: StudyResults, share: float) -> float | None:
    """Spearman correlation of the reading at a share of the steps with the final score.

    Args:
        results: the study; its complete search trials are used.
        share: of a trial's steps, in (0, 1]; the last reading up to there counts, or the first
            one after it where there is none.

    Returns:
        The correlation, or None with fewer than 8 trials or without any spread.
    """
    from scipy.stats import spearmanr  # takes a third of a second, which a report does not need

    trials = complete(results, "search").dropna(subset=["value"])
    by_trial = {number: rows for number, rows in results.measurements.groupby("trial")}
    early, final = [], []
    for number, value in zip(trials["number"], trials["value"], strict=True):
        rows = by_trial.get(number)
        own = None if rows is None else rows.dropna(subset=["value"]).sort_values("step")
        if rows is None or own is None or own.empty:
            continue
        steps = rows["step"]
        before = own[own["step"] <= share * float(steps.max()) * (1 + 1e-9)]
        chosen = before.iloc[-1] if len(before) else own.iloc[0]
        if float(chosen["step"]) < float(steps.max()) or share >= 1:
            early.append(float(chosen["value"]))
            final.append(float(value))
    if len(early) < ENOUGH or np.ptp(early) == 0 or np.ptp(final) == 0:
        return None
    return float(spearmanr(early, final).statistic)
