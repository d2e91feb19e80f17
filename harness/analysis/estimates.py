"""Estimates of configurations and of their differences, with intervals, from a study's rows.

Every number is in the metric's own unit (0 to 1 for F1). Intervals count training seeds and
examples as random and hold 95 % of the time; with one seed or one example they are NaN.

`variance_components` splits scores into m + C_c + A_cs + B_ce + G_cse: configurations, seeds,
examples. The variance over a configuration's seeds holds A and G; that over the examples, with the
adapters fixed, holds B and G.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import fdtrc

from harness.aggregates import FORMS
from harness.analysis.bootstrap import RESAMPLES, Contrasts, contrasts, influence, scores
from harness.analysis.multiple_comparisons import (
    Pairs,
    as_pairs,
    holm,
    intervals,
    joint_intervals,
    p_values,
    pair_matrix,
)
from harness.analysis.scores import ScoreArray, complete, metric_function, score_array

if TYPE_CHECKING:
    from harness.aggregates import Array
    from harness.analysis.bootstrap import Value
    from harness.results import Objective, StudyResults


CONFIDENCE: Final = 0.95


class Interval(NamedTuple):
    """A number with its interval, in the metric's own unit; NaN where it is unknown."""

    value: float
    low: float
    high: float


class Estimate(NamedTuple):
    """The score of one configuration.

    Attributes:
        value: mean over seeds of the score over all examples.
        low: lower end of the 95 % interval.
        high: upper end.
        seeds: number of training seeds.
        examples: number of examples.
        seed_sd: standard deviation of the score over the seeds, NaN with one.
    """

    value: float
    low: float
    high: float
    seeds: int
    examples: int
    seed_sd: float


class PairwiseComparison(NamedTuple):
    """All pairs of configurations of a score array.

    Attributes:
        array: the scores that are compared.
        values: (C,) scores.
        contrasts: of i < j, signs such that positive is better for i.
        pairs: the same as square tables.
    """

    array: ScoreArray
    values: Array
    contrasts: Contrasts
    pairs: Pairs


def compare_all_pairs(
    cube: ScoreArray, objective: Objective, resamples: int = RESAMPLES
) -> PairwiseComparison:
    """Compares all pairs of configurations; more is better in every contrast."""
    statistics, value = cube.statistics, metric_function(objective)
    count = len(cube.keys)
    values = np.array([row[~np.isnan(row)].mean() for row in scores(statistics, value)])
    pairwise = _contrasts(statistics, value, objective.sign * pair_matrix(count), resamples)
    return PairwiseComparison(cube, values, pairwise, as_pairs(pairwise, count))


#: Columns of `estimates`.
_ESTIMATES: Final = ("key", "value", "low", "high", "seeds", "seed_sd", "examples")
#: The last comparisons, oldest first.
_recent: dict[tuple[object, ...], Contrasts] = {}
_RECENT_LIMIT: Final = 8


def _contrasts(
    statistics: Array, value: Value, matrix: Array, resamples: int = RESAMPLES
) -> Contrasts:
    # A page needs the same comparison several times, also under constraints, which make another
    # study object. A digest of the arrays is a small key.
    arrays = [np.ascontiguousarray(array) for array in (statistics, matrix)]
    digests = [(blake2b(array.data).digest(), array.shape) for array in arrays]
    key = (*digests, value, resamples)
    if key not in _recent:
        result = contrasts(statistics, value, matrix, resamples)
        for array in result:
            array.flags.writeable = False
        _recent[key] = result
        if len(_recent) > _RECENT_LIMIT:
            del _recent[next(iter(_recent))]
    return _recent[key]


def estimates(
    results: StudyResults, stage: str, split: str, keys: tuple[str, ...] | None = None
) -> pd.DataFrame:
    """Scores of a stage's configurations on a split with 95 % intervals, each on its own.

    Returns:
        Columns key, value, low, high, seeds, seed_sd, examples; no row where nothing was scored.
    """
    try:
        cube = score_array(results, stage, split, keys)
    except ValueError:
        return pd.DataFrame(columns=list(_ESTIMATES))
    return estimates_of(cube, results.objective)


def estimates_of(cube: ScoreArray, objective: Objective) -> pd.DataFrame:
    """`estimates` from a score array: reading one from the tables takes longest."""
    statistics, value = cube.statistics, metric_function(objective)
    each_alone = _contrasts(statistics, value, np.eye(len(cube.keys)))
    bounds, form = intervals(each_alone, CONFIDENCE), FORMS[objective.form]
    table = scores(statistics, value)
    seed_sd = [
        float(row[~np.isnan(row)].std(ddof=1)) if count >= 2 else float("nan")
        for row, count in zip(table, each_alone.seeds, strict=True)
    ]
    return pd.DataFrame(
        {
            "key": list(cube.keys),
            "value": each_alone.estimate,
            # No interval goes beyond the scores that are possible.
            "low": finite(bounds.low).clip(min=form.least),
            "high": finite(bounds.high).clip(max=form.most),
            "seeds": each_alone.seeds.astype(int),
            "seed_sd": seed_sd,
            "examples": len(cube.examples),
        }
    )


def drawn_scores(cube: ScoreArray, objective: Objective) -> Array:
    """Draws of the true scores, (C, B): the estimate less each draw of its error.

    Rows of a configuration whose error is unknown are NaN.
    """
    each_alone = _contrasts(cube.statistics, metric_function(objective), np.eye(len(cube.keys)))
    error = finite(each_alone.error)[:, None]
    return np.asarray(each_alone.estimate[:, None] - error * each_alone.draws)


def estimate(results: StudyResults, key: str, stage: str, split: str) -> Estimate:
    """The score of one configuration.

    Raises:
        ValueError: it has no complete trial of that stage with scores on that split.
    """
    frame = estimates(results, stage, split)
    rows = frame[frame["key"] == key]
    if rows.empty:
        raise ValueError(f"no complete {stage} trial of {key} with scores on {split}")
    row = rows.iloc[0]
    value, low, high, seed_sd = (float(row[x]) for x in ("value", "low", "high", "seed_sd"))
    return Estimate(value, low, high, int(row["seeds"]), int(row["examples"]), seed_sd)


def differences(results: StudyResults, stage: str, split: str, reference: str) -> pd.DataFrame:
    """Differences of all other configurations of a stage to a reference, on the seeds they share.

    The difference is configuration minus reference in the metric's own direction (below 0 is
    better where less is better).

    Returns:
        Columns key, difference, low, high (all intervals hold together, max-T), p_value and
        p_holm (corrected over the rows); no row where there is nothing to compare.
    """
    empty = pd.DataFrame(columns=["key", "difference", "low", "high", "p_value", "p_holm"])
    try:
        cube = score_array(results, stage, split)
    except ValueError:
        return empty
    if reference not in cube.keys:
        return empty
    comparison = compare_all_pairs(cube, results.objective)
    return compare_to_reference(comparison, results.objective, reference, cube.keys)


def compare_to_reference(
    comparison: PairwiseComparison, objective: Objective, reference: str, keys: tuple[str, ...]
) -> pd.DataFrame:
    """Differences to a reference within a comparison of all pairs; `keys` are the family.

    Returns:
        The columns of `differences`, one row for each of `keys` but the reference.
    """
    order = comparison.array.keys
    compared = [key for key in keys if key != reference]
    base = order.index(reference)
    rows = [order.index(key) for key in compared]
    pairs, sign, zeros = comparison.pairs, objective.sign, np.zeros(len(rows))
    difference, draws = sign * pairs.difference[rows, base], sign * pairs.draws[rows, base]
    subset = Contrasts(difference, pairs.error[rows, base], zeros, zeros, zeros, draws)
    bounds = joint_intervals(subset, CONFIDENCE)
    uncorrected = p_values(subset)
    return pd.DataFrame(
        {
            "key": compared,
            "difference": subset.estimate,
            "low": finite(bounds.low),
            "high": finite(bounds.high),
            "p_value": uncorrected,
            "p_holm": holm(uncorrected),
        }
    )


def noise_floor(results: StudyResults) -> float:
    """Standard deviation of one configuration's score over training seeds, on validation.

    Pooled over all configurations of the ablate and confirm stages with two seeds or more, in the
    metric's own unit; NaN where there is none.
    """
    total, freedom = 0.0, 0
    for stage in ("ablate", "confirm"):
        for _, group in complete(results, stage).groupby("key"):
            values = group["value"].dropna().to_numpy(dtype=float)
            if len(values) >= 2:
                total += float(((values - values.mean()) ** 2).sum())
                freedom += len(values) - 1
    return float(np.sqrt(total / freedom)) if freedom else float("nan")


def finite(values: Array) -> Array:
    """The values, with NaN for infinite ones (unknown)."""
    return np.where(np.isfinite(values), values, np.nan)


#: Level of the test of equal variances.
_LEVEL: Final = 0.05


class VarianceComponents(NamedTuple):
    """Standard deviations, NaN where nothing is known.

    Attributes:
        seed: of one configuration's score over training seeds, pooled over all configurations.
        seed_each: the same of each configuration, (C,).
        equal: p-value of the test that all configurations have equal variances over seeds (Brown
            and Forsythe 1974).
        example: of a score that is due to which examples the split has, the adapters fixed.
        configuration: between configurations' expected scores, beyond what seeds explain.
        correlation: mean correlation of two configurations over the seeds that all have; how much
            pairing by seed helps, if it is above 0.
    """

    seed: float
    seed_each: Array
    equal: float
    example: float
    configuration: float
    correlation: float

    @property
    def pooled(self) -> bool:
        """Whether a test of equal variances does not forbid pooling the configurations."""
        return not self.equal < _LEVEL


def variance_components(cube: ScoreArray, objective: Objective) -> VarianceComponents:
    """Splits the variance of scores into its components (moment estimates).

    Configurations may lack seeds.
    """
    value = metric_function(objective)
    table = scores(cube.statistics, value)
    groups = [row[~np.isnan(row)] for row in table]
    degrees = np.array([max(0, len(group) - 1) for group in groups])
    variances = np.array([g.var(ddof=1) if len(g) > 1 else math.nan for g in groups])
    freedom = float(degrees.sum())
    pooled = float(np.nansum(variances * degrees) / freedom) if freedom else math.nan
    means = np.array([group.mean() for group in groups])
    between = math.nan
    if len(means) > 1 and freedom:
        # One-way ANOVA estimate: the variance of means less the part that seeds explain.
        noise = pooled * np.mean([1 / len(group) for group in groups])
        between = math.sqrt(max(0.0, float(means.var(ddof=1)) - float(noise)))
    return VarianceComponents(
        math.sqrt(pooled) if freedom else math.nan,
        np.sqrt(variances),
        _equal_variance_p_value(groups),
        _example_deviation(influence(cube.statistics, value)),
        between,
        _correlation(table),
    )


def _equal_variance_p_value(groups: list[Array]) -> float:
    """P-value of equal variances over seeds (Brown and Forsythe 1974); NaN with too few groups.

    An analysis of variance of the distances to each group's median. Not by scipy.stats, whose
    import takes longer than making a page.
    """
    distances = [np.abs(group - np.median(group)) for group in groups if len(group) > 2]
    if len(distances) < 2:
        return math.nan
    pooled, count = np.concatenate(distances), len(distances)
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in distances)
    between = sum(len(group) * float((group.mean() - pooled.mean()) ** 2) for group in distances)
    if within == 0:
        return 1.0 if between == 0 else 0.0
    freedom = len(pooled) - count
    return float(fdtrc(count - 1, freedom, between / (count - 1) / (within / freedom)))


def _example_deviation(influences: Array) -> float:
    """Standard deviation due to the examples: the jackknife variance, averaged over adapters."""
    examples = influences.shape[2]
    if examples < 2:
        return math.nan
    return math.sqrt(float(np.nanmean(influences.var(axis=2, ddof=1) / examples)))


def _correlation(table: Array) -> float:
    complete_seeds = table[:, ~np.isnan(table).any(axis=0)]
    if len(complete_seeds) < 2 or complete_seeds.shape[1] < 3:
        return math.nan
    varying = complete_seeds[complete_seeds.std(axis=1) > 0]
    if len(varying) < 2:
        return math.nan
    matrix = np.corrcoef(varying)
    return float(matrix[np.triu_indices(len(varying), 1)].mean())
