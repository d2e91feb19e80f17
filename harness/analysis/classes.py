"""Scores by class: what needs no adapter, each rank of the ablation, its best cell.

On validation, mean over seeds. A metric of whole texts has one pseudo class, and so no such table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from harness.aggregates import FORMS
from harness.analysis.ablation import cells_of
from harness.analysis.scores import baselines, complete, score_from_rows

if TYPE_CHECKING:
    from harness.aggregates import Array
    from harness.results import Objective, StudyResults

#: The class of a metric that knows none.
ALL: Final = "all"
_STAGE: Final = "ablate"
_SPLIT: Final = "validation"
_COUNTS: Final = ("tp", "fp", "fn")


def parts_of(objective: Objective) -> tuple[str, ...]:
    """What can be told of each class: F1, precision and recall, or the score; () without classes.

    A single class that is no pseudo class has precision and recall of its own.
    """
    if objective.classes == (ALL,):
        return ()
    if objective.parts == _COUNTS:
        return ("f1", "precision", "recall")
    return ("score",) if len(objective.classes) > 1 else ()


def class_table(
    results: StudyResults, target_modules: str | None = None, part: str | None = None
) -> pd.DataFrame:
    """Scores by class.

    Args:
        results: the study.
        target_modules: None at the incumbent's other settings; `qv` for the cells of the pair
            `rank@target_modules=qv`.
        part: one of `parts_of`, the first by default.

    Returns:
        One row for each class, then `micro` (all examples together) and `macro` (mean over the
        classes that occur); columns class, the baselines that the study has, `r=4`, ... , `best`
        (the cell with the best score of the whole ablation) and support (how often the class
        stands in the split; the sum in micro and macro). Scores are NaN for a class that does
        not occur. Empty, with the columns class, best and support, when no rank was ablated or
        the metric knows no classes.

    Raises:
        ValueError: there is no such part.
    """
    known = parts_of(results.objective)
    if part is not None and part not in known:
        raise ValueError(f"unknown part {part!r}; known: {', '.join(known) or 'none'}")
    factor = "rank" if target_modules is None else f"rank@target_modules={target_modules}"
    trials = complete(results, _STAGE)
    # The incumbent itself may be on these target modules; then its ranks are the view.
    incumbent = results.attributes.get("incumbent") or {}
    if target_modules is not None and incumbent.get("target_modules") == target_modules:
        factor = "rank"
    chosen = {f"r={cell['level']}": str(cell["key"]) for cell in cells_of(results, factor)}
    if not chosen or not known:
        return pd.DataFrame(columns=["class", "best", "support"])
    part = part or known[0]
    frame = pd.DataFrame({"class": [*results.objective.classes, "micro", "macro"]})
    rows = results.baselines[results.baselines["split"] == _SPLIT]
    for name in baselines(results, _SPLIT):
        frame[name] = _by_class(results.objective, rows[rows["name"] == name], part)
    means = (trials.groupby("key")["value"].mean() * results.objective.sign).dropna()
    columns = dict(chosen)
    if len(means):
        columns["best"] = str(means.idxmax())
    examples = results.examples[results.examples["split"] == _SPLIT]
    for name, key in columns.items():
        numbers = trials.loc[trials["key"] == key, "number"]
        each = [
            _by_class(results.objective, examples[examples["trial"] == number], part)
            for number in numbers
        ]
        frame[name] = _mean(np.array(each).T)
    first = trials.loc[trials["key"] == next(iter(chosen.values())), "number"].iloc[0]
    frame["support"] = _support(results.objective, examples[examples["trial"] == first])
    return frame


def _by_class(objective: Objective, rows: pd.DataFrame, part: str) -> list[float]:
    sums = rows[list(objective.columns)].to_numpy(dtype=float).sum(axis=0)
    counts = sums.reshape(len(objective.classes), len(objective.parts))
    if part == "score":
        values = objective.by_class(sums)
        return [*map(float, values), score_from_rows(rows, objective), float(_mean(values))]
    values = np.where(counts.sum(axis=1) > 0, _part(counts, part), np.nan)
    whole = _part(counts.sum(axis=0), part)
    return [*map(float, values), float(whole), float(_mean(values))]


def _part(counts: Array, part: str) -> Array:
    if part == "f1":
        return FORMS["f1"].value(counts)
    total = counts[..., 0] + counts[..., 1 if part == "precision" else 2]
    # Nothing predicted (or nothing to find) makes no mistake of this kind.
    return np.where(total > 0, counts[..., 0] / np.where(total > 0, total, 1.0), 1.0)


def _mean(values: Array) -> Array:
    """Mean along the last axis of what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _support(objective: Objective, rows: pd.DataFrame) -> list[float]:
    sums = rows[list(objective.columns)].to_numpy(dtype=float).sum(axis=0)
    counts = sums.reshape(len(objective.classes), -1)
    found = counts[:, 0] + counts[:, 2] if objective.parts == _COUNTS else counts[:, 1]
    return [*map(float, found), float(found.sum()), float(found.sum())]
