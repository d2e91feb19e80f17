"""Paired hierarchical bootstrap over training seeds and examples, on plain arrays.

The estimand is the expected score over training seeds and examples. A configuration's score is the
mean, over its seeds, of the metric recomputed from summed per-example statistics; a contrast is a
weighted sum of configurations' scores (one of them, or a difference of two).

With seeds s and examples e a contrast reads m + A_s + B_e + G_se, so its variance is
var(A)/S + var(B)/E + var(G)/(S E). The sample variance over seeds, over S, holds the first and the
last term; the variance over examples at fixed seeds holds the last two. Their plain sum, and a
bootstrap that resamples both, would count G twice (Owen 2007, "The pigeonhole bootstrap"), so G is
taken off once, as in studies of many readers and many cases (Obuchowski and Rockette 1995).

A handful of seeds cannot be resampled: their variance comes out (S-1)/S too small and their
quantiles normal where they should be Student's. So the bootstrap is studentised (Efron and
Tibshirani 1993, section 12.5) and its two levels are drawn differently. Examples, which are many,
are resampled, the same for all configurations. Seeds are drawn as normal noise, the same draw for
every contrast that shares a configuration, and each draw repeats the whole estimation of the
variance, so that few seeds widen the quantiles by themselves, also those of a maximum.

No interval is narrower than that of the examples alone with the trained adapters fixed: a few
seeds may agree by chance, and the examples they disagree on still bound the error of their mean.

The variance over seeds is the larger of the contrast's own and that pooled over the family. The
pooled one has many degrees of freedom but is right only where variances are equal; the own one
protects contrasts with a larger variance. The draws take the same maximum, so coverage holds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.special import ndtri  # scipy.stats takes a third of a second to import

from harness.aggregates import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray


Value = Callable[[Array], Array]

SEED: Final = 20_260_105
#: Resampled sums in memory at a time: 128 MiB of numbers.
_SUMS_AT_ONCE: Final = 2**24
#: Weights of at most this many numbers (64 MiB) are cached.
_CACHED_WEIGHTS: Final = 2**23
#: Below this share of non-zero statistics a sparse product is faster.
_SPARSE: Final = 0.05


def example_weights(examples: int, resamples: int, seed: int = SEED) -> Array:
    """Multinomial weights of a bootstrap over examples, B resamples of E.

    Returns:
        How often each example is drawn, shape (B, E); each row sums to E. Not to be changed.
    """
    small = examples * resamples <= _CACHED_WEIGHTS
    return (_cached_weights if small else _weights)(examples, resamples, seed)


def _weights(examples: int, resamples: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, examples, (resamples, examples))
    indices += np.arange(resamples)[:, None] * examples
    counts = np.bincount(indices.ravel(), minlength=resamples * examples)
    weights = counts.reshape(resamples, examples).astype(np.float64)
    weights.setflags(write=False)
    return weights


# A study asks for the same ones again and again: of its validation and of its test split.
_cached_weights = lru_cache(maxsize=2)(_weights)


def resampled_scores(statistics: Array, value: Value, weights: Array) -> Array:
    """The metric of each trained adapter on each resample of the examples.

    Args:
        statistics: shape (C, S, E, W), NaN for a training that is missing.
        value: from sums (..., W) to the metric (...).
        weights: shape (B, E).

    Returns:
        Shape (C, S, B), NaN where the training is missing.
    """
    configurations, seeds, examples, width = statistics.shape
    resamples = len(weights)
    adapters = statistics.reshape(-1, examples, width)
    values = np.full((len(adapters), resamples), np.nan)
    trained = np.flatnonzero(~np.isnan(adapters.sum(axis=(1, 2))))
    # Where each class is kept, the sums of all adapters at once would not fit.
    step = max(1, _SUMS_AT_ONCE // (resamples * width))
    columns = np.ascontiguousarray(weights.T)
    for first in range(0, len(trained), step):
        batch = trained[first : first + step]
        flat = adapters[batch].transpose(0, 2, 1).reshape(-1, examples)
        sums = _times_weights(flat, columns).reshape(len(batch), width, resamples)
        values[batch] = value(np.moveaxis(sums, 1, 2))
    return values.reshape(configurations, seeds, resamples)


def _times_weights(flat: Array, weights: Array) -> Array:
    """Rows (..., E) times weights (E, B); rows of one class of many are nearly all zeros."""
    if np.count_nonzero(flat) < _SPARSE * flat.size:
        return np.asarray(csr_array(flat) @ weights)
    return flat @ weights


RESAMPLES: Final = 10_000
#: Confidence at which the examples alone give the smallest width of an interval.
_LEVEL: Final = 0.95
#: Upper limit of the correlation of two configurations over shared seeds: at 1 differences would
#: have no variance over seeds.
MAX_CORRELATION: Final = 0.9


class Contrasts(NamedTuple):
    """Estimates of K contrasts, with studentised draws of their errors.

    Attributes:
        estimate: (K,) in the metric's own unit, NaN where no seed is common.
        error: (K,) standard errors; infinite with fewer than two common seeds or two examples.
        seeds: (K,) seeds that all configurations of the contrast have.
        seed_variance: (K,) variance of one seed's contrast.
        example_variance: (K,) variance of the estimate that is due to the examples alone.
        draws: (K, B) of (estimate - truth) / error.
    """

    estimate: Array
    error: Array
    seeds: Array
    seed_variance: Array
    example_variance: Array
    draws: Array

    def part(self, rows: slice) -> Contrasts:
        """Some of the contrasts, with the draws that they share."""
        return Contrasts(*(array[rows] for array in self))


class Family(NamedTuple):
    """Contrasts that share one family of bounds, with the seeds that each of them can use.

    Attributes:
        matrix: (K, C) weights of the configurations.
        common: (K, S) whether all configurations of the contrast have the seed.
        correlation: of two configurations over seeds, 0 to `MAX_CORRELATION`.
    """

    matrix: Array
    common: NDArray[np.bool_]
    correlation: float

    @property
    def seeds(self) -> Array:
        """(K,) number of seeds."""
        return np.asarray(self.common.sum(axis=1), dtype=float)

    @property
    def scale(self) -> Array:
        """(K,) variance of each contrast if that of every configuration were 1."""
        squares, square_of_sum = (self.matrix**2).sum(axis=1), self.matrix.sum(axis=1) ** 2
        return np.asarray((1 - self.correlation) * squares + self.correlation * square_of_sum)

    def guarded_variances(self, variances: Array) -> Array:
        """The larger of each variance and of the one pooled over the family; shape (K, ...)."""
        column = (slice(None), *[None] * (variances.ndim - 1))
        scale, weight = self.scale[column], (self.seeds - 1)[column]
        scaled = variances / scale
        pool = (scaled * weight).sum(axis=0, keepdims=True) / weight.sum()
        return np.asarray(np.maximum(scaled, pool) * scale)


def scores(statistics: Array, value: Value) -> Array:
    """The metric of each trained adapter: (C, S, E, W) to (C, S), NaN where it is missing."""
    sums = statistics.sum(axis=2)
    return np.where(np.isnan(sums).any(axis=2), np.nan, value(np.nan_to_num(sums)))


def influence(statistics: Array, value: Value) -> Array:
    """What each example adds to the metric, found by leaving it out (jackknife).

    Returns:
        Shape (C, S, E): (E-1) (score of all - score without the example). Their variance over the
        examples, over E, is the variance of the score.
    """
    others = statistics.shape[2] - 1
    # One configuration at a time: the sums without each example are as large as the statistics.
    without = [
        value(sums.sum(axis=1, keepdims=True) - sums) for sums in map(np.nan_to_num, statistics)
    ]
    return np.asarray(others * (scores(statistics, value)[:, :, None] - np.array(without)))


def contrasts(
    statistics: Array, value: Value, matrix: Array, resamples: int = RESAMPLES, seed: int = SEED
) -> Contrasts:
    """Estimates contrasts of configurations, with errors that count seeds and examples once.

    Args:
        statistics: shape (C, S, E, W), the same seeds and examples along an axis for all; NaN for
            a training that is missing.
        value: from sums (..., W) to the metric (...).
        matrix: shape (K, C), weights of the configurations in each contrast.
        resamples: number of draws B.
        seed: of the generator.

    Returns:
        Estimates, errors and draws; a contrast takes the seeds that all its configurations have.
    """
    table = scores(statistics, value)
    absent = np.isnan(table)
    common = ~(absent[None] & (matrix != 0)[:, :, None]).any(axis=1)
    by_seed = matrix @ np.where(absent, 0.0, table)  # (K, S): each seed's contrast
    count, examples = len(matrix), statistics.shape[2]
    estimate = np.full(count, np.nan)
    for k in np.flatnonzero(common.any(axis=1)):
        estimate[k] = by_seed[k, common[k]].mean()
    result = Contrasts(
        estimate,
        np.full(count, np.inf),
        common.sum(axis=1).astype(float),
        np.full(count, np.nan),
        np.full(count, np.nan),
        np.zeros((count, resamples)),
    )
    usable = (result.seeds >= 2) & (examples >= 2)
    if usable.any():
        family = Family(matrix[usable], common[usable], _seed_correlation(table))
        variances = np.array([by_seed[k, common[k]].var(ddof=1) for k in np.flatnonzero(usable)])
        result.seed_variance[usable] = family.guarded_variances(variances)
        example_part, fixed = _example_variances(influence(statistics, value), family)
        result.example_variance[usable] = example_part
        seed_part = result.seed_variance[usable] / family.seeds
        weights = example_weights(examples, resamples, seed)
        shifts = resampled_scores(statistics, value, weights) - table[:, :, None]
        rng = np.random.default_rng(seed + 1)
        draws = _draws(shifts, family, seed_part, example_part, rng, examples)
        error = np.sqrt(seed_part + example_part)
        result.draws[usable] = draws
        result.error[usable] = np.maximum(error, _minimum_errors(draws, fixed))
    return result


def _minimum_errors(draws: Array, fixed: Array) -> Array:
    """Errors that make intervals as wide as those of the examples alone, (K,)."""
    reach = np.quantile(np.abs(draws), _LEVEL, axis=1)
    minimum = ndtri((1 + _LEVEL) / 2) * np.sqrt(fixed)
    return np.asarray(np.divide(minimum, reach, out=np.zeros_like(minimum), where=reach > 0))


def _seed_correlation(table: Array) -> float:
    """Correlation of two configurations over shared seeds, as one number for all pairs.

    Mean covariance of pairs over mean variance: an exchangeable correlation, as in Obuchowski and
    Rockette (1995), because few seeds cannot support one for each pair.
    """
    complete = table[:, ~np.isnan(table).any(axis=0)]
    if len(complete) < 2 or complete.shape[1] < 2:
        return 0.0
    covariance, count = np.cov(complete), len(complete)
    variance = float(np.diag(covariance).mean())
    between = float(covariance.sum() - np.diag(covariance).sum()) / (count * (count - 1))
    return min(MAX_CORRELATION, max(0.0, between / variance)) if variance > 0 else 0.0


def residual_variance(table: Array) -> float:
    """Residual mean square of a two-way analysis of variance without replication, from (S, E)."""
    residuals = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return float((residuals**2).sum() / ((len(table) - 1) * (table.shape[1] - 1)))


def _example_variances(influences: Array, family: Family) -> tuple[Array, Array]:
    """Variances of the estimates due to examples alone, and with the adapters fixed; (K,) each."""
    # Two-way analysis of variance of the influences without replication: the residual mean square
    # estimates var(G), which the variance over seeds already holds, so it is subtracted here.
    parts, fixed = np.zeros(len(family.matrix)), np.zeros(len(family.matrix))
    for k, (weights, mask) in enumerate(zip(family.matrix, family.common, strict=True)):
        selected = weights != 0
        table = np.tensordot(weights[selected], influences[selected][:, mask], axes=1)
        fixed[k] = table.mean(axis=0).var(ddof=1) / table.shape[1]
        parts[k] = max(0.0, fixed[k] - residual_variance(table) / table.size)
    return parts, fixed


def _draws(
    shifts: Array,
    family: Family,
    seed_part: Array,
    example_part: Array,
    rng: np.random.Generator,
    examples: int,
) -> Array:
    """Studentised errors of the family, (K, B) (Efron and Tibshirani 1993, section 12.5).

    `shifts`, (C, S, B), is the shift of each adapter's score on each resample of the examples;
    `seed_part` and `example_part`, (K,), are the variances of the estimates due to both.
    """
    _, seeds, resamples = shifts.shape
    normal = np.sqrt(1 - family.correlation) * rng.standard_normal(shifts.shape)
    normal += np.sqrt(family.correlation) * rng.standard_normal((1, seeds, resamples))
    from_seeds = np.zeros((len(family.matrix), resamples))
    from_examples, spread = np.zeros_like(from_seeds), np.zeros_like(from_seeds)
    for k, (weights, mask) in enumerate(zip(family.matrix, family.common, strict=True)):
        selected = np.flatnonzero(weights)
        noise = np.tensordot(weights[selected], normal[selected][:, mask], axes=1)
        spread[k] = noise.var(axis=0, ddof=1)
        from_seeds[k] = noise.mean(axis=0) * np.sqrt(family.seeds[k])
        shift = np.tensordot(weights[selected], shifts[selected][:, mask].mean(axis=1), axes=1)
        width = shift.std()
        from_examples[k] = shift / width if width > 0 else 0.0
    # Each part is divided by its own estimated spread, so that few seeds widen the quantile even
    # where this study's spread over seeds came out small by chance. One Student quantile for the
    # sum would then be too narrow; this one (Behrens and Fisher) never is (Robinson 1976).
    from_seeds /= np.sqrt(family.guarded_variances(spread))
    from_examples /= np.sqrt(rng.chisquare(examples - 1, resamples) / (examples - 1))
    error = np.sqrt(seed_part + example_part)[:, None]
    errors = np.sqrt(seed_part)[:, None] * from_seeds
    errors += np.sqrt(example_part)[:, None] * from_examples
    return np.divide(errors, error, out=np.zeros_like(errors), where=error > 0)
