"""The recommendation of a study: which configuration to use, how sure that is, what is not known.

It rests on the confirm stage (fresh seeds, test split) and the rule of `harness.analysis.verdict`.
Without a confirm stage it summarises the ablation's best cell or the best search trial.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.analysis.ablation import all_cells
from harness.analysis.estimates import (
    CONFIDENCE,
    Interval,
    estimate,
    estimates,
    finite,
    noise_floor,
)
from harness.analysis.formatting import labels_of
from harness.analysis.limitations import not_supported
from harness.analysis.multiple_comparisons import against_best, all_pairs_bounds, confidence_set
from harness.analysis.pareto import (
    ConstrainedStudy,
    apply_constraints,
    left_out_sentence,
    nothing_satisfies_message,
)
from harness.analysis.scores import (
    CONFIGURATION,
    base_model_score,
    baseline_scores,
    cached_per_study,
    complete,
    configurations,
    shots,
)
from harness.analysis.verdict import (
    SPLIT,
    STAGE,
    ConfirmState,
    RequiredSample,
    configuration,
    confirm_state,
    contenders,
    finalists,
    incumbent,
    incumbent_cell,
    seeds_needed,
)
from harness.analysis.wording import (
    AblationSummary,
    ablation_sentence,
    baselines_ahead_sentence,
    no_gain_sentence,
    search_sentence,
    single_configuration_sentence,
    verdict_sentence,
)
from harness.costs import COSTS

if TYPE_CHECKING:
    from harness.costs import Constraint
    from harness.results import StudyResults


def best_ablation_cell(results: StudyResults) -> tuple[pd.Series, str, int, int] | None:
    """The best of all cells against the reference and the others, by joint bounds of all pairs.

    Returns:
        The row of `configurations` with the best mean score on validation, one sentence with the
        figures, the seeds of the cell that has most, and the number of validation examples; None
        unless two cells or more are complete.
    """
    comparison = all_cells(results)
    if comparison is None or len(comparison.values) < 2:
        return None
    table = configurations(results, "ablate").set_index("key", drop=False)
    table = table.loc[list(comparison.array.keys)].reset_index(drop=True)
    names, sign = labels_of(table), results.objective.sign
    best = int(np.argmax(sign * comparison.values))
    incumbent_key = incumbent_cell(results, comparison.array.keys)
    reference = None if incumbent_key is None else comparison.array.keys.index(incumbent_key)
    bounds = all_pairs_bounds(comparison.pairs, CONFIDENCE)
    good = against_best(comparison.pairs, CONFIDENCE).low >= -results.objective.margin
    seeds, examples = int(table["seeds"].max()), len(comparison.array.examples)
    difference = None
    if reference is not None and reference != best:
        low, high = sorted(sign * float(end[best, reference]) for end in bounds)
        difference = (float(comparison.values[best] - comparison.values[reference]), low, high)
    summary = AblationSummary(
        names[best],
        float(comparison.values[best]),
        len(names),
        seeds,
        examples,
        None if reference is None else names[reference],
        difference,
        int(good.sum()),
        (results.sweep.get("confirmation") or {}).get("max_configurations") == 0,
    )
    return table.iloc[best], ablation_sentence(summary, results.objective), seeds, examples


COLUMNS = (
    *("key", "label", *CONFIGURATION, "parameters", "cost", "value", "low", "high"),
    *("difference_to_best", "lower", "upper", "verdict", "seeds"),
)


def comparison_table(
    results: StudyResults,
    state: ConfirmState,
    table: pd.DataFrame,
    names: list[str],
    scored: pd.DataFrame,
) -> pd.DataFrame:
    """`COLUMNS`, one row a finalist, cheapest first.

    `table` and `names` are the configurations and their labels in the order of the state, `scored`
    their scores by key, each with an interval of its own.
    """
    sign, indices = results.objective.sign, range(len(names))
    gaps = [state.comparison.pairs.difference[i, state.rival(i)] for i in indices]
    low, high = np.sort([sign * state.bounds.low, sign * state.bounds.high], axis=0)
    frame = table.drop(columns="seeds").assign(
        label=names,
        cost=finite(state.costs),
        difference_to_best=sign * np.array(gaps),
        lower=finite(low) + 0.0,
        upper=finite(high) + 0.0,
        verdict=[_verdict(state, i) for i in indices],
    )
    frame = frame.merge(scored[["key", "value", "low", "high", "seeds"]], on="key")
    frame = frame.sort_values(["cost", "key"], ignore_index=True)
    return frame[list(COLUMNS)]


def _verdict(state: ConfirmState, index: int) -> str:
    if index == state.pick:
        return "pick"
    if index == state.best:
        return "best"
    if state.non_inferior[index]:
        return "not worse"
    return "worse" if state.worse[index] else "undecided"


__all__ = ["Recommendation", "contenders", "finalists", "incumbent", "recommend"]


@dataclass(frozen=True)
class Recommendation:
    """The pick and what is known of it; scores in the metric's own unit.

    Attributes:
        outcome: `decided` (the pick is shown to be no worse than the best by more than the margin;
            a cheaper one that is still open is named in `not_supported`), `tie` (all finalists
            are shown to be within the margin of each other), `undecided` (no finalist is shown to
            be good enough) or `none` (nothing was confirmed).
        pick: variant, rank, alpha, alpha_ratio, dropout, target_modules, learning_rate, key and
            parameters of the configuration to use; None unless decided or tied.
        score: its score on test with a 95 % interval of its own.
        best: like `pick`, of the best mean score on test; without a confirm stage, of the
            search's incumbent; without a search too, of the ablation's best cell.
        evidence: one sentence with the figures.
        comparison: one row a finalist, cheapest first: `COLUMNS`. `cost` is what the pick is the
            cheapest by; `difference_to_best` is to the best of the others (so the best one's own
            is its lead), `lower` and `upper` its joint bounds (Hsu 1984); verdict is pick, best,
            not worse, worse or undecided.
        indistinguishable: labels of those whose difference to the pick (to the best, without one)
            may be 0, by the joint bounds of all pairs.
        confidence_set: labels of the model confidence set at the look's confidence (Hansen, Lunde
            and Nason 2011), the highest p-value first.
        cost: what the pick is the cheapest by, one of `harness.costs.COSTS`.
        prefer: bounds that were to be kept, as they were written.
        left_out: labels of the finalists that break one, who were not compared.
        not_supported: plain sentences on what this evidence does not say.
        more_seeds: how many more seeds would decide an undecided study, if seeds can.
        seeds: seeds of the finalist that has most.
        examples: examples of the test split.
        seed_sd: spread of the pick's (else the best's) test score over seeds; the noise floor on
            validation where nothing was confirmed; None where that is unknown.
    """

    outcome: str
    pick: Mapping[str, Any] | None
    score: Interval | None
    best: Mapping[str, Any] | None
    evidence: str
    comparison: pd.DataFrame
    indistinguishable: tuple[str, ...]
    not_supported: tuple[str, ...]
    more_seeds: int | None
    seeds: int
    examples: int
    seed_sd: float | None
    confidence_set: tuple[str, ...] = ()
    cost: str = COSTS[0]
    prefer: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@cached_per_study
def recommend(
    results: StudyResults, cost: str | None = None, prefer: Sequence[Constraint] = ()
) -> Recommendation:
    """What a study says, at any point of its life; also when it is empty.

    Args:
        results: the study.
        cost: what the pick is to be the cheapest by (`harness.costs.COSTS`); the sweep's by
            default, and the looks keep finalists by that one.
        prefer: constraints beside the sweep's own.
    """
    constrained = apply_constraints(results, prefer)
    advice = _recommend_among(constrained, cost)
    return replace(
        advice,
        prefer=tuple(bound.text for bound in constrained.bounds),
        left_out=tuple(labels_of(constrained.left_out)),
        evidence=" ".join(filter(None, [advice.evidence, left_out_sentence(constrained)])),
    )


def _recommend_among(constrained: ConstrainedStudy, cost: str | None) -> Recommendation:
    """The recommendation among the configurations that satisfy the constraints."""
    results = constrained.results
    scored = estimates(results, STAGE, SPLIT)
    if scored.empty and len(constrained.left_out):
        advice = _unconfirmed(results)
        return replace(advice, evidence=nothing_satisfies_message(constrained), best=None)
    if scored.empty:
        return _unconfirmed(results)
    state = confirm_state(results, cost=cost)
    if state is None:
        return _single(results, scored)
    advice = _compared(results, scored, state)
    base_score, sign = base_model_score(results, SPLIT), results.objective.sign
    best = float((sign * scored["value"]).max())
    if math.isfinite(base_score) and best <= sign * base_score:
        return _nothing_learned(results, advice, base_score)
    baselines = _baselines_as_good(results, best)
    if baselines:
        sentence = baselines_ahead_sentence(baselines, sign * best, results.objective)
        return replace(advice, evidence=f"{advice.evidence} {sentence}")
    return advice


def _baselines_as_good(results: StudyResults, best: float) -> dict[str, float]:
    """Answers of no model at all that are as good as the best finalist, the best of them first."""
    sign, values = results.objective.sign, baseline_scores(results, SPLIT)
    names = [name for name in values if shots(name) is None and sign * values[name] >= best]
    return {name: values[name] for name in sorted(names, key=lambda name: -sign * values[name])}


def _compared(results: StudyResults, scored: pd.DataFrame, state: ConfirmState) -> Recommendation:
    table = configurations(results, STAGE).set_index("key", drop=False)
    table = table.loc[list(state.comparison.array.keys)].reset_index(drop=True)
    names = labels_of(table)
    examples, required = len(state.comparison.array.examples), RequiredSample(None, None)
    if state.pick is None:
        required = seeds_needed(state, results.objective.margin, examples)
    index = state.best if state.pick is None else state.pick
    row = scored[scored["key"] == state.comparison.array.keys[index]].iloc[0]
    score = Interval(*(float(row[name]) for name in Interval._fields))
    low, high = (bound[index] for bound in state.joint_bounds)
    indistinguishable = (low <= 0) & (high >= 0)
    indistinguishable[index] = False
    return Recommendation(
        outcome="undecided" if state.pick is None else "tie" if state.tie else "decided",
        pick=None if state.pick is None else _mapping(table.iloc[state.pick]),
        score=None if state.pick is None else score,
        best=_mapping(table.iloc[state.best]),
        evidence=verdict_sentence(state, names, table, results.objective, required),
        comparison=comparison_table(results, state, table, names, scored),
        indistinguishable=tuple(itertools.compress(names, indistinguishable)),
        not_supported=not_supported(results, state),
        more_seeds=required.seeds,
        seeds=state.look.seeds,
        examples=examples,
        seed_sd=_finite_or_none(float(row["seed_sd"])),
        confidence_set=_confidence_set(state, names),
        cost=state.cost,
    )


def _confidence_set(state: ConfirmState, names: list[str]) -> tuple[str, ...]:
    mcs = confidence_set(state.comparison.pairs, state.look.alpha)
    order = sorted(range(len(names)), key=lambda i: (-mcs.p_values[i], -state.scores[i]))
    return tuple(names[i] for i in order if mcs.inside[i])


def _nothing_learned(
    results: StudyResults, advice: Recommendation, base_score: float
) -> Recommendation:
    # Adapters that all do nothing are equal to the last digit, and no tie worth having.
    best = float((results.objective.sign * advice.comparison["value"]).max())
    return replace(
        advice,
        outcome="undecided",
        pick=None,
        score=None,
        evidence=no_gain_sentence(results.objective.sign * best, base_score, results.objective),
        comparison=advice.comparison.assign(verdict="undecided"),
        indistinguishable=(),
        confidence_set=(),
        more_seeds=None,
    )


def _single(results: StudyResults, scored: pd.DataFrame) -> Recommendation:
    # One configuration, or none with two seeds: there is nothing to compare.
    table = configurations(results, STAGE)
    order = scored.assign(_rank=results.objective.sign * scored["value"])
    order = order.sort_values(["seeds", "_rank"], ascending=False)
    row = table[table["key"] == order.iloc[0]["key"]].iloc[0]
    score = estimate(results, str(row["key"]), STAGE, SPLIT)
    evidence = single_configuration_sentence(_label(row), score, results.objective)
    advice = _no_pick(results, row, evidence, score.seeds, score.examples, score.seed_sd)
    return replace(advice, outcome="undecided")


def _unconfirmed(results: StudyResults) -> Recommendation:
    row, seeds, examples = incumbent(results), 0, 0
    text = "No search trial is complete yet: there is nothing to recommend."
    if results.attributes.get("incumbent") and complete(results, "search").empty:
        text = "No two cells of the ablation are complete yet: there is nothing to compare."
        cell = best_ablation_cell(results)
        if cell is not None:
            row, text, seeds, examples = cell
    elif row is not None:
        count = len(complete(results, "search"))
        text = search_sentence(_label(row), float(row["value"]), count, results.objective)
    return _no_pick(results, row, text, seeds, examples, noise_floor(results))


def _no_pick(
    results: StudyResults,
    best: pd.Series | None,
    evidence: str,
    seeds: int,
    examples: int,
    seed_sd: float,
) -> Recommendation:
    """A recommendation without a comparison of finalists."""
    return Recommendation(
        outcome="none",
        pick=None,
        score=None,
        best=None if best is None else _mapping(best),
        evidence=evidence,
        comparison=pd.DataFrame(columns=list(COLUMNS)),
        indistinguishable=(),
        not_supported=not_supported(results, None),
        more_seeds=None,
        seeds=seeds,
        examples=examples,
        seed_sd=_finite_or_none(seed_sd),
    )


def _label(row: pd.Series) -> str:
    return labels_of(row.to_frame().T)[0]


def _mapping(row: pd.Series) -> dict[str, Any]:
    parameters = float(row["parameters"])
    return {
        "key": str(row["key"]),
        **configuration(row),
        "alpha_ratio": float(row["alpha_ratio"]),
        "parameters": int(parameters) if math.isfinite(parameters) else None,
    }


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
