"""The front of a search for several objectives: trials that no other one beats in all of them.

The study as one sees it who needs a bound kept: configurations that break it do not take part.

Costs are measured, not chosen by their scores, so that leaving some out beforehand costs no error:
those that stay are a smaller family of comparisons.

How sure it is that a configuration lies on the front of quality and cost.

Costs are known; scores are drawn as the intervals have them, the same seeds and examples for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from harness.analysis.estimates import drawn_scores
from harness.analysis.formatting import cost_words, labels_of
from harness.analysis.scores import CONFIGURATION, complete, configurations
from harness.costs import COSTS, Preference, parse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.aggregates import Array
    from harness.analysis.scores import ScoreArray
    from harness.results import Objective, StudyResults


_STAGE = "confirm"


class ConstrainedStudy(NamedTuple):
    """A study under bounds.

    Attributes:
        results: without the confirmed trials of configurations that break one.
        left_out: these configurations as `configurations` has them, cheapest first.
        bounds: the bounds.
    """

    results: StudyResults
    left_out: pd.DataFrame
    bounds: tuple[Preference, ...]


def sweep_constraints(results: StudyResults) -> tuple[Preference, ...]:
    """What the sweep itself asks for under `confirmation.prefer`."""
    settings = results.sweep.get("confirmation") or {}
    return tuple(parse(str(text)) for text in settings.get("prefer") or ())


def satisfies(table: pd.DataFrame, bounds: Sequence[Preference]) -> pd.Series:
    """Which rows of a table of configurations keep all bounds."""
    kept = pd.Series(True, index=table.index)
    for bound in bounds:
        kept &= table[bound.cost].astype(float).map(bound.holds)
    return kept


def apply_constraints(
    results: StudyResults, prefer: Sequence[Preference] = ()
) -> ConstrainedStudy:
    """The study under the sweep's bounds and those given.

    Args:
        results: the study.
        prefer: further bounds.
    """
    bounds = tuple(dict.fromkeys([*sweep_constraints(results), *prefer]))
    table = configurations(results, _STAGE)
    if not bounds or table.empty:
        return ConstrainedStudy(results, table.iloc[:0], bounds)
    out = table[~satisfies(table, bounds)]
    if out.empty:
        return ConstrainedStudy(results, out, bounds)
    trials = results.trials
    gone = (trials["stage"] == _STAGE) & trials["key"].isin(out["key"])
    first = bounds[0].cost
    return ConstrainedStudy(
        replace(results, trials=trials[~gone]), out.sort_values([first, "key"]), bounds
    )


def told(found: ConstrainedStudy) -> str:
    """One sentence on what was left out; empty where nothing was."""
    if found.left_out.empty:
        return ""
    names = []
    labels = labels_of(found.left_out)
    for label, row in zip(labels, found.left_out.to_dict("records"), strict=True):
        amounts = [(bound, float(row[bound.cost])) for bound in found.bounds]
        broken = [cost_words(bound.cost, has) for bound, has in amounts if not bound.holds(has)]
        names.append(f"{label} [{', '.join(broken)}]")
    asked = " and ".join(bound.text for bound in found.bounds)
    return f"Left out by {asked}: {'; '.join(names)}."


def nothing_satisfies_message(found: ConstrainedStudy) -> str:
    """The verdict where every finalist breaks a bound."""
    asked = " and ".join(bound.text for bound in found.bounds)
    least = found.left_out.iloc[0]
    name = labels_of(found.left_out)[0]
    amounts = ", ".join(
        cost_words(cost, float(least[cost]))
        for cost in dict.fromkeys(bound.cost for bound in found.bounds)
    )
    return (
        f"None of {len(found.left_out)} finalists keeps {asked}; nearest is {name} with "
        f"{amounts}. A sweep with this under confirmation.prefer confirms others that keep it."
    )


def objective_directions(results: StudyResults) -> dict[str, str]:
    """The further objectives of a study's search and their directions; none by default."""
    return {str(k): str(v) for k, v in (results.attributes.get("objectives") or {}).items()}


def search_table(results: StudyResults) -> pd.DataFrame:
    """Complete search trials with all that they were to be good at.

    Returns:
        number, key, `CONFIGURATION`, value, a column for each further objective, and `front`:
        whether no other trial is as good in all and better in one. Those on the front first,
        then by the first further objective; empty where the search had one objective.
    """
    others = objective_directions(results)
    columns = ["number", "key", *CONFIGURATION, "value", *others, "front"]
    rows = complete(results, "search").dropna(subset=["value"])
    if not others or rows.empty:
        return pd.DataFrame(columns=columns)
    costs = results.costs.drop_duplicates("trial").set_index("trial")
    metrics = results.metrics[results.metrics["split"] == "validation"]
    for name in others:
        held = (
            costs[name]
            if name in COSTS
            else metrics[metrics["metric"] == name].set_index("trial")["value"]
        )
        rows = rows.assign(**{name: rows["number"].map(held).astype(float)})
    rows = rows.dropna(subset=[*others])
    signs = [-results.objective.sign, *(1.0 if d == "minimize" else -1.0 for d in others.values())]
    losses = rows[["value", *others]].to_numpy(dtype=float) * np.array(signs)
    rows = rows.assign(front=nondominated(losses))
    first = next(iter(others))
    return rows.sort_values(["front", first, "key"], ascending=[False, True, True])[columns]


def nondominated(losses: Array) -> NDArray[np.bool_]:
    """Which rows no other row is as good as in all columns and better than in one.

    Args:
        losses: (rows, objectives), less being better.
    """
    no_worse = (losses[:, None, :] <= losses[None, :, :]).all(axis=2)
    better = (losses[:, None, :] < losses[None, :, :]).any(axis=2)
    return np.asarray(~(no_worse & better).any(axis=0))


def spread_over_front(results: StudyResults, count: int) -> list[dict[str, Any]]:
    """Configurations of the front, evenly from its cheap end to its dear one.

    Args:
        results: the study; those that break a bound of its sweep are left out.
        count: at most so many.
    """
    table = search_table(results)
    kept = satisfies(
        configurations(results, "search").set_index("key"), sweep_constraints(results)
    )
    table = table[table["front"].astype(bool) & table["key"].map(kept).eq(True)]
    front = table.drop_duplicates("key").to_dict("records")
    if len(front) <= count:
        chosen = front
    else:
        places = np.unique(np.linspace(0, len(front) - 1, max(0, count)).round().astype(int))
        chosen = [front[place] for place in places]
    return [{str(name): value for name, value in row.items()} for row in chosen]


def front_probabilities(cube: ScoreArray, objective: Objective, costs: Array) -> Array:
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
