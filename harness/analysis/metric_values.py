"""All metrics of a task, of the best configurations and of what was not trained.

The statistics of each example are kept for the objective alone. So its intervals count seeds and
examples as random; those of all other metrics are Student's t over the seeds, and hold for these
examples only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from harness.aggregates import FORMS
from harness.analysis.comparison import CONFIDENCE, Interval, estimates
from harness.analysis.scores import baseline_scores, complete

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.results import Objective, StudyResults

#: Configurations that are shown where nothing was confirmed.
SHOWN: Final = 6
#: Columns of the table: `key` is empty for what was not trained, `baseline` for what was.
COLUMNS: Final = ("key", "baseline", "metric", "value", "low", "high", "seeds")


class Shown(NamedTuple):
    """A metric and how its values are read.

    Attributes:
        name: the metric's name.
        direction: `maximize`, `minimize`, or empty where nobody knows.
        scale: factor from the metric to what people read.
        unit: what people read; may be empty.
        form: key of `harness.aggregates.FORMS`.
    """

    name: str
    direction: str
    scale: float
    unit: str
    form: str


class Values(NamedTuple):
    """The metrics of the configurations that count most, and of the baselines.

    Attributes:
        stage: whose trials: `confirm`, else `ablate`, else `search`; empty without any.
        split: that was scored: `test` for what was confirmed, else `validation`.
        metrics: the task's, the objective first.
        frame: `COLUMNS`, one row for each configuration or baseline and metric; the best by the
            objective first, baselines last; an interval is NaN with one seed.
    """

    stage: str
    split: str
    metrics: tuple[Shown, ...]
    frame: pd.DataFrame


def metrics_of(results: StudyResults) -> tuple[Shown, ...]:
    """The task's metrics, the objective first; it alone in a study that noted no others."""
    own = _shown(results.objective)
    noted = results.attributes.get("metrics") or ()
    others = [Shown(**{name: one[name] for name in Shown._fields}) for one in noted]
    return (own, *[one for one in others if one.name != own.name])


def metric_values(results: StudyResults) -> Values:
    """All metrics: of the finalists on test, else of the best so far on validation."""
    stage, split, keys = _chosen(results)
    known = set(results.metrics.loc[results.metrics["split"] == split, "metric"])
    own, *others = metrics_of(results)
    metrics = (own, *[one for one in others if one.name in known])
    rows = [*_trained(results, stage, split, keys, metrics), *_untrained(results, split, metrics)]
    return Values(stage, split, metrics, pd.DataFrame(rows, columns=list(COLUMNS)))


def over_seeds(values: Any, form: str) -> Interval:
    """Mean of one value a seed, with Student's t interval at 95 %; NaN ends with one seed.

    Args:
        values: one a seed.
        form: bounds the interval: key of `FORMS`.
    """
    found = np.asarray(values, dtype=float)
    found = found[np.isfinite(found)]
    if len(found) < 2:
        return Interval(float(found.mean()) if len(found) else np.nan, np.nan, np.nan)
    mean, count = float(found.mean()), len(found)
    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2) * found.std(ddof=1) / count**0.5)
    return Interval(mean, max(FORMS[form].least, mean - half), min(FORMS[form].most, mean + half))


def _shown(objective: Objective) -> Shown:
    return Shown(
        objective.name, objective.direction, objective.scale, objective.unit, objective.form
    )


def _chosen(results: StudyResults) -> tuple[str, str, list[str]]:
    """Stage, split and keys, the best by the objective first."""
    sign = results.objective.sign
    for stage, split in (("confirm", "test"), ("ablate", "validation")):
        found = estimates(results, stage, split)
        if len(found):
            order = found.assign(_loss=-sign * found["value"].astype(float))
            keys = [str(key) for key in order.sort_values(["_loss", "key"])["key"]]
            return stage, split, keys if stage == "confirm" else keys[:SHOWN]
    trials = complete(results, "search").dropna(subset=["value"])
    order = trials.assign(_loss=-sign * trials["value"].astype(float))
    keys = [str(key) for key in order.sort_values(["_loss", "key"])["key"]]
    return ("search" if keys else ""), "validation", list(dict.fromkeys(keys))[:SHOWN]


def _trained(
    results: StudyResults, stage: str, split: str, keys: list[str], metrics: tuple[Shown, ...]
) -> list[tuple[Any, ...]]:
    if not keys:
        return []
    trials = complete(results, stage)
    whole = estimates(results, stage, split).set_index("key") if stage != "search" else None
    values = results.metrics[results.metrics["split"] == split]
    rows: list[tuple[Any, ...]] = []
    for key in keys:
        mine = trials[trials["key"] == key]
        for one in metrics:
            scored = values[(values["metric"] == one.name) & values["trial"].isin(mine["number"])]
            if one.name == results.objective.name:
                found, seeds = _objective(mine, whole, key)
            else:
                found, seeds = over_seeds(scored["value"], one.form), len(scored)
            rows.append((key, "", one.name, *found, seeds))
    return rows


def _objective(mine: pd.DataFrame, whole: pd.DataFrame | None, key: str) -> tuple[Interval, int]:
    if whole is None:  # each trial of a search is a configuration of its own
        return Interval(float(mine["value"].iloc[0]), np.nan, np.nan), 1
    row: Mapping[Any, Any] = whole.loc[key].to_dict()
    interval = Interval(float(row["value"]), float(row["low"]), float(row["high"]))
    return interval, int(row["seeds"])


def _untrained(
    results: StudyResults, split: str, metrics: tuple[Shown, ...]
) -> list[tuple[Any, ...]]:
    values = results.metrics[(results.metrics["split"] == split) & (results.metrics["trial"] < 0)]
    table = values.set_index(["baseline", "metric"])["value"].to_dict()
    rows: list[tuple[Any, ...]] = []
    for name, own in baseline_scores(results, split).items():
        table[name, results.objective.name] = own
        for one in metrics:
            rows.append(
                ("", name, one.name, table.get((name, one.name), np.nan), np.nan, np.nan, 0)
            )
    return rows
