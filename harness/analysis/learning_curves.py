"""How trainings went on their way: losses, readings, and the learning rates that diverged.

Describes what the study's trials did; a comparison of configurations it is not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy.special import ndtri

from harness.analysis.scores import CONFIGURATION, complete

if TYPE_CHECKING:
    from harness.results import StudyResults

#: Configurations whose losses are followed.
LIMIT: Final = 6
#: Stages whose losses are worth a look, the last one first.
STAGES: Final = ("confirm", "ablate", "search")
#: States of a trial that has come to an end of its own.
ENDED: Final = ("complete", "pruned", "failed")
LOSS_COLUMNS: Final = (
    "stage",
    "key",
    *CONFIGURATION,
    "step",
    "epoch",
    "mean",  # over seeds, of the training loss since the reading before
    "low",  # of the seed with the lowest loss
    "high",  # of the seed with the highest
    "seeds",  # that have a loss at this step
)
READING_COLUMNS: Final = (
    "trial",
    "state",
    "step",
    "epoch",
    "value",  # objective on the validation examples that a reading scores
    "best",  # whether it is the trial's best reading, the first of equals
    "fall",  # how much worse than its best reading the trial's last one is; 0 if it is the best
    "overfits",  # whether the trial fell by more than the objective's margin
)
DIVERGENCE_COLUMNS: Final = (
    "low_rate",  # first learning rate of the half decade
    "high_rate",  # where the next one begins
    "trials",
    "diverged",
    "share",
    "low",  # of the Wilson 95 % interval
    "high",
)
_ROUNDING: Final = 1e-9  # 0.90 - 0.88 is a little more than 0.02


def wilson(count: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Both ends of a share's interval by its score test, good for few trials and for 0 and 1.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22, 209-212.

    Args:
        count: trials in which it happened.
        trials: all trials, at least one.
        confidence: of the two-sided interval.

    Raises:
        ValueError: there is no trial, or `count` is not between 0 and `trials`.
    """
    if not 0 <= count <= trials or trials < 1:
        raise ValueError(f"{count} of {trials} trials is no share")
    z = float(ndtri((1 + confidence) / 2))
    share, weight = count / trials, z**2 / trials
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    # At the ends the formula gives 0 and 1, but for rounding.
    low = 0.0 if count == 0 else max(0.0, middle - half)
    return low, 1.0 if count == trials else min(1.0, middle + half)


def loss_table(results: StudyResults, limit: int = LIMIT) -> pd.DataFrame:
    """Training loss of the configurations that came furthest, along their training.

    They are those of the last stage of `STAGES` that has a complete trial with a loss: of them
    the best by their mean score on validation (at most `limit`), so that the test split chooses
    nothing.

    Returns:
        `LOSS_COLUMNS`, one row for each configuration and step, the best configuration first.
    """
    losses = _finite(results.measurements, "loss")
    for stage in STAGES:
        trials = complete(results, stage)
        trials = trials[trials["number"].isin(losses["trial"])]
        if len(trials):
            return _losses(trials, losses, results.objective.sign, limit)
    return pd.DataFrame(columns=list(LOSS_COLUMNS))


def _losses(trials: pd.DataFrame, losses: pd.DataFrame, sign: float, limit: int) -> pd.DataFrame:
    merit = (sign * trials["value"].astype(float)).groupby(trials["key"], sort=False).mean()
    order = list(merit.sort_values(ascending=False, kind="stable").index[:limit])
    rows = losses.merge(trials, left_on="trial", right_on="number", suffixes=("", "_of_trial"))
    rows = rows[rows["key"].isin(order)]
    curves = (
        rows.groupby(["key", "step"], sort=True)
        .agg(
            epoch=("epoch", "first"),
            mean=("loss", "mean"),
            low=("loss", "min"),
            high=("loss", "max"),
            seeds=("seed", "nunique"),
        )
        .reset_index()
    )
    settings = trials.drop_duplicates("key")[["key", "stage", *CONFIGURATION]]
    curves = curves.merge(settings, on="key")
    curves = curves.sort_values("key", key=lambda keys: keys.map(order.index), kind="stable")
    return curves[list(LOSS_COLUMNS)].reset_index(drop=True)


def reading_table(results: StudyResults) -> pd.DataFrame:
    """Validation readings of the search's trials that have ended.

    Returns:
        `READING_COLUMNS`, one row a reading, by trial and step.
    """
    trials = results.trials
    trials = trials[(trials["stage"] == "search") & trials["state"].isin(ENDED)]
    rows = _finite(results.measurements, "value").merge(
        trials[["number", "state"]], left_on="trial", right_on="number"
    )
    if rows.empty:
        return pd.DataFrame(columns=list(READING_COLUMNS))
    rows = rows.sort_values(["trial", "step"], kind="stable", ignore_index=True)
    merit = results.objective.sign * rows["value"]
    by_trial = merit.groupby(rows["trial"])
    fall = by_trial.transform("max") - by_trial.transform("last")
    return rows.assign(
        best=rows.index.isin(by_trial.idxmax()),
        fall=fall,
        overfits=fall > results.objective.margin + _ROUNDING,
    )[list(READING_COLUMNS)]


def divergence_table(results: StudyResults) -> pd.DataFrame:
    """How often training diverged, by half decades of the learning rate, over all stages.

    A trial counts if its outcome is known: it was completed, pruned (and had not diverged by
    then) or it diverged. One that failed for another reason, such as too little memory, says
    nothing, nor does one that was never run because it repeats another.

    Returns:
        `DIVERGENCE_COLUMNS`, one row for each half decade with a trial, lowest rate first.
    """
    trials = results.trials
    failed = (trials["state"] == "failed").to_numpy(dtype=bool)
    errors = trials["error"].astype(object).fillna("").astype(str)
    diverged = failed & errors.str.startswith("diverged").to_numpy(dtype=bool)
    known = trials["state"].isin(["complete", "pruned"]) & trials["duplicate_of"].isna()
    rates = trials["learning_rate"].to_numpy(dtype=float)
    counts = (known.to_numpy(dtype=bool) | diverged) & (rates > 0) & np.isfinite(rates)
    # A rate on the edge, such as 3.16227766e-3, must not be put below it by its rounding.
    halves = np.floor(2 * np.log10(rates[counts]) + _ROUNDING)
    bad = diverged[counts]
    rows = []
    for half in np.unique(halves):
        total, count = int((halves == half).sum()), int(bad[halves == half].sum())
        ends = (10.0 ** (half / 2), 10.0 ** ((half + 1) / 2))
        rows.append((*ends, total, count, count / total, *wilson(count, total)))
    return pd.DataFrame(rows, columns=list(DIVERGENCE_COLUMNS))


def _finite(measurements: pd.DataFrame, name: str) -> pd.DataFrame:
    """Measurements that have a number in this column."""
    numbers = measurements[name].astype(float)
    return measurements.assign(**{name: numbers})[np.isfinite(numbers)]
