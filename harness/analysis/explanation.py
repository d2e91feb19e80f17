"""The whole chain from trial numbers to the verdict, step by step in words and figures.

Computes nothing that the recommendation does not: each figure is one that the verdict rests on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from harness.analysis.estimates import VarianceComponents, estimates_of, variance_components
from harness.analysis.formatting import (
    BY_COST,
    cost_words,
    highest,
    labels_of,
    metric_format,
    worse_side,
)
from harness.analysis.multiple_comparisons import confidence_set
from harness.analysis.pareto import apply_constraints, told
from harness.analysis.scores import cached_per_study, complete, configurations
from harness.analysis.verdict import STAGE, ConfirmState, alpha_spending, confirm_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.costs import Preference
    from harness.results import StudyResults

_STAGES = ("search", "tune", "ablate", "full", "claim", "confirm")
#: A correlation over seeds from which on pairing by seed takes a third of the variance away.
_HELPS: Final = 1 / 3
#: More trial numbers than these are told by their count.
_NAMED = 12


class Step(NamedTuple):
    """One step of the chain: what it is, and its lines."""

    title: str
    lines: tuple[str, ...]


@cached_per_study
def explain(
    results: StudyResults, cost: str | None = None, prefer: Sequence[Preference] = ()
) -> list[Step]:
    """The steps, as far as the study has come.

    Args:
        results: the study.
        cost: what the pick is to be the cheapest by; the sweep's by default.
        prefer: bounds to keep beside the sweep's own.
    """
    steps = [Step("trials", tuple(_trials(results)))]
    chosen = _chosen(results)
    if chosen:
        steps.append(Step("who was confirmed, and why", tuple(chosen)))
    inside = apply_constraints(results, prefer)
    results = inside.results
    if len(inside.left_out):
        steps.append(Step("who keeps the bounds", (told(inside),)))
    now = confirm_state(results, cost=cost)
    if now is None:
        lines = ("No two configurations have two confirmed seeds: nothing is compared.",)
        return [*steps, Step("scores on test", lines)]
    table = configurations(results, STAGE).set_index("key", drop=False)
    names = labels_of(table.loc[list(now.whole.cube.keys)].reset_index(drop=True))
    steps.append(Step("scores on test", tuple(_scores(results, now, names))))
    split = variance_components(now.whole.cube, results.objective)
    steps.append(Step("where scores differ", tuple(_spread(results, split))))
    steps.append(Step("the look, and what it may spend", tuple(_look(results, now))))
    steps.append(Step("each against the best of the others", tuple(_bounds(results, now, names))))
    steps.append(Step("who may be the best", tuple(_set(now, names))))
    steps.append(Step("the rule", tuple(_rule(results, now, names))))
    return steps


def _numbers(numbers: Sequence[int]) -> str:
    if len(numbers) > _NAMED:
        return f"{len(numbers)} trials, {min(numbers)} to {max(numbers)}"
    return ", ".join(map(str, sorted(numbers)))


def _trials(results: StudyResults) -> list[str]:
    lines = []
    for stage in _STAGES:
        rows = results.trials[results.trials["stage"] == stage]
        if rows.empty:
            continue
        counts = rows["state"].value_counts()
        told = ", ".join(f"{counts[state]} {state}" for state in counts.index)
        repeated = int(rows["duplicate_of"].notna().sum())
        twice = f", {repeated} of them repeats" if repeated else ""
        lines.append(f"{stage}: {told}{twice}; {_numbers([int(n) for n in rows['number']])}")
    return lines or ["none yet"]


def _chosen(results: StudyResults) -> list[str]:
    lines = []
    noted = results.attributes.get("incumbent")
    if noted:
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
            lines.append("incumbent: the centre that the sweep names")
    table = configurations(results, STAGE)
    for name, key in zip(labels_of(table), table["key"], strict=True):
        rows = complete(results, "ablate")
        own = [int(n) for n in rows.loc[rows["key"] == key, "number"]]
        where = f"ablation, trials {_numbers(own)}" if own else "search"
        lines.append(f"finalist: {name}, from the {where}")
    return lines


def _scores(results: StudyResults, now: ConfirmState, names: Sequence[str]) -> list[str]:
    scores = metric_format(results.objective)
    found = estimates_of(now.whole.cube, results.objective).set_index("key")
    rows = complete(results, STAGE)
    lines = [
        f"{len(now.whole.cube.examples)} examples; the mean over seeds of the score over all "
        "examples, with its 95 % interval; seeds and examples are the same for all"
    ]
    for name, key in zip(names, now.whole.cube.keys, strict=True):
        own = rows[rows["key"] == key]
        value, low, high = (float(found.loc[key, x]) for x in ("value", "low", "high"))  # type: ignore[arg-type]
        numbers = _numbers([int(number) for number in own["number"]])
        each = " ".join(scores.show(value) for value in own["test"].astype(float))
        lines.append(
            f"{name}: {scores.show(value)} ({scores.show(low)} to {scores.show(high)}); "
            f"trials {numbers}: {each}"
        )
    return lines


def _spread(results: StudyResults, split: VarianceComponents) -> list[str]:
    scores = metric_format(results.objective)
    lines = [
        f"one configuration over training seeds (the noise floor): sd {scores.show(split.seed)} "
        f"{scores.unit}; over examples, the adapters fixed: sd {scores.show(split.example)}; "
        f"between configurations: sd {scores.show(split.configuration)}"
    ]
    if math.isfinite(split.equal):
        told = "may be pooled" if split.pooled else "are not alike: each counts by itself"
        lines.append(f"equal spread over seeds: p = {split.equal:.2g}, so spreads {told}")
    if math.isfinite(split.correlation):
        gain = "helps a little" if split.correlation > 0 else "does not help"
        gain = "helps" if split.correlation > _HELPS else gain
        lines.append(
            f"mean correlation of two configurations over shared seeds: {split.correlation:+.2f} "
            f"(pairing by seed {gain} here)"
        )
    return lines


def _look(results: StudyResults, now: ConfirmState) -> list[str]:
    settings = results.sweep.get("confirmation") or {}
    looks = [int(look) for look in settings.get("looks") or [now.look.planned]]
    each = ", ".join(
        f"{look} seeds {share:.4g}"
        for look, share in zip(looks, alpha_spending(looks, now.look.total), strict=True)
    )
    return [
        f"error of {now.look.total:g} in all, laid down beforehand: {each}",
        f"this is the look at {now.look.planned} seeds ({now.look.seeds} there): bounds at "
        f"{100 * (1 - now.look.alpha):.4g} %",
    ]


def _bounds(results: StudyResults, now: ConfirmState, names: Sequence[str]) -> list[str]:
    scores = metric_format(results.objective)
    lines = [
        f"margin {results.objective.margin_told}; better is more here, whatever the metric's "
        "direction"
    ]
    for i, name in enumerate(names):
        rival = now.rival(i)
        told = "not worse" if now.good[i] else "worse" if now.worse[i] else "open"
        lines.append(
            f"{name}: {scores.gap(now.whole.pairs.difference[i, rival])} to {names[rival]}, "
            f"standard error {scores.show(now.whole.pairs.error[i, rival])}, quantile "
            f"{now.bounds.critical[rival]:.2f}; not more than {scores.show(-now.bounds.low[i])} "
            f"behind the best: {told}"
        )
    return lines


def _set(now: ConfirmState, names: Sequence[str]) -> list[str]:
    found = confidence_set(now.whole.pairs, now.look.alpha)
    order = np.argsort(-found.p_values, kind="stable")
    return [
        f"{names[i]}: p = {found.p_values[i]:.3g}, "
        f"{'in' if found.inside[i] else 'not in'} the model confidence set"
        for i in order
    ]


def _rule(results: StudyResults, now: ConfirmState, names: Sequence[str]) -> list[str]:
    objective = results.objective
    order = np.lexsort((-now.scores, now.costs))
    lines = [
        f"the cheapest (by {BY_COST[now.cost]}) that is shown to be not more than "
        f"{objective.margin_told} {worse_side(objective)} the best"
    ]
    for i in order:
        told = "not worse" if now.good[i] else "worse" if now.worse[i] else "open"
        picked = ", picked" if i == now.pick else ""
        lines.append(f"{cost_words(now.cost, now.costs[i])}: {names[i]}: {told}{picked}")
    if now.pick is None:
        lines.append("none is shown to be good enough: undecided")
    elif now.tie:
        lines.append("all are: a tie, any will do")
    return lines
