"""Time and memory by stage, the forecast from the search, and the cost of a full grid.

Device time is the time of training and scoring; adapters that were trained together share theirs,
so that it can be summed. Wall time is the time in which at least one trial ran.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd

from harness.analysis.scores import cached_per_study

if TYPE_CHECKING:
    from harness.aggregates import Array
    from harness.results import StudyResults

#: Stages in the order in which a study runs them.
STAGES: Final = ("search", "tune", "ablate", "full", "claim", "confirm")
#: Outcomes of trials that were run.
OUTCOMES: Final = ("complete", "pruned", "failed", "lost", "running")
#: What the row of sums has in place of a stage.
ALL: Final = "all"
STAGE_COLUMNS: Final = (
    "stage",
    *OUTCOMES,  # trials that were run
    "not_run",  # repeats of an earlier trial, and those that were dropped before they began
    "unknown",  # trials that were run and whose cost is not known
    "train_seconds",
    "score_seconds",
    "device_seconds",
    "wall_seconds",
    "peak_memory",  # bytes
    "tokens",
    "pack",  # adapters trained together, the median over trials
)
FORECAST_COLUMNS: Final = (
    "stage",
    "trials",  # that have a known cost
    "trainings",  # the same in full trainings: the sum of their budgets
    "forecast_seconds",
    "device_seconds",
    "ratio",  # of what they took to the forecast
)
GRID_COLUMNS: Final = (
    "configurations",  # without learning rates
    "rates",
    "cells",
    "seeds",
    "trials",
    "trial_seconds",
    "grid_seconds",
    "device_seconds",
    "ratio",  # of the grid to what the study spent
)


class TrialDuration(NamedTuple):
    """How long a full trial takes on one device, training and scoring; in seconds.

    Attributes:
        stage: whose complete trials were looked at.
        trials: how many there are.
        seconds: their median.
        low: their lower quartile.
        high: their upper quartile.
    """

    stage: str
    trials: int
    seconds: float
    low: float
    high: float


def union_length(starts: Array, ends: Array) -> float:
    """Length of the union of intervals, (n,); one without a start or an end has no length."""
    known = ends > starts
    order = np.argsort(starts[known], kind="stable")
    first, last = starts[known][order], ends[known][order]
    # Each interval adds the part after the latest end so far.
    before = np.concatenate([[-np.inf], np.maximum.accumulate(last)[:-1]])[: len(last)]
    return float(np.maximum(0.0, last - np.maximum(first, before)).sum())


@cached_per_study
def stage_table(results: StudyResults) -> pd.DataFrame:
    """Time, memory and tokens of each stage, and their totals.

    Returns:
        `STAGE_COLUMNS`, with `money` behind them where a price is known; one row a stage and a
        last one called `ALL`. Sums leave out what is not known, and are NaN where nothing is.
        The wall time of all stages is below the sum of theirs where they ran side by side.
    """
    rows, hourly = _rows(results), price(results)
    sums = [_sums(name, part) for name, part in _parts(results, rows) if len(part)]
    frame = pd.DataFrame(sums, columns=list(STAGE_COLUMNS))
    if hourly is not None:
        frame["money"] = frame["wall_seconds"].astype(float) * hourly / 3600
    return frame


def _parts(results: StudyResults, rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each stage in the order that they are run in, and all of them."""
    names = dict.fromkeys((*STAGES, *map(str, results.trials["stage"])))
    return [*((name, rows[rows["stage"] == name]) for name in names), (ALL, rows)]


def _rows(results: StudyResults) -> pd.DataFrame:
    """Trials with their costs, beginnings and ends (seconds since the first), `run`, `device`."""
    trials, costs = results.trials, results.costs.drop_duplicates("trial")
    frame = pd.DataFrame({name: trials[name] for name in ("stage", "state")})
    frame["budget"] = pd.to_numeric(trials["budget"]).astype(float)
    by_trial = costs.set_index("trial")
    for name in ("train_seconds", "score_seconds", "peak_memory", "tokens", "pack"):
        frame[name] = pd.to_numeric(trials["number"].map(by_trial[name])).astype(float)
    frame["device_seconds"] = frame["train_seconds"] + frame["score_seconds"]
    started, finished = (
        pd.to_datetime(trials[name], utc=True).astype("datetime64[ns, UTC]")
        for name in ("started", "finished")
    )
    frame["start"] = (started - started.min()).dt.total_seconds()
    # The end of a lost trial is when its dead worker was noticed, maybe a day later.
    frame["end"] = (finished - started.min()).dt.total_seconds().where(frame["state"] != "lost")
    frame["run"] = trials["duplicate_of"].isna() & started.notna()
    return frame


def _sums(stage: str, rows: pd.DataFrame) -> dict[str, Any]:
    run = rows[rows["run"]]
    spans = run["start"].to_numpy(dtype=float), run["end"].to_numpy(dtype=float)
    memory = run["peak_memory"].max()
    return {
        "stage": stage,
        **{name: int((run["state"] == name).sum()) for name in OUTCOMES},
        "not_run": len(rows) - len(run),
        "unknown": int(run["device_seconds"].isna().sum()),
        **{
            name: float(run[name].sum(min_count=1))
            for name in ("train_seconds", "score_seconds", "device_seconds", "tokens")
        },
        "wall_seconds": union_length(*spans) if run["end"].notna().any() else math.nan,
        "peak_memory": float(memory) if memory > 0 else math.nan,
        "pack": float(run["pack"].median()),
    }


def price(results: StudyResults) -> float | None:
    """The price of an hour (`--price`), in any currency; None if none was given.

    It is the price of an hour in which the study ran, on all its machines together.
    """
    options = results.attributes.get("asked")
    value = options.get("price") if isinstance(options, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def trial_duration(
    results: StudyResults, stages: tuple[str, ...] = ("search",)
) -> TrialDuration | None:
    """How long a full trial takes, by the first stage that has a complete one of known cost.

    A trial of fewer steps counts as if all of its time grew with the steps.
    """
    rows = _rows(results)
    rows = rows[rows["run"] & (rows["state"] == "complete") & (rows["budget"] > 0)]
    rows = rows.assign(full=rows["device_seconds"] / rows["budget"]).dropna(subset=["full"])
    for stage in stages:
        full = rows.loc[rows["stage"] == stage, "full"].to_numpy(dtype=float)
        if len(full):
            low, middle, high = (float(part) for part in np.quantile(full, (0.25, 0.5, 0.75)))
            return TrialDuration(stage, len(full), middle, low, high)
    return None


def forecast_table(results: StudyResults) -> pd.DataFrame:
    """The forecast of each later stage from the search, and the time that it took.

    Returns:
        `FORECAST_COLUMNS`, one row a stage and a last one called `ALL`; without a row where the
        search or all later stages have no trial to go by.
    """
    rows, expected = _rows(results), trial_duration(results)
    rows = rows[rows["run"] & (rows["stage"] != "search") & rows["device_seconds"].notna()]
    if expected is None or rows.empty:
        return pd.DataFrame(columns=list(FORECAST_COLUMNS))
    table = []
    for name, part in _parts(results, rows):
        if part.empty:
            continue
        trainings, taken = float(part["budget"].sum()), float(part["device_seconds"].sum())
        forecast = expected.seconds * trainings
        ratio = taken / forecast if forecast > 0 else math.nan
        table.append((name, len(part), trainings, forecast, taken, ratio))
    return pd.DataFrame(table, columns=list(FORECAST_COLUMNS))


def factors(results: StudyResults) -> dict[str, int]:
    """Levels of each factor of the search space; a range of rates has as many as a cell tunes.

    Empty where the space, or how many rates a cell tunes, is not known.
    """
    space, rates = results.sweep.get("space"), _ablation(results, "rates")
    if not isinstance(space, Mapping):
        return {}
    if rates is None and any(isinstance(levels, Mapping) for levels in space.values()):
        return {}
    return {
        str(name): (rates or 1) if isinstance(levels, Mapping) else len(_listed(levels))
        for name, levels in space.items()
    }


def grid_table(results: StudyResults) -> pd.DataFrame:
    """The cost of running every cell of the search space on the ablation's seeds.

    Returns:
        `GRID_COLUMNS`, one row; none where the space, the seeds or a trial's time is not known.
        Each cell is taken to need the median time of a trial (`grid_trial_duration`), and none
        to be pruned.
    """
    levels, seeds = factors(results), _ablation(results, "seeds")
    typical = grid_trial_duration(results)
    if not levels or seeds is None or typical is None:
        return pd.DataFrame(columns=list(GRID_COLUMNS))
    rates = levels.pop("learning_rate", 1)
    configurations = math.prod(levels.values())
    # Only LoRA+ has two rates: for other variants all ratios are the same configuration.
    ratios = levels.get("b_rate_ratio", 1)
    variants = _listed(results.sweep["space"].get("variant", "lora"))
    by_variant = [ratios if "lora_plus" in str(name).split("+") else 1 for name in variants]
    configurations = configurations * sum(by_variant) // (ratios * len(variants))
    spent = float(stage_table(results)["device_seconds"].iloc[-1])
    trials = configurations * rates * seeds
    seconds = trials * typical.seconds
    ratio = seconds / spent if spent > 0 else math.nan
    row = (configurations, rates, configurations * rates, seeds, trials, typical.seconds)
    return pd.DataFrame([(*row, seconds, spent, ratio)], columns=list(GRID_COLUMNS))


def grid_trial_duration(results: StudyResults) -> TrialDuration | None:
    """The assumed duration of a cell of the grid: by the search, else by the ablation."""
    return trial_duration(results, ("search", "ablate"))


def _ablation(results: StudyResults, name: str) -> int | None:
    value = (results.sweep.get("ablation") or {}).get(name)
    return None if value is None else int(value)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
