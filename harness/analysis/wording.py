"""Verdicts in words and figures that people read. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from harness.analysis.formatting import baseline_label, highest, metric_format, priced, worse_side
from harness.analysis.scores import baseline_scores

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.estimates import Estimate
    from harness.analysis.verdict import ConfirmState, Needed
    from harness.results import Objective, StudyResults


def evidence(
    now: ConfirmState,
    names: Sequence[str],
    table: pd.DataFrame,
    objective: Objective,
    more: Needed | None,
) -> str:
    """The verdict of a confirm stage in one sentence with its figures."""
    scores = metric_format(objective)
    count, best = len(names), now.best
    sizes = f"{now.look.seeds} seeds x {len(now.whole.cube.examples)} examples"
    level = f"{100 * (1 - now.look.total):g} % CI"
    if now.pick is None:
        gap = scores.show(-now.bounds.low[best])
        text = (
            f"None of {count} finalists is shown to be within {objective.margin_told} of the "
            f"best: {names[best]} has the {highest(objective)} score "
            f"({scores.show(now.whole.values[best])}) but may be up to {gap} "
            f"{worse_side(objective)} another ({level}, {sizes})"
        )
        return f"{text}{_ask(more)}."
    pick = now.pick
    name = priced(names[pick], now.cost, now.costs[pick])
    if now.tie:
        widest = -float(now.bounds.low.min())
        return (
            f"All {count} finalists are within {objective.margin_told} of each other (no two "
            f"differ by more than {scores.show(widest)}, {level}, {sizes}); {name} is the "
            "cheapest, and any of them will do."
        )
    ranks_only = len(table[["variant", "target_modules"]].drop_duplicates()) == 1
    what = "is the cheapest"
    if ranks_only and now.cost == "parameters":
        what = "has the smallest rank"
    rival = now.rival(pick)
    low, high = now.bounds.low[pick], now.bounds.high[pick]
    if objective.sign < 0:
        low, high = -high, -low
    gap = scores.gap(objective.sign * now.whole.pairs.difference[pick, rival])
    other = f"the best, {names[rival]}"
    if pick == best:
        other = f"the best of the others, {names[rival]}"
    return (
        f"Of {count} finalists {name} {what} that is shown to be not more than "
        f"{objective.margin_told} {worse_side(objective)} the best (difference to {other}: {gap}, "
        f"{level} {scores.gap_interval(low, high)}, {sizes})."
    )


def more_seeds(count: int) -> str:
    """`1 more seed`, `27 more seeds`."""
    return f"{count} more seed{'s' * (count != 1)}"


def _ask(more: Needed | None) -> str:
    if more is None or (more.seeds is None and more.examples is None):
        return ""
    if more.seeds is not None:
        return f"; about {more_seeds(more.seeds)} would decide it in 80 % of studies"
    return (
        f"; more seeds alone cannot decide it, a test split of about {more.examples:,} "
        "examples might"
    )


def alone(label: str, found: Estimate, objective: Objective) -> str:
    """The sentence for a single confirmed configuration, or for several with one seed each."""
    scores = metric_format(objective)
    if found.seeds < 2:
        return (
            "No configuration has two confirmed seeds yet, so nothing can be compared; best so "
            f"far on test is {label} with {scores.show(found.value)} {scores.unit}, one seed."
        )
    return (
        f"{label} is the only configuration with two confirmed seeds or more "
        f"({scores.show(found.value)} {scores.unit}, {found.seeds} seeds x {found.examples} "
        "examples): there is nothing to compare it with."
    )


def search_only(label: str, value: float, trials: int, objective: Objective) -> str:
    """The sentence for a study without a confirm stage."""
    scores = metric_format(objective)
    return (
        f"Nothing was confirmed on fresh seeds and the test split; the best of {trials} search "
        f"trial{'s' if trials != 1 else ''} is {label} with {scores.show(value)} {scores.unit} on "
        "validation, one seed: the winner of a search looks better than it is."
    )


class Ablated(NamedTuple):
    """The best cell of an ablation, for `ablated_only`; scores in the metric's own unit.

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


def ablated_only(found: Ablated, objective: Objective) -> str:
    """The sentence for a study that has an ablation alone."""
    scores = metric_format(objective)
    begin = "By plan nothing was" if found.planned else "Nothing was"
    text = (
        f"{begin} confirmed on the test split. On validation {found.label} has the "
        f"{highest(objective)} mean of {found.cells} configurations, each at its own "
        f"learning rate ({scores.show(found.value)} {scores.unit}, {found.seeds} seeds x "
        f"{found.examples} examples)"
    )
    if found.difference is not None:
        gap, low, high = found.difference
        text += (
            f"; difference to the reference, {found.reference}: {scores.gap(gap)}, joint 95 % CI "
            f"{scores.gap_interval(low, high)}"
        )
    elif found.reference is not None:
        text += "; it is the reference itself"
    some = "None" if found.good == 0 else str(found.good)
    verb = "is" if found.good < 2 else "are"
    return (
        f"{text}. {some} of the {found.cells} {verb} shown to be not more than "
        f"{objective.margin_told} {worse_side(objective)} the best."
    )


def baselines_sentence(results: StudyResults, split: str = "test") -> str:
    """What is reached on a split without an adapter; empty where no baseline was scored."""
    scores = metric_format(results.objective)
    values = [
        f"{baseline_label(name)} {scores.show(value)}"
        for name, value in sorted(baseline_scores(results, split).items())
    ]
    if not values:
        return ""
    return f"Without an adapter, {split} split: {', '.join(values)} {scores.unit}."


def no_gain(best: float, bare: float, objective: Objective) -> str:
    """The sentence for adapters none of which beats the base without one."""
    scores = metric_format(objective)
    return (
        f"No finalist scores better than the bare base ({scores.show(best)} against "
        f"{scores.show(bare)} {scores.unit} on test): nothing was learned, so there is nothing to "
        "choose between; train for longer, or widen the learning rates."
    )


def no_better_than(naive: Mapping[str, float], best: float, objective: Objective) -> str:
    """The sentence for finalists that answers of no model at all reach as well.

    Args:
        naive: their scores by name, the best first.
        best: the best finalist's.
        objective: of the study.
    """
    scores = metric_format(objective)
    told = [f"{name.replace('_', ' ')} ({scores.show(value)})" for name, value in naive.items()]
    verb = "needs" if len(told) == 1 else "need"
    return (
        f"But no finalist is better (the best has {scores.show(best)} {scores.unit}) than "
        f"{' and '.join(told)}, which {verb} no model: train for longer, on more rows or a larger "
        "base before choosing."
    )
