"""The table of finalists: what each costs, scores, and how it stands to the best of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.comparison import finite
from harness.analysis.scores import CONFIGURATION

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.verdict import Standing
    from harness.results import StudyResults

COLUMNS = (
    "key",
    "label",
    *CONFIGURATION,
    "parameters",
    "cost",
    "value",
    "low",
    "high",
    "difference_to_best",
    "lower",
    "upper",
    "verdict",
    "seeds",
)


def comparison_table(
    results: StudyResults,
    now: Standing,
    table: pd.DataFrame,
    names: list[str],
    scored: pd.DataFrame,
) -> pd.DataFrame:
    """One row a finalist, cheapest first.

    Args:
        results: the study.
        now: where its confirm stage stands.
        table: configurations in the order of `now`.
        names: their labels.
        scored: their scores by key, with intervals of their own.

    Returns:
        `COLUMNS`.
    """
    sign = results.objective.sign
    count = len(names)
    gaps = [now.whole.pairs.difference[i, now.rival(i)] for i in range(count)]
    low, high = sign * now.bounds.low, sign * now.bounds.high
    frame = table.drop(columns="seeds").assign(
        label=names,
        cost=finite(now.costs),
        difference_to_best=sign * np.array(gaps),
        lower=finite(np.minimum(low, high)) + 0.0,
        upper=finite(np.maximum(low, high)) + 0.0,
        verdict=[_verdict(now, i) for i in range(count)],
    )
    frame = frame.merge(scored[["key", "value", "low", "high", "seeds"]], on="key")
    frame = frame.sort_values(["cost", "key"], ignore_index=True)
    return frame[list(COLUMNS)]


def _verdict(now: Standing, index: int) -> str:
    if index == now.pick:
        return "pick"
    if index == now.best:
        return "best"
    if now.good[index]:
        return "not worse"
    return "worse" if now.worse[index] else "undecided"
