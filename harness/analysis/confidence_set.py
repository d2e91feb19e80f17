"""The model confidence set of Hansen, Lunde and Nason (2011, Econometrica 79, 453-497).

The configurations that cannot be told from the best: with the confidence asked for, all that are
best are among them. Unlike bounds against the best it takes no margin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.aggregates import Array
    from harness.analysis.simultaneous import Pairs


class ConfidenceSet(NamedTuple):
    """What is left, and how surely each of the others went.

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
    """Takes out the worst as long as those left are shown not to be equally good.

    The statistic is the range, max |t_ij| (section 3.1.2), its distribution that of studentised
    draws; who goes is the one furthest behind another.

    Args:
        pairs: all differences, more being better.
        alpha: probability that one of the best is not in the set.
    """
    count = len(pairs.difference)
    with np.errstate(divide="ignore", invalid="ignore"):
        behind = -pairs.difference / pairs.error
    # No difference is no evidence, whatever its error; without an error nothing can be said.
    behind = np.where((pairs.difference == 0) | ~np.isfinite(pairs.error), 0.0, behind)
    values, running = np.ones(count), 0.0
    left = list(range(count))
    while len(left) > 1:
        grid = np.ix_(left, left)
        largest = np.abs(pairs.draws[grid]).max(axis=(0, 1))
        seen = float(behind[grid].max())
        beyond = (1 + int((largest >= seen).sum())) / (1 + len(largest))
        running = max(running, beyond)
        worst = left[int(behind[grid].max(axis=1).argmax())]
        values[worst] = running
        left.remove(worst)
    return ConfidenceSet(values, alpha)
