"""How sure it is that a configuration lies on the front of quality and cost.

Costs are known; scores are drawn as the intervals have them, the same seeds and examples for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.comparison import drawn_scores

if TYPE_CHECKING:
    from harness.aggregates import Array
    from harness.analysis.scores import Cube
    from harness.results import Objective


def front_probabilities(cube: Cube, objective: Objective, costs: Array) -> Array:
    """The share of draws in which no other configuration is as cheap and better.

    Args:
        cube: the configurations.
        objective: says which way is better.
        costs: (C,) what each costs; NaN for unknown, which is on no front.

    Returns:
        Shape (C,), NaN where cost or spread is not known.
    """
    merit = objective.sign * drawn_scores(cube, objective)
    cost = np.asarray(costs, dtype=float)
    known = np.isfinite(cost) & np.isfinite(merit).all(axis=1)
    found = np.full(len(cost), np.nan)
    for i in np.flatnonzero(known):
        rivals = known & (cost <= cost[i])
        rivals[i] = False
        ahead = merit[rivals] > merit[i] if rivals.any() else np.zeros((1, merit.shape[1]), bool)
        found[i] = 1 - float(ahead.any(axis=0).mean())
    return found
