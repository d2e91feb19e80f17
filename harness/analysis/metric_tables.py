"""All metrics of a task for the best configurations and the baselines, and scores by class.

The statistics of each example are kept for the objective alone. So its intervals count seeds and
examples as random; those of all other metrics are Student's t over the seeds, and hold for these
examples only. Scores by class are on validation, means over seeds.
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
    from collections.abc import Mapping, Sequence

    from harness.aggregates import Array
    from harness.results import Objective, StudyResults


#: Configurations of the table where nothing was confirmed.
MAX_CONFIGURATIONS: Final = 6
#: Columns of the table: `key` is empty for a baseline, `baseline` for a trained configuration.
COLUMNS: Final = ("key", "baseline", "metric", "value", "low", "high", "seeds")


class MetricDisplay(NamedTuple):
    """A metric and how its values are displayed.

    Attributes:
        name: the metric's name.
        direction: `maximize`, `minimize`, or empty where it is unknown.
        scale: factor from the metric to what people read.
        unit: what people read; may be empty.
        form: key of `harness.aggregates.FORMS`.
    """

    name: str
    direction: str
    scale: float
    unit: str
    form: str


class MetricValues(NamedTuple):
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
    metrics: tuple[MetricDisplay, ...]
    frame: pd.DataFrame


def metrics_of(results: StudyResults) -> tuple[MetricDisplay, ...]:
    """The task's metrics, the objective first; only that in a study that recorded no others."""
    objective = MetricDisplay(*(getattr(results.objective, x) for x in MetricDisplay._fields))
    recorded = results.attributes.get("metrics") or ()
    metrics = [MetricDisplay(*(each[name] for name in MetricDisplay._fields)) for each in recorded]
    return (objective, *[metric for metric in metrics if metric.name != objective.name])


def metric_values(results: StudyResults) -> MetricValues:
    """All metrics: of the finalists on test, else of the best so far on validation."""
    stage, split, keys = _selection(results)
    scored = set(results.metrics.loc[results.metrics["split"] == split, "metric"])
    objective, *others = metrics_of(results)
    metrics = (objective, *[metric for metric in others if metric.name in scored])
    rows = _trained_rows(results, stage, split, keys, metrics)
    rows += _baseline_rows(results, split, metrics)
    return MetricValues(stage, split, metrics, pd.DataFrame(rows, columns=list(COLUMNS)))


def over_seeds(values: Any, form: str) -> Interval:
    """Mean of one value a seed, with Student's t interval at 95 %; NaN ends with one seed.

    `form`, a key of `FORMS`, bounds the interval.
    """
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    if len(finite) < 2:
        return Interval(float(finite.mean()) if len(finite) else np.nan, np.nan, np.nan)
    mean, count, bounds = float(finite.mean()), len(finite), FORMS[form]
    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2) * finite.std(ddof=1) / count**0.5)
    return Interval(mean, max(bounds.least, mean - half), min(bounds.most, mean + half))


def _selection(results: StudyResults) -> tuple[str, str, list[str]]:
    """Stage, split and keys, the best by the objective first."""
    for stage, split in (("confirm", "test"), ("ablate", "validation")):
        keys = _best_first(results, estimates(results, stage, split))
        if keys:
            return stage, split, keys if stage == "confirm" else keys[:MAX_CONFIGURATIONS]
    keys = _best_first(results, complete(results, "search").dropna(subset=["value"]))
    return ("search" if keys else ""), "validation", keys[:MAX_CONFIGURATIONS]


def _best_first(results: StudyResults, scored: pd.DataFrame) -> list[str]:
    order = scored.assign(_loss=-results.objective.sign * scored["value"].astype(float))
    return [*dict.fromkeys(str(key) for key in order.sort_values(["_loss", "key"])["key"])]


def _trained_rows(
    results: StudyResults,
    stage: str,
    split: str,
    keys: list[str],
    metrics: Sequence[MetricDisplay],
) -> list[tuple[Any, ...]]:
    if not keys:
        return []
    trials = complete(results, stage)
    intervals = estimates(results, stage, split).set_index("key") if stage != "search" else None
    values = results.metrics[results.metrics["split"] == split]
    rows: list[tuple[Any, ...]] = []
    for key in keys:
        of_key = trials[trials["key"] == key]
        of_trials = values[values["trial"].isin(of_key["number"])]
        for metric in metrics:
            scored = of_trials[of_trials["metric"] == metric.name]
            if metric.name == results.objective.name:
                interval, seeds = _objective_interval(of_key, intervals, key)
            else:
                interval, seeds = over_seeds(scored["value"], metric.form), len(scored)
            rows.append((key, "", metric.name, *interval, seeds))
    return rows


def _objective_interval(
    trials: pd.DataFrame, intervals: pd.DataFrame | None, key: str
) -> tuple[Interval, int]:
    if intervals is None:  # each trial of a search is a configuration of its own
        return Interval(float(trials["value"].iloc[0]), np.nan, np.nan), 1
    row: Mapping[Any, Any] = intervals.loc[key].to_dict()
    interval = Interval(float(row["value"]), float(row["low"]), float(row["high"]))
    return interval, int(row["seeds"])


def _baseline_rows(
    results: StudyResults, split: str, metrics: Sequence[MetricDisplay]
) -> list[tuple[Any, ...]]:
    values = results.metrics[(results.metrics["split"] == split) & (results.metrics["trial"] < 0)]
    table = values.set_index(["baseline", "metric"])["value"].to_dict()
    rows: list[tuple[Any, ...]] = []
    for name, value in baseline_scores(results, split).items():
        table[name, results.objective.name] = value
        for metric in (metric.name for metric in metrics):
            rows.append(("", name, metric, table.get((name, metric), np.nan), np.nan, np.nan, 0))
    return rows


#: The pseudo class of a metric without classes.
ALL: Final = "all"
_STAGE: Final = "ablate"
_SPLIT: Final = "validation"
_COUNTS: Final = ("tp", "fp", "fn")


def baseline_table(results: StudyResults, split: str = "test") -> pd.DataFrame:
    """Scores without an adapter: columns `name`, `split`, `value`, `examples`."""
    names = results.baselines.loc[results.baselines["split"] == split, "name"]
    counts = names.value_counts()
    scored = sorted(baseline_scores(results, split).items())
    rows = [(name, split, value, int(counts[name])) for name, value in scored]
    return pd.DataFrame(rows, columns=["name", "split", "value", "examples"])


def parts_of(objective: Objective) -> tuple[str, ...]:
    """Scores that each class has: F1, precision and recall, or the score; () without classes.

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
    parts = parts_of(results.objective)
    if part is not None and part not in parts:
        raise ValueError(f"unknown part {part!r}; known: {', '.join(parts) or 'none'}")
    factor = "rank" if target_modules is None else f"rank@target_modules={target_modules}"
    trials = complete(results, _STAGE)
    # The incumbent itself may be on these target modules; then its ranks are the view.
    incumbent = results.attributes.get("incumbent") or {}
    if target_modules is not None and incumbent.get("target_modules") == target_modules:
        factor = "rank"
    rank_cells = {f"r={cell['level']}": str(cell["key"]) for cell in cells_of(results, factor)}
    if not rank_cells or not parts:
        return pd.DataFrame(columns=["class", "best", "support"])
    part = part or parts[0]
    frame = pd.DataFrame({"class": [*results.objective.classes, "micro", "macro"]})
    rows = results.baselines[results.baselines["split"] == _SPLIT]
    for name in baselines(results, _SPLIT):
        frame[name] = _by_class(results.objective, rows[rows["name"] == name], part)
    means = (trials.groupby("key")["value"].mean() * results.objective.sign).dropna()
    columns = dict(rank_cells)
    if len(means):
        columns["best"] = str(means.idxmax())
    examples = results.examples[results.examples["split"] == _SPLIT]
    for name, key in columns.items():
        by_seed = [
            _by_class(results.objective, examples[examples["trial"] == number], part)
            for number in trials.loc[trials["key"] == key, "number"]
        ]
        frame[name] = _mean(np.array(by_seed).T)
    first = trials.loc[trials["key"] == next(iter(rank_cells.values())), "number"].iloc[0]
    frame["support"] = _support(results.objective, examples[examples["trial"] == first])
    return frame


def _by_class(objective: Objective, rows: pd.DataFrame, part: str) -> list[float]:
    sums = rows[list(objective.columns)].to_numpy(dtype=float).sum(axis=0)
    counts = sums.reshape(len(objective.classes), len(objective.parts))
    if part == "score":
        values = objective.by_class(sums)
        return [*map(float, values), score_from_rows(rows, objective), float(_mean(values))]
    values = np.where(counts.sum(axis=1) > 0, _part(counts, part), np.nan)
    micro = _part(counts.sum(axis=0), part)
    return [*map(float, values), float(micro), float(_mean(values))]


def _part(counts: Array, part: str) -> Array:
    if part == "f1":
        return FORMS["f1"].value(counts)
    total = counts[..., 0] + counts[..., 1 if part == "precision" else 2]
    # Without a prediction (or a label) there is no error of this type: 1, as an F1 of nothing.
    return np.where(total > 0, counts[..., 0] / np.where(total > 0, total, 1.0), 1.0)


def _mean(values: Array) -> Array:
    """Mean along the last axis without NaN; NaN where all are."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _support(objective: Objective, rows: pd.DataFrame) -> list[float]:
    sums = rows[list(objective.columns)].to_numpy(dtype=float).sum(axis=0)
    counts = sums.reshape(len(objective.classes), -1)
    support = counts[:, 0] + counts[:, 2] if objective.parts == _COUNTS else counts[:, 1]
    return [*map(float, support), float(support.sum()), float(support.sum())]
