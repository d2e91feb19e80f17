"""Turns summed sufficient statistics of examples into a metric's value.

A metric keeps a few numbers for each example and class (true positives, log-likelihood, ...). Only
their sums are needed to get the metric of any multiset of examples, so that a bootstrap can redo
micro-F1 or perplexity without a model. Knows nothing of tasks, metrics or storage.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Form(NamedTuple):
    """How sums become a value.

    Attributes:
        parts: names of the numbers kept for each example and class, in order.
        value: maps sums of shape (..., len(parts)) to values of shape (...).
        least: no value is below it.
        most: no value is above it.
    """

    parts: tuple[str, ...]
    value: Callable[[Array], Array]
    least: float = -np.inf
    most: float = np.inf


def _f1(sums: Array) -> Array:
    # F1 = 2 tp / (2 tp + fp + fn); nothing to find and nothing found is a perfect score.
    true, false, missed = sums[..., 0], sums[..., 1], sums[..., 2]
    total = 2 * true + false + missed
    return np.where(total > 0, 2 * true / np.where(total > 0, total, 1.0), 1.0)


def _mean(sums: Array) -> Array:
    count = sums[..., 1]
    return np.where(count > 0, sums[..., 0] / np.where(count > 0, count, 1.0), np.nan)


def _perplexity(sums: Array) -> Array:
    return np.asarray(np.exp(_mean(sums)))


def _bits(sums: Array) -> Array:
    return np.asarray(_mean(sums) / np.log(2))


FORMS: Final[dict[str, Form]] = {
    "f1": Form(("tp", "fp", "fn"), _f1, 0.0, 1.0),
    "mean": Form(("sum", "n"), _mean),
    "perplexity": Form(("nll", "tokens"), _perplexity, 1.0),
    "word_perplexity": Form(("nll", "words"), _perplexity, 1.0),
    "bits": Form(("nll", "bytes"), _bits, 0.0),
}
