"""Max-T bounds, Hsu's comparisons with the best, Holm's p-values, the model confidence set.

All work on the draws of `harness.analysis.bootstrap`, so that the correlation of the contrasts
(they share seeds, examples and configurations) is used and not assumed.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.aggregates import Array
    from harness.analysis.bootstrap import Contrasts


class Bounds(NamedTuple):
    """Lower and upper bounds, (K,) each; infinite where the error is unknown."""

    low: Array
    high: Array


class AgainstBest(NamedTuple):
    """Joint bounds of each configuration's score minus the best score of all the others.

    Attributes:
        low: (C,), at most 0: how far behind the best it may be.
        high: (C,), at least 0; 0 where it is shown not to be the best.
        critical: (C,) quantile that each configuration was compared with the others at.
    """

    low: Array
    high: Array
    critical: Array

    @property
    def possible(self) -> NDArray[np.bool_]:
        """(C,) whether it could be the best: a confidence set for the best one."""
        return self.high > 0


class Pairs(NamedTuple):
    """All ordered pairs of C configurations; the diagonal is 0.

    Attributes:
        difference: (C, C), row minus column.
        error: (C, C) standard errors.
        draws: (C, C, B) studentised errors.
    """

    difference: Array
    error: Array
    draws: Array


def pair_matrix(count: int) -> Array:
    """Contrasts of all pairs i < j of that many configurations, shape (K, count)."""
    pairs = list(itertools.combinations(range(count), 2))
    matrix = np.zeros((len(pairs), count))
    for k, (i, j) in enumerate(pairs):
        matrix[k, i], matrix[k, j] = 1.0, -1.0
    return matrix


def as_pairs(contrasts: Contrasts, count: int) -> Pairs:
    """Lays contrasts made with `pair_matrix` out as square tables."""
    difference, error = np.zeros((count, count)), np.zeros((count, count))
    draws = np.zeros((count, count, contrasts.draws.shape[1]))
    for k, (i, j) in enumerate(itertools.combinations(range(count), 2)):
        difference[i, j], difference[j, i] = contrasts.estimate[k], -contrasts.estimate[k]
        error[i, j] = error[j, i] = contrasts.error[k]
        draws[i, j], draws[j, i] = contrasts.draws[k], -contrasts.draws[k]
    return Pairs(difference, error, draws)


def intervals(contrasts: Contrasts, confidence: float) -> Bounds:
    """Two-sided intervals, each of that confidence on its own."""
    quantile = np.quantile(np.abs(contrasts.draws), confidence, axis=1)
    return _around(contrasts.estimate, contrasts.error, quantile)


def joint_intervals(contrasts: Contrasts, confidence: float) -> Bounds:
    """Two-sided intervals that all hold together (max-T; Westfall and Young 1993)."""
    if not len(contrasts.estimate):
        return Bounds(np.zeros(0), np.zeros(0))
    quantile = np.quantile(np.abs(contrasts.draws).max(axis=0), confidence)
    return _around(contrasts.estimate, contrasts.error, quantile)


def p_values(contrasts: Contrasts) -> Array:
    """Two-sided p-values of "the contrast is 0", (K,); 1 where the error is unknown.

    Counted on the draws, plus one in numerator and denominator, so that none is 0 (Davison and
    Hinkley 1997, eq. 4.11).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.abs(contrasts.estimate / contrasts.error)
    # An error of 0 with a difference of 0 is no evidence of a difference.
    observed = np.where(contrasts.estimate == 0, 0.0, np.nan_to_num(observed, posinf=np.inf))
    beyond = (np.abs(contrasts.draws) >= observed[:, None]).sum(axis=1)
    values = (1 + beyond) / (1 + contrasts.draws.shape[1])
    return np.where(np.isfinite(contrasts.error), values, 1.0)


def holm(values: Array) -> Array:
    """P-values corrected over their family by Holm's method (1979), (K,)."""
    # Not by statsmodels, which collects garbage at each call: half a second beside torch.
    order = np.argsort(values)
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(raised, 1.0)
    return corrected


def against_best(pairs: Pairs, confidence: float) -> AgainstBest:
    """Joint bounds against an unknown best (Edwards and Hsu 1983; Hsu 1984, theorem 1).

    With the true best as control, a one-sided comparison of it with all the others (Dunnett's)
    holds at the confidence. The true best is then among those that are not excluded, and the
    bounds of all configurations follow from that one event. So they hold together. In `pairs` more
    is better.
    """
    count = len(pairs.difference)
    if count < 2:
        return AgainstBest(np.zeros(count), np.full(count, np.inf), np.zeros(count))
    others = ~np.eye(count, dtype=bool)
    critical = np.zeros(count)
    high, low = np.zeros(count), np.zeros(count)
    for i in range(count):
        worst = (-pairs.draws[i, others[i]]).max(axis=0)
        critical[i] = max(0.0, float(np.quantile(worst, confidence)))
        reach = pairs.difference[i] + _times(critical[i], pairs.error[i])
        high[i] = max(0.0, _known(reach[others[i]], np.inf).min())
    possible = high > 0
    for i in range(count):
        rivals = possible & others[i]
        if rivals.any():
            reach = pairs.difference[i] - _times(critical, pairs.error[:, i])
            low[i] = min(0.0, _known(reach[rivals], -np.inf).min())
    return AgainstBest(low, high, critical)


def all_pairs_bounds(pairs: Pairs, confidence: float) -> Bounds:
    """Two-sided bounds of all differences together (Tukey's family by max-T), (C, C) each."""
    largest = np.abs(pairs.draws).max(axis=(0, 1)) if len(pairs.draws) else np.zeros(1)
    return _around(pairs.difference, pairs.error, np.quantile(largest, confidence))


def _times(quantile: float | Array, error: Array) -> Array:
    # An infinite error stays infinite, also where no draw was made and the quantile is 0.
    finite = np.isfinite(error)
    return np.where(finite, quantile * np.where(finite, error, 0.0), np.inf)


def _known(values: Array, otherwise: float) -> Array:
    return np.where(np.isnan(values), otherwise, values)


def _around(estimate: Array, error: Array, quantile: float | Array) -> Bounds:
    reach = _times(quantile, error)
    return Bounds(_known(estimate - reach, -np.inf), _known(estimate + reach, np.inf))


class ConfidenceSet(NamedTuple):
    """The set, and the p-value at which each of the others was eliminated.

    Attributes:
        p_values: (C,) MCS p-values: a configuration is in the set at confidence 1 - a if its
            p-value is a or more; the last one has 1.
        alpha: of the set below.
    """

    p_values: Array
    alpha: float

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(C,) whether it is in the set."""
        return self.p_values >= self.alpha


def confidence_set(pairs: Pairs, alpha: float) -> ConfidenceSet:
    """The model confidence set (Hansen, Lunde and Nason 2011, Econometrica 79, 453-497).

    With the confidence 1 - alpha it holds all configurations that are best. Unlike bounds against
    the best it takes no margin. The worst one is eliminated as long as equal performance of the
    remaining ones is rejected.

    The statistic is the range, max |t_ij| (section 3.1.2), with the distribution of the
    studentised draws; the one with the largest deficit to another is eliminated. In `pairs` more
    is better.
    """
    count = len(pairs.difference)
    with np.errstate(divide="ignore", invalid="ignore"):
        deficits = -pairs.difference / pairs.error
    # A difference of 0 is no evidence, whatever its error; nor is one without a known error.
    deficits = np.where((pairs.difference == 0) | ~np.isfinite(pairs.error), 0.0, deficits)
    values, running = np.ones(count), 0.0
    remaining = list(range(count))
    while len(remaining) > 1:
        # MCS p-values are running maxima (Definition 4).
        grid = np.ix_(remaining, remaining)
        largest = np.abs(pairs.draws[grid]).max(axis=(0, 1))
        observed = float(deficits[grid].max())
        p_value = (1 + int((largest >= observed).sum())) / (1 + len(largest))
        running = max(running, p_value)
        worst = remaining[int(deficits[grid].max(axis=1).argmax())]
        values[worst] = running
        remaining.remove(worst)
    return ConfidenceSet(values, alpha)
