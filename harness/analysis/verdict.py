"""The decision rule of a study: the incumbent, the finalists, and the pick of the confirm stage.

A finalist is non-inferior if its simultaneous lower bound against the best of the others (Hsu
1984) is above minus the margin, worse if another one is shown to be better by more than the margin
(joint bounds of all pairs), and undecided otherwise. The pick is the cheapest non-inferior one.
The error probability is spent over the looks planned in the sweep.

Finalists may be chosen greedily on validation scores: the confirm stage judges them on fresh seeds
and the test split.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from scipy.special import ndtri

from harness.analysis.ablation import all_cells, cells_of, subset
from harness.analysis.estimates import CONFIDENCE, PairwiseComparison, compare_all_pairs
from harness.analysis.multiple_comparisons import (
    AgainstBest,
    Bounds,
    against_best,
    all_pairs_bounds,
)
from harness.analysis.pareto import (
    apply_constraints,
    nondominated,
    objective_directions,
    satisfies,
    spread_over_front,
    sweep_constraints,
)
from harness.analysis.scores import complete, configurations, score_array
from harness.costs import COSTS

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from harness.aggregates import Array
    from harness.results import Objective, StudyResults


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
    """Configurations for the confirm stage, the most important first.

    The incumbent at its cell's tuned rate, the ablation's best cell (a verdict on "the best" must
    not leave that one out), each rank of the ablation (at its tuned rate) that is not already
    shown to be worse than the best rank by more than the margin, then the Pareto front of
    validation score and trainable parameters over all cells, new ranks first. After a search for
    several objectives its own front stands for the ranks and for that front. Whatever violates a
    constraint of `confirmation.prefer` is no candidate.

    Args:
        results: the study, its ablate stage done; without one, the best search trial of each rank
            stands for it, best first.
        limit: at most so many.

    Returns:
        Fields of `TrialConfig` but the seed, budget 1.0; no configuration twice.
    """
    comparison = all_cells(results)
    if comparison is None:
        return _of_search(results, limit)
    table = configurations(results, "ablate").set_index("key")
    records = {str(key): dict(row) for key, row in table.iterrows()}
    satisfied = satisfies(table, sweep_constraints(results))
    merits = results.objective.sign * comparison.values
    values = dict(zip(comparison.array.keys, merits, strict=True))
    values = {key: value for key, value in values.items() if satisfied[key]}
    parameters = table.loc[[*values], "parameters"].to_numpy(dtype=float)
    on_front = nondominated(np.column_stack([parameters, -np.array([*values.values()])]))
    front = sorted(itertools.compress(values, on_front), key=lambda key: (-values[key], key))
    incumbent_key = incumbent_cell(results, values)
    selected = list(dict.fromkeys(([] if incumbent_key is None else [incumbent_key]) + front[:1]))
    if objective_directions(results):
        first = [_fields(records[key]) for key in selected]
        from_front = [_fields(row) for row in spread_over_front(results, limit - len(selected))]
        return [*first, *(fields for fields in from_front if fields not in first)][: max(0, limit)]
    ranks = {records[key]["rank"] for key in selected}
    order = _ranks(results, comparison, values) + front
    for key in dict.fromkeys(order):
        if records[key]["rank"] not in ranks:
            ranks.add(records[key]["rank"])
            selected.append(key)
    selected += [key for key in dict.fromkeys(order) if key not in selected]
    return [_fields(records[key]) for key in selected[: max(0, limit)]]


def _of_search(results: StudyResults, limit: int) -> list[dict[str, Any]]:
    rows = complete(results, "search").dropna(subset=["value"])
    table = configurations(results, "search").set_index("key")
    rows = rows[rows["key"].map(satisfies(table, sweep_constraints(results))).astype(bool)]
    if objective_directions(results):
        return [_fields(row) for row in spread_over_front(results, limit)]
    order = rows.assign(_loss=-results.objective.sign * rows["value"])
    best = order.sort_values(["_loss", "rank", "key"]).drop_duplicates("rank")
    return [_fields(row) for _, row in best.head(max(0, limit)).iterrows()]


def inferior(differences: Array, margin: float) -> NDArray[np.bool_]:
    """Which configurations are shown to be worse than another one by more than the margin.

    `differences` (C, C) are upper bounds of row minus column, better being more.
    """
    return np.asarray((differences < -margin).any(axis=1))


def incumbent_cell(results: StudyResults, keys: Collection[str]) -> str | None:
    """The key of the incumbent's cell, at its tuned rate; None if it is none of these."""
    recorded = results.attributes.get("incumbent") or {}
    for cell in results.attributes.get("cells") or ():
        same = all((cell["config"].get(x) or "") == (recorded.get(x) or "") for x in _FIELDS[:-1])
        if recorded and same and cell["key"] in keys:
            return str(cell["key"])
    return None


def _ranks(
    results: StudyResults, comparison: PairwiseComparison, values: Mapping[str, float]
) -> list[str]:
    cell_keys = dict.fromkeys(str(cell["key"]) for cell in cells_of(results, "rank"))
    keys = [key for key in cell_keys if key in values]
    if not keys:
        return []
    bounds = all_pairs_bounds(subset(comparison, keys), CONFIDENCE)
    shown_worse = inferior(bounds.high, results.objective.margin)
    return sorted(itertools.compress(keys, ~shown_worse), key=lambda key: (-values[key], key))


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


STAGE: Final = "confirm"
SPLIT: Final = "test"
#: Power at which sample sizes and detectable differences are computed.
POWER: Final = 0.8


class Look(NamedTuple):
    """The look that the confirm stage has reached.

    Attributes:
        seeds: seeds of the configuration that has most.
        planned: seeds that this look was to have.
        alpha: error probability spent at this look.
        total: error probability of all looks together.
    """

    seeds: int
    planned: int
    alpha: float
    total: float


class ConfirmState(NamedTuple):
    """What the confirm stage shows of C finalists with two seeds or more.

    Attributes:
        comparison: all pairs; in every difference more is better.
        scores: (C,) scores, more being better.
        costs: (C,) what each costs, infinite where that is not known.
        cost: by what, one of `harness.costs.COSTS`.
        look: which look this is.
        bounds: joint bounds of each against the best of the others.
        joint_bounds: (C, C) joint two-sided bounds of all differences.
        non_inferior: (C,) shown to be no worse than the best by more than the margin.
        worse: (C,) shown to be worse than another by more than the margin.
        pick: index of the cheapest non-inferior one, or None.
        tie: all are non-inferior, so no two of them differ by more than the margin.
    """

    comparison: PairwiseComparison
    scores: Array
    costs: Array
    cost: str
    look: Look
    bounds: AgainstBest
    joint_bounds: Bounds
    non_inferior: NDArray[np.bool_]
    worse: NDArray[np.bool_]
    pick: int | None
    tie: bool

    @property
    def best(self) -> int:
        """Index of the best mean score."""
        return int(np.argmax(self.scores))

    def rival(self, index: int) -> int:
        """Index of the best of all the others."""
        values = self.scores.copy()
        values[index] = -np.inf
        return int(np.argmax(values))

    @property
    def cheaper_undecided(self) -> NDArray[np.bool_]:
        """(C,) undecided and cheaper than the pick (all undecided ones, without a pick)."""
        cost = math.inf if self.pick is None else self.costs[self.pick]
        open_: NDArray[np.bool_] = ~self.non_inferior & ~self.worse & ~(self.costs >= cost)
        return open_


def alpha_spending(looks: Sequence[int], alpha: float) -> tuple[float, ...]:
    """Error to spend at each look; together they are alpha.

    The power family of Kim and DeMets (1987, Biometrika 74, eq. for rho = 2): alpha (n/N)^2 is
    spent after n of N seeds. The looks' errors are added up (Bonferroni), which holds whatever
    their correlation and whichever configurations remain. `looks` are the seeds at each, rising.
    """
    shares = [(look / looks[-1]) ** 2 for look in looks]
    return tuple(alpha * (b - a) for a, b in zip([0.0, *shares], shares, strict=False))


def current_look(results: StudyResults, alpha: float | None = None) -> Look:
    """The look that the confirm stage has reached by its number of complete seeds."""
    settings = results.sweep.get("confirmation") or {}
    trials = complete(results, STAGE)
    seeds = int(trials.groupby("key")["seed"].nunique().max()) if len(trials) else 0
    looks = [int(look) for look in settings.get("looks") or [max(1, seeds)]]
    total = float(settings.get("alpha", 0.05)) if alpha is None else alpha
    index = next((i for i, look in enumerate(looks) if seeds <= look), len(looks) - 1)
    return Look(seeds, looks[index], alpha_spending(looks, total)[index], total)


def confirm_state(
    results: StudyResults, alpha: float | None = None, cost: str | None = None
) -> ConfirmState | None:
    """What the confirm stage's test scores show.

    Args:
        results: the study.
        alpha: error probability of all looks together; the sweep's by default.
        cost: what the pick is to be the cheapest by; the sweep's by default.

    Returns:
        None unless two configurations or more have two seeds or more.
    """
    results = apply_constraints(results).results
    table = configurations(results, STAGE)
    keys = tuple(str(key) for key in table.loc[table["seeds"] >= 2, "key"])
    if len(keys) < 2:
        return None
    try:
        comparison = compare_all_pairs(score_array(results, STAGE, SPLIT, keys), results.objective)
    except ValueError:
        return None
    settings = results.sweep.get("confirmation") or {}
    cost_name = cost or str(settings.get("cost") or COSTS[0])
    costs = table.set_index("key").loc[list(comparison.array.keys), cost_name]
    known = np.nan_to_num(costs.to_numpy(dtype=float), nan=np.inf)
    look = current_look(results, alpha)
    return apply_rule(comparison, known, look, results.objective, cost_name)


def apply_rule(
    comparison: PairwiseComparison,
    costs: Array,
    look: Look,
    objective: Objective,
    cost: str = COSTS[0],
) -> ConfirmState:
    """The rule, on a comparison of finalists.

    `costs` (C,) is what each costs by `cost`; `look` is the look and its error probability.
    """
    bounds = against_best(comparison.pairs, 1 - look.alpha)
    joint = all_pairs_bounds(comparison.pairs, 1 - look.alpha)
    good = bounds.low >= -objective.margin
    scores = objective.sign * comparison.values
    pick = next((int(i) for i in np.lexsort((-scores, costs)) if good[i]), None)
    return ConfirmState(
        comparison,
        scores,
        costs,
        cost,
        look,
        bounds,
        joint,
        good,
        inferior(joint.high, objective.margin),
        pick,
        # If all are within the margin of the best, no two differ by more than it.
        bool(good.all()),
    )


def contenders(results: StudyResults, alpha: float | None = None) -> list[str]:
    """Configurations that the next look needs; none when this look has decided.

    Decided means: there is a pick, and no cheaper finalist is undecided. Otherwise the next look
    needs those that could be the best, the pick so far, and those that could become the pick:
    cheaper than it and not shown to be worse than the best by more than the margin. `alpha` is the
    error probability of all looks together, the sweep's by default.

    Returns:
        Keys, in the order they were confirmed.
    """
    state = confirm_state(results, alpha)
    return [] if state is None else next_look_keys(state)


def next_look_keys(state: ConfirmState) -> list[str]:
    """Keys of the finalists that the next look needs."""
    undecided = state.cheaper_undecided
    if state.pick is not None and not undecided.any():
        return []
    needed = state.bounds.possible | undecided
    if state.pick is not None:
        needed[state.pick] = True
    return [*itertools.compress(state.comparison.array.keys, needed)]


class RequiredSample(NamedTuple):
    """The sample size that would decide an undecided study.

    Attributes:
        seeds: more seeds for each finalist, or None if seeds alone cannot do it.
        examples: examples of the test split that it would take instead, then, else None.
    """

    seeds: int | None
    examples: int | None


def seeds_needed(state: ConfirmState, margin: float, examples: int) -> RequiredSample:
    """How many more seeds show one finalist non-inferior in 80 % of studies.

    The easiest one is taken. With its observed difference d to a rival, it is shown when the
    bound d - q se is above -margin; for power 0.8 se must be at most (margin + d)/(q + z_0.8).
    Seeds shrink se^2 = v/S + e down to e, the examples' part.
    """
    quantile, contrasts = ndtri(POWER), state.comparison.contrasts
    count = len(state.scores)
    requirements: list[tuple[float, float]] = []
    pair_index = {pair: k for k, pair in enumerate(itertools.combinations(range(count), 2))}
    for i in range(count):
        required_seeds, required_examples = 0.0, 0.0
        for j in np.flatnonzero(state.bounds.possible & (np.arange(count) != i)).tolist():
            k = pair_index[(min(i, j), max(i, j))]
            room = margin + state.comparison.pairs.difference[i, j]
            target = (room / (state.bounds.critical[j] + quantile)) ** 2 if room > 0 else 0.0
            from_seeds, from_examples = contrasts.seed_variance[k], contrasts.example_variance[k]
            if not np.isfinite(from_seeds):
                required_seeds = required_examples = math.inf
                continue
            rest = target - from_examples
            required_seeds = max(required_seeds, from_seeds / rest if rest > 0 else math.inf)
            # Half of the target for each part, if seeds alone cannot reach it.
            enough = examples * from_examples / (target / 2) if target > 0 else math.inf
            required_examples = max(required_examples, enough)
        requirements.append((required_seeds, required_examples))
    required_seeds, _ = min(requirements)
    if math.isfinite(required_seeds):
        return RequiredSample(max(1, math.ceil(required_seeds) - state.look.seeds), None)
    enough = min(examples_needed for _, examples_needed in requirements)
    return RequiredSample(None, math.ceil(enough) if math.isfinite(enough) else None)
