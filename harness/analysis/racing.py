"""Racing in the search: is a configuration shown to be behind the leader by the examples so far?

A paired test over examples with the trained adapters held fixed, at several looks whose errors
add up (the relative in Optuna is WilcoxonPruner, which takes no looks into account). It decides
what is worth scoring further, never what is recommended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import stdtrit

from harness.analysis.bootstrap import influence, scores
from harness.analysis.scores import kept, value_of

if TYPE_CHECKING:
    from harness.aggregates import Array
    from harness.results import Objective

#: Fewer examples than this say nothing of a spread.
LEAST: Final = 20


def level(before: float, now: float, alpha: float) -> float:
    """Error that a look may spend: alpha (now^2 - before^2), as Kim and DeMets (1987), rho = 2.

    Args:
        before: share of the examples at the look before, 0 at the first.
        now: share of them at this one.
        alpha: of all looks together.
    """
    return alpha * (now**2 - before**2)


def is_behind(candidate: Array, leader: Array, objective: Objective, error: float) -> bool:
    """Whether a one-sided paired test says that the leader is better.

    The metric is not a mean over examples, so what each example adds to the difference is found by
    leaving it out (jackknife), and their mean is held against Student's quantile.

    Args:
        candidate: statistics of the examples, shape (E, columns of the objective).
        leader: of the same examples, in the same order.
        objective: says how scores are made from them.
        error: level of the test.
    """
    if len(candidate) < LEAST or not 0 < error < 1:
        return False
    statistics = kept(np.stack([leader, candidate])[:, None], objective)
    value = value_of(objective)
    lead = objective.sign * (scores(statistics, value) @ np.ones(1))
    effects = influence(statistics, value)[:, 0]
    difference = float(lead[0] - lead[1])
    spread = float((effects[0] - effects[1]).std(ddof=1)) / np.sqrt(len(candidate))
    return bool(difference > stdtrit(len(candidate) - 1, 1 - error) * spread and difference > 0)
