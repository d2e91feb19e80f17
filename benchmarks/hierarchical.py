"""The plain paired bootstrap over training seeds and examples, with percentile and BCa intervals.

Both levels are resampled, the same seeds and the same examples for every configuration (Owen 2007,
"The pigeonhole bootstrap"). With three to ten seeds its intervals are too narrow, as a resampled
variance over S seeds is (S-1)/S of the real one and its quantiles are no Student's; so verdicts
rest on `harness.analysis.bootstrap`, and these are what they are held against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from harness.analysis.bootstrap import (
    RESAMPLES,
    SEED,
    Value,
    example_weights,
    influence,
    resampled_scores,
    scores,
)
from harness.analysis.multiple_comparisons import Bounds

if TYPE_CHECKING:
    from harness.aggregates import Array


class Resampled(NamedTuple):
    """K contrasts of configurations that have all seeds.

    Attributes:
        estimate: (K,).
        draws: (K, B), each contrast on each resample.
        acceleration: (K,), of BCa.
    """

    estimate: Array
    draws: Array
    acceleration: Array


def resampled(
    statistics: Array, value: Value, matrix: Array, resamples: int = RESAMPLES, seed: int = SEED
) -> Resampled:
    """Draws seeds and examples with replacement and computes the contrasts anew.

    Args:
        statistics: shape (C, S, E, W), nothing missing.
        value: from sums (..., W) to the metric (...).
        matrix: shape (K, C), weights of the configurations.
        resamples: number of draws B.
        seed: of the generator.

    Raises:
        ValueError: a training is missing.
    """
    table = scores(statistics, value)
    if np.isnan(table).any():
        raise ValueError("a plain bootstrap takes configurations with the same seeds alone")
    count = table.shape[1]
    weights = example_weights(statistics.shape[2], resamples, seed)
    on_resamples = resampled_scores(statistics, value, weights)
    seed_counts = np.random.default_rng(seed + 1).multinomial(
        count, [1 / count] * count, resamples
    )
    means = np.einsum("csb,bs->cb", on_resamples, seed_counts / count)
    by_seed = matrix @ table
    by_example = np.tensordot(matrix, influence(statistics, value).mean(axis=1), axes=1)
    return Resampled(by_seed.mean(axis=1), matrix @ means, _acceleration(by_seed, by_example))


def _acceleration(by_seed: Array, by_example: Array) -> Array:
    """Efron and Tibshirani 1993, equation 14.15, each level a sample of its own (section 14.5)."""
    cubes, squares = np.zeros(len(by_seed)), np.zeros(len(by_seed))
    for values in (by_seed, by_example):
        deviations = (values - values.mean(axis=1, keepdims=True)) / values.shape[1]
        cubes += (deviations**3).sum(axis=1)
        squares += (deviations**2).sum(axis=1)
    return np.divide(cubes, 6 * squares**1.5, out=np.zeros_like(cubes), where=squares > 0)


def percentile(bootstrap: Resampled, confidence: float) -> Bounds:
    """Quantiles of the draws, each interval of that confidence on its own."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(bootstrap.draws, [tail, 1 - tail], axis=1)
    return Bounds(low, high)


def bca(bootstrap: Resampled, confidence: float) -> Bounds:
    """Bias-corrected and accelerated intervals (Efron 1987; Efron and Tibshirani 1993, 14.10)."""
    below = (bootstrap.draws < bootstrap.estimate[:, None]).mean(axis=1)
    below += (bootstrap.draws == bootstrap.estimate[:, None]).mean(axis=1) / 2
    count = bootstrap.draws.shape[1]
    bias = ndtri(np.clip(below, 1 / (count + 1), count / (count + 1)))
    ends = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        shifted = bias + ndtri(tail)
        levels = ndtr(bias + shifted / (1 - bootstrap.acceleration * shifted))
        ends.append(
            np.array(
                [
                    np.quantile(draws, level)
                    for draws, level in zip(bootstrap.draws, levels, strict=True)
                ]
            )
        )
    return Bounds(*ends)
