"""The front of a search for several objectives: trials that no other one beats in all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.analysis.preferred import bounds_of, keeping
from harness.analysis.scores import CONFIGURATION, complete, configurations
from harness.costs import COSTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.aggregates import Array
    from harness.results import StudyResults


def directions(results: StudyResults) -> dict[str, str]:
    """The further objectives of a study's search and their directions; none by default."""
    return {str(k): str(v) for k, v in (results.attributes.get("objectives") or {}).items()}


def search_table(results: StudyResults) -> pd.DataFrame:
    """Complete search trials with all that they were to be good at.

    Returns:
        number, key, `CONFIGURATION`, value, a column for each further objective, and `front`:
        whether no other trial is as good in all and better in one. Those on the front first,
        then by the first further objective; empty where the search had one objective.
    """
    others = directions(results)
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


def along(results: StudyResults, count: int) -> list[dict[str, Any]]:
    """Configurations of the front, evenly from its cheap end to its dear one.

    Args:
        results: the study; those that break a bound of its sweep are left out.
        count: at most so many.
    """
    table = search_table(results)
    kept = keeping(configurations(results, "search").set_index("key"), bounds_of(results))
    table = table[table["front"].astype(bool) & table["key"].map(kept).eq(True)]
    front = table.drop_duplicates("key").to_dict("records")
    if len(front) <= count:
        chosen = front
    else:
        places = np.unique(np.linspace(0, len(front) - 1, max(0, count)).round().astype(int))
        chosen = [front[place] for place in places]
    return [{str(name): value for name, value in row.items()} for row in chosen]
