"""The chain from trial numbers to the verdict, step by step, for `pick --explain` and the page.

Each figure is one that the recommendation is based on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from harness.analysis.cost import STAGES
from harness.analysis.estimates import VarianceComponents, estimates_of, variance_components
from harness.analysis.formatting import (
    COST_NAMES,
    cost_text,
    highest,
    labels_of,
    metric_format,
    worse_side,
)
from harness.analysis.multiple_comparisons import confidence_set
from harness.analysis.pareto import apply_constraints, left_out_sentence
from harness.analysis.scores import cached_per_study, complete, configurations
from harness.analysis.verdict import STAGE, ConfirmState, alpha_spending, confirm_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.costs import Constraint
    from harness.results import StudyResults

#: From this correlation over seeds on, pairing by seed removes a third of the variance.
_HELPS: Final = 1 / 3
#: More trial numbers than these are counted, not listed.
_NAMED = 12


class Step(NamedTuple):
    """One step of the chain: what it is, and its lines."""

    title: str
    lines: tuple[str, ...]


@cached_per_study
def explain(
    results: StudyResults, cost: str | None = None, prefer: Sequence[Constraint] = ()
) -> list[Step]:
    """The steps, as far as the study has come.

    The pick is to be the cheapest by `cost` (the sweep's by default), under the sweep's own
    constraints and those of `prefer`.
    """
    steps = [Step("trials", tuple(_trials(results)))]
    selection = _selection(results)
    if selection:
        steps.append(Step("finalists and their origin", tuple(selection)))
    constrained = apply_constraints(results, prefer)
    results = constrained.results
    if len(constrained.left_out):
        steps.append(Step("constraints", (left_out_sentence(constrained),)))
    state = confirm_state(results, cost=cost)
    if state is None:
        lines = ("Fewer than two configurations have two confirmed seeds: nothing is compared.",)
        return [*steps, Step("scores on test", lines)]
    table = configurations(results, STAGE).set_index("key", drop=False)
    names = labels_of(table.loc[list(state.comparison.array.keys)])
    components = variance_components(state.comparison.array, results.objective)
    further = {
        "scores on test": _scores(results, state, names),
        "variance components": _spread(results, components),
        "look and alpha spending": _look(results, state),
        "each against the best of the others": _bounds(results, state, names),
        "model confidence set": _set(state, names),
        "decision rule": _rule(results, state, names),
    }
    return [*steps, *(Step(title, tuple(lines)) for title, lines in further.items())]


def _numbers(numbers: Sequence[int]) -> str:
    if len(numbers) > _NAMED:
        return f"{len(numbers)} trials, {min(numbers)} to {max(numbers)}"
    return ", ".join(map(str, sorted(numbers)))


def _trials(results: StudyResults) -> list[str]:
    lines = []
    for stage in STAGES:
        rows = results.trials[results.trials["stage"] == stage]
        if rows.empty:
            continue
        counts = rows["state"].value_counts()
        states = ", ".join(f"{counts[state]} {state}" for state in counts.index)
        repeated = int(rows["duplicate_of"].notna().sum())
        duplicates = f", {repeated} of them duplicates" if repeated else ""
        lines.append(
            f"{stage}: {states}{duplicates}; {_numbers([int(n) for n in rows['number']])}"
        )
    return lines or ["none yet"]


def _selection(results: StudyResults) -> list[str]:
    lines = []
    incumbent = results.attributes.get("incumbent")
    if incumbent:
        best = complete(results, "search").dropna(subset=["value"])
        scores = metric_format(results.objective)
        if len(best):
            order = (results.objective.sign * best["value"]).sort_values(ascending=False)
            row = best.loc[order.index[0]]
            lines.append(
                f"incumbent: search trial {int(row['number'])}, {scores.show(row['value'])} "
                f"{scores.unit} on validation, the {highest(results.objective)} of {len(best)}"
            )
        else:
            lines.append("incumbent: the configuration that the sweep names (ablation.centre)")
    table = configurations(results, STAGE)
    for name, key in zip(labels_of(table), table["key"], strict=True):
        rows = complete(results, "ablate")
        ablation_trials = [int(n) for n in rows.loc[rows["key"] == key, "number"]]
        origin = f"ablation, trials {_numbers(ablation_trials)}" if ablation_trials else "search"
        lines.append(f"finalist: {name}, from the {origin}")
    return lines


def _scores(results: StudyResults, state: ConfirmState, names: Sequence[str]) -> list[str]:
    scores = metric_format(results.objective)
    intervals = estimates_of(state.comparison.array, results.objective).set_index("key")
    rows = complete(results, STAGE)
    lines = [
        f"mean over seeds of the score over all {len(state.comparison.array.examples)} examples, "
        "with its 95 % confidence interval; seeds and examples are the same for all"
    ]
    for name, key in zip(names, state.comparison.array.keys, strict=True):
        trials = rows[rows["key"] == key]
        value, low, high = (float(intervals.loc[key, x]) for x in ("value", "low", "high"))  # type: ignore[arg-type]
        numbers = _numbers([int(number) for number in trials["number"]])
        by_seed = " ".join(scores.show(value) for value in trials["test"].astype(float))
        lines.append(
            f"{name}: {scores.show(value)} ({scores.interval(low, high)}); "
            f"trials {numbers}: {by_seed}"
        )
    return lines


def _spread(results: StudyResults, components: VarianceComponents) -> list[str]:
    scores = metric_format(results.objective)
    lines = [
        "standard deviation of one configuration's score over training seeds (seed noise): "
        f"{scores.show(components.seed)} {scores.unit}; over examples, with the adapters fixed: "
        f"{scores.show(components.example)}; between configurations: "
        f"{scores.show(components.configuration)}"
    ]
    if math.isfinite(components.equal):
        pooling = "may be pooled"
        if not components.pooled:
            pooling = "differ: each configuration keeps its own"
        lines.append(
            f"equal variance over seeds: p = {components.equal:.2g}, so variances {pooling}"
        )
    if math.isfinite(components.correlation):
        benefit = "helps a little" if components.correlation > 0 else "does not help"
        benefit = "helps" if components.correlation > _HELPS else benefit
        lines.append(
            "mean correlation of two configurations over shared seeds: "
            f"{components.correlation:+.2f} (pairing by seed {benefit} here)"
        )
    return lines


def _look(results: StudyResults, state: ConfirmState) -> list[str]:
    settings = results.sweep.get("confirmation") or {}
    looks = [int(look) for look in settings.get("looks") or [state.look.planned]]
    spending = ", ".join(
        f"{look} seeds {share:.4g}"
        for look, share in zip(looks, alpha_spending(looks, state.look.total), strict=True)
    )
    return [
        f"error probability of {state.look.total:g} in total, planned in advance: {spending}",
        f"this is the look at {state.look.planned} seeds ({state.look.seeds} complete): bounds at "
        f"{100 * (1 - state.look.alpha):.4g} %",
    ]


def _bounds(results: StudyResults, state: ConfirmState, names: Sequence[str]) -> list[str]:
    scores = metric_format(results.objective)
    lines = [
        f"margin {results.objective.margin_text}; signs are such that positive is better, "
        "whatever the metric's direction"
    ]
    pairs, low = state.comparison.pairs, state.bounds.low
    for i, name in enumerate(names):
        rival = state.rival(i)
        lines.append(
            f"{name}: {scores.gap(pairs.difference[i, rival])} to {names[rival]}, standard error "
            f"{scores.show(pairs.error[i, rival])}, quantile {state.bounds.critical[rival]:.2f}; "
            f"not more than {scores.show(-low[i])} behind the best: {_verdict(state, i)}"
        )
    return lines


def _verdict(state: ConfirmState, index: int) -> str:
    if state.non_inferior[index]:
        return "non-inferior"
    return "worse" if state.worse[index] else "undecided"


def _set(state: ConfirmState, names: Sequence[str]) -> list[str]:
    mcs = confidence_set(state.comparison.pairs, state.look.alpha)
    order = np.argsort(-mcs.p_values, kind="stable")
    return [
        f"{names[i]}: p = {mcs.p_values[i]:.3g}, "
        f"{'in' if mcs.inside[i] else 'not in'} the model confidence set"
        for i in order
    ]


def _rule(results: StudyResults, state: ConfirmState, names: Sequence[str]) -> list[str]:
    objective = results.objective
    order = np.lexsort((-state.scores, state.costs))
    lines = [
        f"the cheapest (by {COST_NAMES[state.cost]}) that is shown to be not more than "
        f"{objective.margin_text} {worse_side(objective)} the best"
    ]
    for i in order:
        picked = ", picked" if i == state.pick else ""
        lines.append(
            f"{cost_text(state.cost, state.costs[i])}: {names[i]}: {_verdict(state, i)}{picked}"
        )
    if state.pick is None:
        lines.append("none is shown to be non-inferior: undecided")
    elif state.tie:
        lines.append("all are non-inferior: a tie")
    return lines
