"""All metrics of a task, of the best configurations and of what was not trained.

The statistics of each example are kept for the objective alone. So its intervals count seeds and
examples as random; those of all other metrics are Student's t over the seeds, and hold for these
examples only.

Scores by class: what needs no adapter, each rank of the ablation, its best cell.

On validation, mean over seeds. A metric of whole texts has one pseudo class, and so no such table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from harness.aggregates import FORMS
from harness.analysis.ablation import cells_of
from harness.analysis.estimates import CONFIDENCE, Interval, estimates
from harness.analysis.scores import baseline_scores, baselines, complete, score_from_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.aggregates import Array
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


#: The class of a metric that knows none.
ALL: Final = "all"
_STAGE: Final = "ablate"
_SPLIT: Final = "validation"
_COUNTS: Final = ("tp", "fp", "fn")


def baseline_table(results: StudyResults, split: str = "test") -> pd.DataFrame:
    """Scores without an adapter: columns `name`, `split`, `value`, `examples`."""
    names = results.baselines.loc[results.baselines["split"] == split, "name"]
    counts = names.value_counts()
    return pd.DataFrame(
        [
            (name, split, value, int(counts[name]))
            for name, value in sorted(baseline_scores(results, split).items())
        ],
        columns=["name", "split", "value", "examples"],
    )


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
