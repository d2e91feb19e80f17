"""Verdicts and baselines as sentences with their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from harness.analysis.formatting import (
    baseline_label,
    highest,
    label_with_cost,
    metric_format,
    worse_side,
)
from harness.analysis.scores import baseline_scores

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.estimates import Estimate
    from harness.analysis.verdict import ConfirmState, RequiredSample
    from harness.results import Objective, StudyResults


def verdict_sentence(
    state: ConfirmState,
    names: Sequence[str],
    table: pd.DataFrame,
    objective: Objective,
    more: RequiredSample | None,
) -> str:
    """The verdict of a confirm stage in one sentence with its figures."""
    scores = metric_format(objective)
    count, best = len(names), state.best
    sizes = f"{state.look.seeds} seeds x {len(state.comparison.array.examples)} examples"
    level = f"{100 * (1 - state.look.total):g} % CI"
    if state.pick is None:
        gap = scores.show(-state.bounds.low[best])
        text = (
            f"None of {count} finalists is shown to be within {objective.margin_text} of the "
            f"best: {names[best]} has the {highest(objective)} score "
            f"({scores.show(state.comparison.values[best])}) but may be up to {gap} "
            f"{worse_side(objective)} another ({level}, {sizes})"
        )
        return f"{text}{_ask(more)}."
    pick = state.pick
    name = label_with_cost(names[pick], state.cost, state.costs[pick])
    if state.tie:
        widest = -float(state.bounds.low.min())
        return (
            f"All {count} finalists are within {objective.margin_text} of each other (no two "
            f"differ by more than {scores.show(widest)}, {level}, {sizes}); {name} is the "
            "cheapest."
        )
    ranks_only = len(table[["variant", "target_modules"]].drop_duplicates()) == 1
    by_rank = ranks_only and state.cost == "parameters"
    what = "has the smallest rank" if by_rank else "is the cheapest"
    rival = state.rival(pick)
    low, high = state.bounds.low[pick], state.bounds.high[pick]
    if objective.sign < 0:
        low, high = -high, -low
    gap = scores.gap(objective.sign * state.comparison.pairs.difference[pick, rival])
    compared = f"the best{' of the others' if pick == best else ''}, {names[rival]}"
    return (
        f"Of {count} finalists {name} {what} that is shown to be not more than "
        f"{objective.margin_text} {worse_side(objective)} the best (difference to {compared}: "
        f"{gap}, {level} {scores.gap_interval(low, high)}, {sizes})."
    )


def more_seeds(count: int) -> str:
    """`1 more seed`, `27 more seeds`."""
    return f"{count} more seed{'s' * (count != 1)}"


def _ask(more: RequiredSample | None) -> str:
    if more is None or (more.seeds is None and more.examples is None):
        return ""
    if more.seeds is not None:
        return f"; about {more_seeds(more.seeds)} would decide it with 80 % power"
    return (
        f"; more seeds alone cannot decide it, a test split of about {more.examples:,} "
        "examples might"
    )


def single_configuration_sentence(label: str, score: Estimate, objective: Objective) -> str:
    """The sentence for a single confirmed configuration, or for several with one seed each."""
    scores = metric_format(objective)
    if score.seeds < 2:
        return (
            "No configuration has two confirmed seeds yet, so nothing can be compared; best so "
            f"far on test is {label} with {scores.show(score.value)} {scores.unit}, one seed."
        )
    return (
        f"{label} is the only configuration with two confirmed seeds or more "
        f"({scores.show(score.value)} {scores.unit}, {score.seeds} seeds x {score.examples} "
        "examples): there is nothing to compare it with."
    )


def search_sentence(label: str, value: float, trials: int, objective: Objective) -> str:
    """The sentence for a study without a confirm stage."""
    scores = metric_format(objective)
    return (
        f"Nothing was confirmed on fresh seeds and the test split; the best of {trials} search "
        f"trial{'s' if trials != 1 else ''} is {label} with {scores.show(value)} {scores.unit} on "
        "validation, one seed: as the best of a search it is optimistically biased."
    )


class AblationSummary(NamedTuple):
    """The best cell of an ablation, for `ablation_sentence`; scores in the metric's own unit.

    Attributes:
        label: its name.
        value: its mean score.
        cells: how many are compared.
        seeds: seeds of the cell that has most.
        examples: examples of the split.
        reference: name of the reference; None if it has no complete trial.
        difference: best less reference, low and high; None where they are the same.
        good: cells shown to be no worse than the best by more than the margin.
        planned: whether the sweep asks for no confirmation.
    """

    label: str
    value: float
    cells: int
    seeds: int
    examples: int
    reference: str | None
    difference: tuple[float, float, float] | None
    good: int
    planned: bool


def ablation_sentence(summary: AblationSummary, objective: Objective) -> str:
    """The sentence for a study that has an ablation alone."""
    scores = metric_format(objective)
    begin = "As planned, nothing was" if summary.planned else "Nothing was"
    text = (
        f"{begin} confirmed on the test split. On validation {summary.label} has the "
        f"{highest(objective)} mean of {summary.cells} configurations, each at its own "
        f"learning rate ({scores.show(summary.value)} {scores.unit}, {summary.seeds} seeds x "
        f"{summary.examples} examples)"
    )
    if summary.difference is not None:
        gap, low, high = summary.difference
        text += (
            f"; difference to the reference, {summary.reference}: {scores.gap(gap)}, "
            f"joint 95 % CI {scores.gap_interval(low, high)}"
        )
    elif summary.reference is not None:
        text += "; it is the reference itself"
    some = "None" if summary.good == 0 else str(summary.good)
    verb = "is" if summary.good < 2 else "are"
    return (
        f"{text}. {some} of the {summary.cells} {verb} shown to be not more than "
        f"{objective.margin_text} {worse_side(objective)} the best."
    )


def baselines_sentence(results: StudyResults, split: str = "test") -> str:
    """What is reached on a split without an adapter; empty where no baseline was scored."""
    scores = metric_format(results.objective)
    scored = sorted(baseline_scores(results, split).items())
    values = ", ".join(f"{baseline_label(name)} {scores.show(value)}" for name, value in scored)
    return f"Without an adapter, {split} split: {values} {scores.unit}." if values else ""


def no_gain_sentence(best: float, base: float, objective: Objective) -> str:
    """The sentence for finalists none of which beats the base model."""
    scores = metric_format(objective)
    return (
        f"No finalist scores better than the base model without an adapter ({scores.show(best)} "
        f"against {scores.show(base)} {scores.unit} on test): nothing was learned, so there is "
        "nothing to choose between; train for longer, or widen the learning rates."
    )


def baselines_ahead_sentence(naive: Mapping[str, float], best: float, objective: Objective) -> str:
    """The sentence for finalists that are no better than baselines without a model.

    `naive` are the scores of these by name, the best first; `best` is the best finalist's.
    """
    scores = metric_format(objective)
    named = [f"{name.replace('_', ' ')} ({scores.show(value)})" for name, value in naive.items()]
    verb = "needs" if len(named) == 1 else "need"
    return (
        f"But no finalist is better (the best has {scores.show(best)} {scores.unit}) than "
        f"{' and '.join(named)}, which {verb} no model: train for longer, on more rows or a "
        "larger base model before choosing."
    )
