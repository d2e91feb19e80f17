"""Who goes on: the search's incumbent and the finalists of the confirm stage. Judges nobody.

Choosing here may be greedy, because the confirm stage judges on fresh seeds and another split.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.ablation import all_cells, among, cells_of
from harness.analysis.comparison import CONFIDENCE, AllPairs
from harness.analysis.preferred import bounds_of, keeping
from harness.analysis.scores import complete, configurations
from harness.analysis.several import along, directions
from harness.analysis.simultaneous import all_pairs

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from harness.aggregates import Array
    from harness.results import StudyResults

_FIELDS = ("variant", "rank", "alpha", "dropout", "target_modules", "extras", "learning_rate")


def incumbent(results: StudyResults) -> pd.Series | None:
    """The best complete search trial on validation; ties to fewer parameters, then by key.

    Not to the older one: a trial that was lost and run again has a later number.

    Returns:
        Its row of `results.trials`, with `parameters` added (NaN without a cost row).
    """
    rows = complete(results, "search").dropna(subset=["value"])
    if rows.empty:
        return None
    parameters = results.costs.drop_duplicates("trial").set_index("trial")["parameters"]
    rows = rows.assign(
        parameters=rows["number"].map(parameters).astype(float),
        _loss=-results.objective.sign * rows["value"],
    )
    order = rows.sort_values(["_loss", "parameters", "key"])
    return order.iloc[0].drop("_loss")


def finalists(results: StudyResults, limit: int) -> list[dict[str, Any]]:
    """Configurations for the confirm stage, most wanted first.

    The incumbent at its cell's tuned rate, the ablation's best cell (a verdict on "the best" must
    not leave that one out), each rank of the ablation (at its tuned rate) that is not already
    shown to be worse than the best rank by more than the margin, then the Pareto front of
    validation score and trainable parameters over all cells, new ranks first. After a search for
    several objectives its own front stands for the ranks and for that front. Whatever breaks a
    bound under `confirmation.prefer` is no candidate.

    Args:
        results: the study, its ablate stage done; without one, the best search trial of each rank
            stands for it, best first.
        limit: at most so many.

    Returns:
        Fields of `TrialConfig` but the seed, budget 1.0; no configuration twice.
    """
    whole = all_cells(results)
    if whole is None:
        return _of_search(results, limit)
    table = configurations(results, "ablate").set_index("key")
    records = {str(key): dict(row) for key, row in table.iterrows()}
    kept = keeping(table, bounds_of(results))
    values = {
        key: value
        for key, value in zip(whole.cube.keys, results.objective.sign * whole.values, strict=True)
        if kept[key]
    }
    front = pareto(
        [*values], [*table.loc[[*values], "parameters"].astype(float)], [*values.values()]
    )
    front = sorted(front, key=lambda key: (-values[key], key))
    own = own_cell(results, values)
    chosen = list(dict.fromkeys(([] if own is None else [own]) + front[:1]))
    if directions(results):
        first = [_fields(records[key]) for key in chosen]
        others = [_fields(row) for row in along(results, limit - len(chosen))]
        return [*first, *(one for one in others if one not in first)][: max(0, limit)]
    ranks = {records[key]["rank"] for key in chosen}
    order = _ranks(results, whole, values) + front
    for key in dict.fromkeys(order):
        if records[key]["rank"] not in ranks:
            ranks.add(records[key]["rank"])
            chosen.append(key)
    chosen += [key for key in dict.fromkeys(order) if key not in chosen]
    return [_fields(records[key]) for key in chosen[: max(0, limit)]]


def _of_search(results: StudyResults, limit: int) -> list[dict[str, Any]]:
    rows = complete(results, "search").dropna(subset=["value"])
    table = configurations(results, "search").set_index("key")
    rows = rows[rows["key"].map(keeping(table, bounds_of(results))).astype(bool)]
    if directions(results):
        return [_fields(row) for row in along(results, limit)]
    order = rows.assign(_loss=-results.objective.sign * rows["value"])
    best = order.sort_values(["_loss", "rank", "key"]).drop_duplicates("rank")
    return [_fields(row) for _, row in best.head(max(0, limit)).iterrows()]


def pareto(
    keys: Sequence[str], costs: Sequence[float] | Array, values: Sequence[float]
) -> list[str]:
    """Keys that no other one beats: none is as cheap and better, or cheaper and as good."""
    cost, value = np.asarray(costs, dtype=float), np.asarray(values, dtype=float)
    front = []
    for i, key in enumerate(keys):
        no_worse = (cost <= cost[i]) & (value >= value[i])
        better = (cost < cost[i]) | (value > value[i])
        if not (no_worse & better).any():
            front.append(key)
    return front


def inferior(differences: Array, margin: float) -> NDArray[np.bool_]:
    """Which configurations are shown to be worse than another one by more than the margin.

    Args:
        differences: (C, C) upper bounds of row minus column, better being more.
        margin: of practical equivalence.
    """
    return np.asarray((differences < -margin).any(axis=1))


def own_cell(results: StudyResults, keys: Collection[str]) -> str | None:
    """The key of the incumbent's cell, at its tuned rate; None if it is none of these.

    Args:
        results: the study.
        keys: of the cells that count.
    """
    noted = results.attributes.get("incumbent") or {}
    for cell in results.attributes.get("cells") or ():
        same = all((cell["config"].get(x) or "") == (noted.get(x) or "") for x in _FIELDS[:-1])
        if noted and same and cell["key"] in keys:
            return str(cell["key"])
    return None


def _ranks(results: StudyResults, whole: AllPairs, values: Mapping[str, float]) -> list[str]:
    keys = [str(cell["key"]) for cell in cells_of(results, "rank")]
    keys = [key for key in dict.fromkeys(keys) if key in values]
    if not keys:
        return []
    bounds = all_pairs(among(whole, keys), CONFIDENCE)
    out = inferior(bounds.high, results.objective.margin)
    left = [key for key, gone in zip(keys, out, strict=True) if not gone]
    return sorted(left, key=lambda key: (-values[key], key))


def configuration(row: Mapping[str, Any] | pd.Series) -> dict[str, Any]:
    """The configuration in a table's row: what a `TrialConfig` has but seed and budget."""
    return {
        "variant": str(row["variant"]),
        "rank": int(row["rank"]),
        "alpha": float(row["alpha"]),
        "dropout": float(row["dropout"]),
        "target_modules": str(row["target_modules"]),
        "learning_rate": float(row["learning_rate"]),
        "extras": str(row.get("extras") or ""),
    }


def _fields(row: Mapping[str, Any] | pd.Series) -> dict[str, Any]:
    return {**configuration(row), "budget": 1.0}
