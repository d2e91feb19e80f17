"""Pareto fronts of score and costs, and constraints on costs.

The front of a search for several objectives, the probability that a configuration lies on the
front of score and cost, and a study restricted to the configurations that satisfy constraints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from harness.analysis.estimates import drawn_scores
from harness.analysis.formatting import cost_text, labels_of
from harness.analysis.scores import CONFIGURATION, complete, configurations
from harness.costs import COSTS, Constraint, parse_constraint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.aggregates import Array
    from harness.analysis.scores import ScoreArray
    from harness.results import Objective, StudyResults


_STAGE = "confirm"


class ConstrainedStudy(NamedTuple):
    """A study under constraints.

    Attributes:
        results: without the confirmed trials of configurations that violate one.
        left_out: these configurations as `configurations` has them, cheapest first.
        bounds: the constraints.
    """

    results: StudyResults
    left_out: pd.DataFrame
    bounds: tuple[Constraint, ...]


def sweep_constraints(results: StudyResults) -> tuple[Constraint, ...]:
    """The constraints of the sweep itself (`confirmation.prefer`)."""
    settings = results.sweep.get("confirmation") or {}
    return tuple(parse_constraint(str(text)) for text in settings.get("prefer") or ())


def satisfies(table: pd.DataFrame, bounds: Sequence[Constraint]) -> pd.Series:
    """Which rows of a table of configurations satisfy all constraints."""
    satisfied = pd.Series(True, index=table.index)
    for bound in bounds:
        satisfied &= table[bound.cost].astype(float).map(bound.satisfied_by)
    return satisfied


def apply_constraints(
    results: StudyResults, prefer: Sequence[Constraint] = ()
) -> ConstrainedStudy:
    """The study under the sweep's constraints and further ones.

    Costs are measured and constraints do not look at scores, so leaving configurations out
    beforehand costs no error probability: the others are a smaller family of comparisons.
    """
    bounds = tuple(dict.fromkeys([*sweep_constraints(results), *prefer]))
    table = configurations(results, _STAGE)
    if not bounds or table.empty:
        return ConstrainedStudy(results, table.iloc[:0], bounds)
    violating = table[~satisfies(table, bounds)]
    if violating.empty:
        return ConstrainedStudy(results, violating, bounds)
    trials = results.trials
    removed = (trials["stage"] == _STAGE) & trials["key"].isin(violating["key"])
    left_out = violating.sort_values([bounds[0].cost, "key"])
    return ConstrainedStudy(replace(results, trials=trials[~removed]), left_out, bounds)


def left_out_sentence(constrained: ConstrainedStudy) -> str:
    """The configurations that were left out, in a sentence; empty where none was."""
    if constrained.left_out.empty:
        return ""
    names = []
    labels = labels_of(constrained.left_out)
    for label, row in zip(labels, constrained.left_out.to_dict("records"), strict=True):
        broken = [
            cost_text(bound.cost, float(row[bound.cost]))
            for bound in constrained.bounds
            if not bound.satisfied_by(float(row[bound.cost]))
        ]
        names.append(f"{label} [{', '.join(broken)}]")
    constraints = " and ".join(bound.text for bound in constrained.bounds)
    return f"Left out by the constraint {constraints}: {'; '.join(names)}."


def nothing_satisfies_message(constrained: ConstrainedStudy) -> str:
    """The verdict where every finalist violates a constraint."""
    constraints = " and ".join(bound.text for bound in constrained.bounds)
    nearest, name = constrained.left_out.iloc[0], labels_of(constrained.left_out)[0]
    costs = dict.fromkeys(bound.cost for bound in constrained.bounds)
    amounts = ", ".join(cost_text(cost, float(nearest[cost])) for cost in costs)
    return (
        f"None of {len(constrained.left_out)} finalists satisfies {constraints}; nearest is "
        f"{name} with {amounts}. A sweep with this under confirmation.prefer confirms others "
        "that do."
    )


def objective_directions(results: StudyResults) -> dict[str, str]:
    """The further objectives of a study's search and their directions; none by default."""
    return {str(k): str(v) for k, v in (results.attributes.get("objectives") or {}).items()}


def search_table(results: StudyResults) -> pd.DataFrame:
    """Complete search trials with the values of all objectives.

    Returns:
        number, key, `CONFIGURATION`, value, a column for each further objective, and `front`:
        whether no other trial is as good in all and better in one. Those on the front first,
        then by the first further objective; empty where the search had one objective.
    """
    directions = objective_directions(results)
    columns = ["number", "key", *CONFIGURATION, "value", *directions, "front"]
    rows = complete(results, "search").dropna(subset=["value"])
    if not directions or rows.empty:
        return pd.DataFrame(columns=columns)
    costs = results.costs.drop_duplicates("trial").set_index("trial")
    metrics = results.metrics[results.metrics["split"] == "validation"]
    for name in directions:
        scored = metrics[metrics["metric"] == name].set_index("trial")["value"]
        values = costs[name] if name in COSTS else scored
        rows = rows.assign(**{name: rows["number"].map(values).astype(float)})
    rows = rows.dropna(subset=[*directions])
    further = [1.0 if direction == "minimize" else -1.0 for direction in directions.values()]
    signs = [-results.objective.sign, *further]
    losses = rows[["value", *directions]].to_numpy(dtype=float) * np.array(signs)
    rows = rows.assign(front=nondominated(losses))
    first = next(iter(directions))
    return rows.sort_values(["front", first, "key"], ascending=[False, True, True])[columns]


def nondominated(losses: Array) -> NDArray[np.bool_]:
    """Rows of losses, (rows, objectives), that no other is as good as in all and better in one."""
    no_worse = (losses[:, None, :] <= losses[None, :, :]).all(axis=2)
    better = (losses[:, None, :] < losses[None, :, :]).any(axis=2)
    return np.asarray(~(no_worse & better).any(axis=0))


def spread_over_front(results: StudyResults, count: int) -> list[dict[str, Any]]:
    """Up to `count` configurations of the front, evenly spaced from the cheapest upwards.

    Those that violate a constraint of the sweep are left out.
    """
    table, tried = search_table(results), configurations(results, "search").set_index("key")
    satisfied = satisfies(tried, sweep_constraints(results))
    table = table[table["front"].astype(bool) & table["key"].map(satisfied).eq(True)]
    front = table.drop_duplicates("key").to_dict("records")
    if len(front) > count:
        indices = np.unique(np.linspace(0, len(front) - 1, max(0, count)).round().astype(int))
        front = [front[index] for index in indices]
    return [{str(name): value for name, value in row.items()} for row in front]


def front_probabilities(array: ScoreArray, objective: Objective, costs: Array) -> Array:
    """Probability of being on the front: no other configuration is as cheap and better.

    Costs are known; scores are drawn from their joint bootstrap distribution, with the same seeds
    and examples for all.

    Args:
        array: the configurations.
        objective: says which way is better.
        costs: (C,) what each costs; NaN for unknown, which is on no front.

    Returns:
        Shape (C,), NaN where cost or spread is not known.
    """
    merit = objective.sign * drawn_scores(array, objective)
    cost = np.asarray(costs, dtype=float)
    known = np.isfinite(cost) & np.isfinite(merit).all(axis=1)
    shares = np.full(len(cost), np.nan)
    for i in np.flatnonzero(known):
        rivals = known & (cost <= cost[i])
        rivals[i] = False
        ahead = merit[rivals] > merit[i] if rivals.any() else np.zeros((1, merit.shape[1]), bool)
        shares[i] = 1 - float(ahead.any(axis=0).mean())
    return shares
