"""Where the scores of a panel differ: between configurations, training seeds and examples.

A score reads m + C_c + A_cs + B_ce + G_cse. The variance over a configuration's seeds holds A and
G; that over the examples, the adapters held fixed, holds B and G. All in the metric's own unit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.special import fdtrc

from harness.analysis.bootstrap import influence, scores
from harness.analysis.scores import value_of

if TYPE_CHECKING:
    from harness.aggregates import Array
    from harness.analysis.scores import Cube
    from harness.results import Objective

#: Level of the test of equal spread.
_LEVEL: Final = 0.05


class Spread(NamedTuple):
    """Standard deviations, NaN where nothing is known.

    Attributes:
        seed: of one configuration's score over training seeds, pooled over all configurations.
        seed_each: the same of each configuration, (C,).
        equal: p-value of the test that all configurations spread alike over seeds (Brown and
            Forsythe 1974).
        example: of a score that is due to which examples the split has, the adapters fixed.
        configuration: between configurations' expected scores, beyond what seeds explain.
        correlation: mean correlation of two configurations over the seeds that all have; how much
            pairing by seed helps, if it is above nought.
    """

    seed: float
    seed_each: Array
    equal: float
    example: float
    configuration: float
    correlation: float

    @property
    def pooled(self) -> bool:
        """Whether a test of equal spread lets the configurations be pooled."""
        return not self.equal < _LEVEL


def spread(cube: Cube, objective: Objective) -> Spread:
    """Splits the variance of a panel.

    Args:
        cube: the panel; configurations may lack seeds.
        objective: says how scores are made from its statistics.
    """
    value = value_of(objective)
    table = scores(cube.statistics, value)
    groups = [row[~np.isnan(row)] for row in table]
    free = np.array([max(0, len(group) - 1) for group in groups])
    each = np.array([g.var(ddof=1) if len(g) > 1 else math.nan for g in groups])
    freedom = float(free.sum())
    pooled = float(np.nansum(each * free) / freedom) if freedom else math.nan
    means = np.array([group.mean() for group in groups])
    between = math.nan
    if len(means) > 1 and freedom:
        noise = pooled * np.mean([1 / len(group) for group in groups])
        between = math.sqrt(max(0.0, float(means.var(ddof=1)) - float(noise)))
    return Spread(
        math.sqrt(pooled) if freedom else math.nan,
        np.sqrt(each),
        _equal(groups),
        _of_examples(influence(cube.statistics, value)),
        between,
        _correlation(table),
    )


def _equal(groups: list[Array]) -> float:
    """P-value of equal spread (Brown and Forsythe 1974); NaN where it cannot be made.

    An analysis of variance of the distances to each group's median. Not by scipy.stats, which
    takes longer to import than a page takes to be made.
    """
    apart = [np.abs(group - np.median(group)) for group in groups if len(group) > 2]
    if len(apart) < 2:
        return math.nan
    every, count = np.concatenate(apart), len(apart)
    within = sum(float(((each - each.mean()) ** 2).sum()) for each in apart)
    between = sum(len(each) * float((each.mean() - every.mean()) ** 2) for each in apart)
    if within == 0:
        return 1.0 if between == 0 else 0.0
    freedom = len(every) - count
    return float(fdtrc(count - 1, freedom, between / (count - 1) / (within / freedom)))


def _of_examples(influences: Array) -> float:
    """The mean over adapters, of which each example has one effect (jackknife)."""
    examples = influences.shape[2]
    if examples < 2:
        return math.nan
    variances = influences.var(axis=2, ddof=1) / examples
    return math.sqrt(float(np.nanmean(variances)))


def _correlation(table: Array) -> float:
    whole = table[:, ~np.isnan(table).any(axis=0)]
    if len(whole) < 2 or whole.shape[1] < 3:
        return math.nan
    moving = whole[whole.std(axis=1) > 0]
    if len(moving) < 2:
        return math.nan
    found = np.corrcoef(moving)
    return float(found[np.triu_indices(len(moving), 1)].mean())
