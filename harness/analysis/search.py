"""What a search observed: its scores by level of each parameter, and by two parameters at once.

The sampler chose where to look, so nothing here is an ablation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from harness.aggregates import FORMS
from harness.analysis.estimates import noise_floor

if TYPE_CHECKING:
    from harness.aggregates import Array
    from harness.results import StudyResults

#: Columns of `history`.
HISTORY: Final = ("number", "value", "best", "low", "high")
#: Columns of `slices`.
SLICES: Final = ("number", "parameter", "level", "value")
#: Columns of `by_level`.
LEVELS: Final = ("parameter", "level", "trials", "median", "best")
#: Columns of `score_grid`.
GRID: Final = ("first", "first_level", "second", "second_level", "trials", "value")
#: The parameter that is sampled from a range; its levels are grouped by half decades.
RATE: Final = "learning_rate"
#: Level of an extra setting that a trial does not name.
USUAL: Final = "usual"
_FIELDS: Final = ("variant", "rank", "alpha_ratio", "dropout", "target_modules", RATE)
#: No more trials than this are among the best few, however long the search.
_FEW: Final = 20
#: Half the width of a 95 % interval, in standard deviations.
_NORMAL: Final = 1.96
#: Tukey's fence: so many interquartile ranges from the quartile.
_FENCE: Final = 1.5


def scored(results: StudyResults) -> pd.DataFrame:
    """Search trials that were run to their end and have a score, in order of their number."""
    rows = results.trials
    selected = rows[
        (rows["stage"] == "search")
        & (rows["state"] == "complete")
        & rows["duplicate_of"].isna()
        & np.isfinite(rows["value"].astype(float))
    ]
    return selected.sort_values("number", kind="stable")


def history(results: StudyResults) -> pd.DataFrame:
    """The best score so far after each trial, with seed noise around it.

    Returns:
        `HISTORY`: `low` and `high` are 1.96 standard deviations of one configuration's score
        over training seeds from `best`, NaN where that deviation is unknown.
    """
    rows = scored(results)[["number", "value"]].astype({"value": float})
    best = rows["value"].cummax() if results.objective.sign > 0 else rows["value"].cummin()
    form, reach = FORMS[results.objective.form], _NORMAL * noise_floor(results)
    frame = rows.assign(
        best=best,
        low=(best - reach).clip(lower=form.least),  # no score lies outside of these
        high=(best + reach).clip(upper=form.most),
    )
    return frame[list(HISTORY)].reset_index(drop=True)


def parameters(results: StudyResults) -> dict[str, list[Any]]:
    """Parameters that the scored trials vary, each with its level in every trial.

    Fields come first, in the order that a sweep declares them, then settings beside them
    (`extras`) by name.
    """
    rows = scored(results)
    levels_by_name = {name: _plain(rows[name]) for name in _FIELDS}
    settings = [
        dict(part.split("=", 1) for part in str(text or "").split() if "=" in part)
        for text in rows["extras"]
    ]
    for name in sorted(set().union(*settings)):
        levels_by_name[name] = [of_trial.get(name, USUAL) for of_trial in settings]
    return {name: levels for name, levels in levels_by_name.items() if len(set(levels)) > 1}


def slices(results: StudyResults) -> pd.DataFrame:
    """The score of every trial against its level of each parameter: `SLICES`, long form."""
    rows = scored(results)
    numbers, values = rows["number"].tolist(), rows["value"].astype(float).tolist()
    parts = [
        (number, name, level, value)
        for name, levels in parameters(results).items()
        for number, level, value in zip(numbers, levels, values, strict=True)
    ]
    return pd.DataFrame(parts, columns=list(SLICES))


def by_level(results: StudyResults) -> pd.DataFrame:
    """Trials, median and best score at each level; a learning rate by its half decade.

    Returns:
        `LEVELS`, levels in the order of `ordered`; that of a learning rate is the lower end of
        its half decade.
    """
    rows = []
    pick = "max" if results.objective.sign > 0 else "min"
    for name, group in slices(results).groupby("parameter", sort=False):
        cells = binned(str(name), group["level"])
        for level in ordered(results, str(name), cells):
            values = group["value"][[cell == level for cell in cells]]
            rows.append((name, level, len(values), values.median(), values.agg(pick)))
    return pd.DataFrame(rows, columns=list(LEVELS))


def score_grid(results: StudyResults) -> pd.DataFrame:
    """Mean score in the cells of the two parameters that fANOVA gives the largest shares.

    Returns:
        `GRID`, cells with a trial only; a learning rate by the lower end of its half decade.
        Empty where fewer than two parameters have a share.
    """
    varied, pair = parameters(results), _leading(results)
    pair = [name for name in pair if name in varied][:2]
    if len(pair) < 2:
        return pd.DataFrame(columns=list(GRID))
    cells = pd.DataFrame({name: binned(name, varied[name]) for name in pair}, dtype=object)
    cells["value"] = scored(results)["value"].to_numpy(dtype=float)
    statistics = cells.groupby(pair, sort=False)["value"].agg(["size", "mean"])
    levels = [ordered(results, name, cells[name]) for name in pair]
    trials, means = statistics["size"], statistics["mean"]
    rows = [
        (pair[0], first, pair[1], second, int(trials[first, second]), float(means[first, second]))
        for first, second in itertools.product(*levels)
        if (first, second) in statistics.index
    ]
    return pd.DataFrame(rows, columns=list(GRID))


def ordered(results: StudyResults, name: str, levels: Iterable[Any]) -> list[Any]:
    """The different levels: numbers by size, words as the sweep has them, the usual first."""
    declared = (results.sweep.get("space") or {}).get(name)
    order = list(declared) if isinstance(declared, list | tuple) else []

    def sort_key(level: Any) -> tuple[float, str]:
        if isinstance(level, int | float):
            return float(level), ""
        if level == USUAL:
            return -1.0, ""
        return float(order.index(level) if level in order else len(order)), str(level)

    return sorted(set(levels), key=sort_key)


def binned(name: str, levels: Iterable[Any]) -> list[Any]:
    """Levels as they are, but a learning rate by the lower end of its half decade."""
    return [half_decade(float(level)) for level in levels] if name == RATE else list(levels)


def half_decade(rate: float, steps: int = 0) -> float:
    """Lower end of the half decade that a rate lies in, or of one so many steps above it.

    Half decades begin at 10 to the power of n / 2: 1e-3, 3.16e-3, 1e-2, ...
    """
    exponent = math.floor(2 * math.log10(rate) + 1e-9) + steps
    return float(f"{10 ** (exponent / 2):.10g}")  # so that equal ends are equal numbers


def best_few(values: Sequence[float], sign: float) -> list[int]:
    """Places of the best tenth of the values, at most 20 and at least one, best first."""
    order = np.argsort(-sign * np.asarray(values, dtype=float), kind="stable")
    return [int(index) for index in order[: min(_FEW, math.ceil(len(order) / 10))]]


def rank_stratified_sample(values: Sequence[float], sign: float, limit: int) -> list[int]:
    """Places of at most `limit` values: the best few, and evenly of the others by their rank."""
    order = np.argsort(-sign * np.asarray(values, dtype=float), kind="stable")
    few = len(best_few(values, sign))
    if len(order) <= limit:
        return sorted(int(index) for index in order)
    ranks = np.linspace(few, len(order) - 1, limit - few).round().astype(int)
    return sorted(int(index) for index in [*order[:few], *order[ranks]])


def outlier_fence(values: Sequence[float], sign: float) -> float:
    """The worst value that is no outlier on the bad side, by Tukey's fence.

    A diverged run scores so far below the others that a chart with it shows nothing else.
    """
    merit: Array = sign * np.asarray(values, dtype=float)
    low, high = np.percentile(merit, [25, 75])
    if not math.isfinite(high - low) or high == low:
        return float(sign * merit.min())
    return float(sign * merit[merit >= low - _FENCE * (high - low)].min())


def _leading(results: StudyResults) -> list[str]:
    """Factors with a share by fANOVA, the largest first."""
    importance: Mapping[str, Any] = results.attributes.get("importance") or {}
    shares = {
        str(row["factor"]): float(row["fanova"])
        for row in importance.get("factors") or []
        if row.get("fanova") is not None and math.isfinite(row["fanova"])
    }
    return sorted(shares, key=lambda name: -shares[name])


def _plain(levels: pd.Series) -> list[Any]:
    return [level.item() if isinstance(level, np.generic) else level for level in levels]
