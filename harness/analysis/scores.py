"""From a study's tables to arrays of scores: which trials count, and what they scored.

Only complete trials that were really run (no duplicates) count; of two with the same configuration
and seed the first one does. `cached_per_study` keeps what was computed of a study for as long as
its tables live.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import weakref
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from harness.aggregates import FORMS, Array
from harness.costs import COSTS

if TYPE_CHECKING:
    from harness.analysis.bootstrap import Value
    from harness.results import Objective, StudyResults


T = TypeVar("T")
P = ParamSpec("P")
#: Results of `cached_per_study` functions, by function and arguments.
Cache = dict[Hashable, Any]

# By identity: tables cannot be hashed, and a study's are never changed once they are read.
_caches: dict[int, Cache] = {}


def cached_per_study(
    function: Callable[Concatenate[StudyResults, P], T],
) -> Callable[Concatenate[StudyResults, P], T]:
    """Computes a function of a study once for each study and arguments.

    Whoever changes a table, list or dictionary that is returned changes a copy.

    Args:
        function: of a study and arguments that can be hashed (a list counts as a tuple). What it
            returns must not refer to the study, which would never be freed then.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(results: StudyResults, /, *args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(results, *args, **kwargs)
        bound.apply_defaults()
        _, *arguments = bound.arguments.values()
        hashable = [tuple(item) if isinstance(item, list) else item for item in arguments]
        cache, key = _cache(results), (function, *hashable)
        if key not in cache:
            cache[key] = function(results, *args, **kwargs)
        value: T = _copy(cache[key])
        return value

    return wrapper


def share_cache(results: StudyResults, source: StudyResults) -> StudyResults:
    """Has two studies use the cache of the second one, now and later; returns the first.

    They must be equal in all that cached functions read.
    """
    if id(results) != id(source):
        _caches[id(results)] = _cache(source)
        weakref.finalize(results, _caches.pop, id(results), None)
    return results


def _cache(results: StudyResults) -> Cache:
    if id(results) not in _caches:
        _caches[id(results)] = {}
        # An id may be used again once its object is freed.
        weakref.finalize(results, _caches.pop, id(results), None)
    return _caches[id(results)]


def _copy(value: Any) -> Any:
    """A copy of tables and of what holds some; shallow, since pandas copies on write."""
    if isinstance(value, pd.DataFrame):
        return value.copy(deep=False)
    if isinstance(value, list):
        return [_copy(item) for item in value]
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        tables = {
            name: _copy(item) for name, item in fields.items() if isinstance(item, pd.DataFrame)
        }
        return dataclasses.replace(value, **tables) if tables else value
    return value


#: Columns that name a configuration.
CONFIGURATION = (
    "variant",
    "rank",
    "alpha",
    "alpha_ratio",
    "dropout",
    "target_modules",
    "learning_rate",
    "extras",
)


class ScoreArray(NamedTuple):
    """Per-example statistics of trained adapters.

    Attributes:
        keys: C configurations.
        seeds: S training seeds.
        examples: ids of E examples.
        statistics: (C, S, E, W), what `reduce_statistics` leaves of the objective's columns and
            `metric_function` reads; NaN for a missing training.
    """

    keys: tuple[str, ...]
    seeds: tuple[int, ...]
    examples: tuple[str, ...]
    statistics: Array


@cached_per_study
def complete(results: StudyResults, stage: str) -> pd.DataFrame:
    """The stage's trials that count: complete, really run, one for each key and seed."""
    rows = results.trials
    rows = rows[(rows["stage"] == stage) & (rows["state"] == "complete")]
    rows = rows[rows["duplicate_of"].isna()].sort_values("number")
    return rows.drop_duplicates(["key", "seed"])


@cached_per_study
def score_array(
    results: StudyResults, stage: str, split: str, keys: tuple[str, ...] | None = None
) -> ScoreArray:
    """Statistics of all trials that count, with NaN where a configuration lacks a seed.

    Args:
        results: the study.
        stage: of the trials.
        split: that was scored.
        keys: configurations, in this order; all of the stage by default, oldest first. One
            without a scored trial is left out.

    Returns:
        The examples are those that every one of these trials has.

    Raises:
        ValueError: there is no such trial, or no example that all have.
    """
    trials = complete(results, stage)
    # Statistics of many classes are wide: they are read trial by trial and kept as
    # `reduce_statistics` says.
    order = list(results.examples.columns)
    columns = np.array([order.index(name) for name in results.objective.columns])
    rows = results.examples[["trial", "split", "example"]].reset_index(drop=True)
    rows = rows[(rows["split"] == split) & rows["trial"].isin(trials["number"])]
    trials = trials[trials["number"].isin(rows["trial"])]
    if keys is not None:
        trials = trials[trials["key"].isin(keys)]
        rows = rows[rows["trial"].isin(trials["number"])]
    if trials.empty:
        raise ValueError(f"no complete {stage} trial with scores on {split}")
    order = list(keys) if keys is not None else list(dict.fromkeys(trials["key"]))
    present = tuple(str(key) for key in order if key in set(trials["key"]))
    seeds = tuple(sorted({int(seed) for seed in trials["seed"]}))
    rows = rows.drop_duplicates(["trial", "example"])
    counts = rows["example"].value_counts()
    examples = tuple(sorted(str(name) for name in counts.index[counts == len(trials)]))
    if not examples:
        raise ValueError(f"the {stage} trials have no example of {split} in common")
    width = reduce_statistics(np.zeros((0, len(columns))), results.objective).shape[1]
    statistics = np.full((len(present), len(seeds), len(examples), width), np.nan)
    rows_by_trial = {number: group["example"] for number, group in rows.groupby("trial")}
    for key, seed, number in zip(trials["key"], trials["seed"], trials["number"], strict=True):
        names = rows_by_trial[number]
        indices = pd.Series(names.index, index=names).loc[list(examples)].to_numpy()
        values = results.examples.iloc[indices, columns].to_numpy(dtype=float)
        cell = present.index(key), seeds.index(int(seed))
        statistics[cell] = reduce_statistics(values, results.objective)
    statistics.flags.writeable = False
    return ScoreArray(present, seeds, examples, statistics)


def reduce_statistics(statistics: Array, objective: Objective) -> Array:
    """The statistics that a score needs: (..., columns) to (..., W).

    Summed over classes, so that W is the number of parts; all of them where the metric is a mean
    over classes, for that needs each class by itself in every resample.
    """
    if FORMS[objective.form].averaged:
        return statistics
    shape = (*statistics.shape[:-1], len(objective.classes), len(objective.parts))
    summed: Array = statistics.reshape(shape).sum(axis=-2)
    return summed


def metric_function(objective: Objective) -> Value:
    """From sums (..., W), of what `reduce_statistics` leaves, to the objective's value (...)."""
    form = FORMS[objective.form]
    return _averaged(objective.form, len(objective.classes)) if form.averaged else form.value


@functools.cache  # one function object per metric, which is part of a cache key
def _averaged(name: str, classes: int) -> Value:
    form = FORMS[name]

    def value(sums: Array) -> Array:
        return form.over_classes(sums.reshape(*sums.shape[:-1], classes, len(form.parts)))

    return value


@cached_per_study
def configurations(results: StudyResults, stage: str) -> pd.DataFrame:
    """One row for each configuration of a stage that has a complete trial.

    Returns:
        Index 0..n-1, columns key, `CONFIGURATION`, seeds (number) and `COSTS` (medians; NaN
        without a cost row).
    """
    trials = complete(results, stage)
    costs = results.costs.set_index("trial")
    rows = []
    for key, group in trials.groupby("key", sort=False):
        spent = costs.loc[costs.index.isin(group["number"])]
        medians = [float(spent[name].median()) if len(spent) else np.nan for name in COSTS]
        first = group.iloc[0]
        settings = [first[name] for name in CONFIGURATION]
        rows.append((key, *settings, int(group["seed"].nunique()), *medians))
    columns = ["key", *CONFIGURATION, "seeds", *COSTS]
    return pd.DataFrame(rows, columns=columns)


def score_from_rows(rows: pd.DataFrame, objective: Objective) -> float:
    """The objective of any rows of `StudyResults.examples` or `.baselines`; NaN without a row."""
    if rows.empty:
        return float("nan")
    sums = rows[list(objective.columns)].to_numpy(dtype=float).sum(axis=0)
    return float(objective.value(sums))


def shots(name: str) -> int | None:
    """Examples in the prompt of a base model's baseline; None if the baseline is another one."""
    match = re.fullmatch(r"base(?:_(\d+)_shot)?", name)
    return None if match is None else int(match[1] or 0)


def baselines(results: StudyResults, split: str) -> tuple[str, ...]:
    """Names of the baselines: the base model by its number of shots, then the others."""
    rows = results.baselines
    names = {str(name) for name in rows.loc[rows["split"] == split, "name"]}
    count = {name: shots(name) for name in names}
    return tuple(sorted(names, key=lambda name: (count[name] is None, count[name] or 0, name)))


def baseline_scores(results: StudyResults, split: str) -> dict[str, float]:
    """The objective of each baseline, by name, ordered as `baselines`."""
    rows = results.baselines[results.baselines["split"] == split]
    return {
        name: score_from_rows(rows[rows["name"] == name], results.objective)
        for name in baselines(results, split)
    }


def base_model_score(results: StudyResults, split: str) -> float:
    """The best score of the base model on a split, at any number of shots; NaN without one."""
    scores = baseline_scores(results, split)
    sign = results.objective.sign
    values = [sign * value for name, value in scores.items() if shots(name) is not None]
    return sign * max(values, default=float("nan"))
