"""Resamples of examples: how often each is drawn, and the metric of every adapter on each draw."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
from scipy.sparse import csr_array

from harness.aggregates import Array

Value = Callable[[Array], Array]

SEED: Final = 20_260_105
#: Numbers of resampled sums that are held at a time: 128 MiB of them.
_HELD: Final = 2**24
#: Numbers of weights that are kept for the next time: 64 MiB of them.
_KEPT: Final = 2**23
#: Statistics of which fewer than this share are not 0 are summed faster without their zeros.
_SPARSE: Final = 0.05


def example_weights(examples: int, resamples: int, seed: int = SEED) -> Array:
    """Multinomial weights of a bootstrap over examples.

    Args:
        examples: number of examples E.
        resamples: number of resamples B.
        seed: of the generator.

    Returns:
        How often each example is drawn, shape (B, E); each row sums to E. Not to be changed.
    """
    small = examples * resamples <= _KEPT
    return (_kept_weights if small else _weights)(examples, resamples, seed)


def _weights(examples: int, resamples: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, examples, (resamples, examples))
    drawn += np.arange(resamples)[:, None] * examples
    counts = np.bincount(drawn.ravel(), minlength=resamples * examples)
    found = counts.reshape(resamples, examples).astype(np.float64)
    found.setflags(write=False)
    return found


# A study asks for the same ones again and again: of its validation and of its test split.
_kept_weights = lru_cache(maxsize=2)(_weights)


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
    found = np.full((len(adapters), resamples), np.nan)
    there = np.flatnonzero(~np.isnan(adapters.sum(axis=(1, 2))))
    # Where each class is kept, the sums of all adapters at once would not fit.
    step = max(1, _HELD // (resamples * width))
    across = np.ascontiguousarray(weights.T)
    for first in range(0, len(there), step):
        few = there[first : first + step]
        flat = adapters[few].transpose(0, 2, 1).reshape(-1, examples)
        sums = _times_weights(flat, across).reshape(len(few), width, resamples)
        found[few] = value(np.moveaxis(sums, 1, 2))
    return found.reshape(configurations, seeds, resamples)


def _times_weights(flat: Array, across: Array) -> Array:
    """Rows (..., E) times weights (E, B); rows of one class of many are nearly all zeros."""
    if np.count_nonzero(flat) < _SPARSE * flat.size:
        return np.asarray(csr_array(flat) @ across)
    return flat @ across
