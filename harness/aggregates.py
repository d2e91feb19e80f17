"""Turns summed sufficient statistics of examples into a metric's value.

A metric keeps a few numbers for each example and class (true positives, log-likelihood, ...). Only
their sums are needed to get the metric of any multiset of examples, so that a bootstrap can redo
micro-F1 or perplexity without a model.
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
        value: maps sums of shape (..., len(parts)) to values of shape (...); of one class, or of
            several that were summed.
        least: no value is below it.
        most: no value is above it.
        averaged: whether the metric is the mean of the classes' values (macro), instead of the
            value of their sums (micro). Each class that occurs counts alike; one that does not
            (its value is NaN) is left out.
    """

    parts: tuple[str, ...]
    value: Callable[[Array], Array]
    least: float = -np.inf
    most: float = np.inf
    averaged: bool = False

    def over_classes(self, sums: Array) -> Array:
        """The metric over all classes, from sums of shape (..., classes, parts) to (...)."""
        if not self.averaged:
            return self.value(sums.sum(axis=-2))
        values = self.value(sums)
        known = ~np.isnan(values)
        count = known.sum(axis=-1)
        total = np.where(known, values, 0.0).sum(axis=-1)
        # Without any class there was nothing to label and nothing was predicted: a perfect score.
        return np.where(count > 0, total / np.maximum(count, 1), self.most)


def _f1(sums: Array) -> Array:
    # F1 = 2 tp / (2 tp + fp + fn); no label and no prediction is a perfect score.
    true, false, missed = sums[..., 0], sums[..., 1], sums[..., 2]
    total = 2 * true + false + missed
    return np.where(total > 0, 2 * true / np.where(total > 0, total, 1.0), 1.0)


def _f1_of_present(sums: Array) -> Array:
    # A class that neither side names has no F1, as in scikit-learn with labels=None.
    return np.where(sums.sum(axis=-1) > 0, _f1(sums), np.nan)


def _mean(sums: Array) -> Array:
    count = sums[..., 1]
    return np.where(count > 0, sums[..., 0] / np.where(count > 0, count, 1.0), np.nan)


def _perplexity(sums: Array) -> Array:
    return np.asarray(np.exp(_mean(sums)))


def _bits(sums: Array) -> Array:
    return np.asarray(_mean(sums) / np.log(2))


FORMS: Final[dict[str, Form]] = {
    "f1": Form(("tp", "fp", "fn"), _f1, 0.0, 1.0),
    "macro_f1": Form(("tp", "fp", "fn"), _f1_of_present, 0.0, 1.0, averaged=True),
    "mean": Form(("sum", "n"), _mean),
    "share": Form(("sum", "n"), _mean, 0.0, 1.0),  # a mean of what lies between 0 and 1
    "perplexity": Form(("nll", "tokens"), _perplexity, 1.0),
    "word_perplexity": Form(("nll", "words"), _perplexity, 1.0),
    "bits": Form(("nll", "bytes"), _bits, 0.0),
}
