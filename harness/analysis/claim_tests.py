"""Tests claims on a study: values and bounds of their comparisons, and a verdict on each.

A claim is supported if the intervals of all its comparisons lie where it holds, contradicted if
one of them lies where it fails, else not decided. The intervals of a claim's comparisons hold
together (max-T), at 95 %; claims are not corrected for each other. Only rows of the ablate stage
count (with full fine-tuning and the base model), each cell at its own tuned rate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from harness.analysis.ablation import at_edge
from harness.analysis.bootstrap import Contrasts, contrasts, scores
from harness.analysis.claims import (
    BASE,
    CENTRE,
    CLAIMS,
    FULL,
    Arm,
    Claim,
    ClaimData,
    Comparison,
    arm_cell,
    arm_name,
    claim_cells,
    claim_data,
)
from harness.analysis.estimates import CONFIDENCE
from harness.analysis.formatting import metric_format
from harness.analysis.multiple_comparisons import joint_intervals
from harness.analysis.scores import cached_per_study, metric_function

if TYPE_CHECKING:
    from harness.aggregates import Array
    from harness.results import StudyResults


class ComparisonResult(NamedTuple):
    """The result of one comparison.

    Attributes:
        comparison: which.
        value: its value, in the unit of the comparison but differences in the metric's own.
        low: lower joint bound, NaN where it is unknown.
        high: upper joint bound.
        edges: arms whose learning rate is the lowest or highest of their grid.
    """

    comparison: Comparison
    value: float
    low: float
    high: float
    edges: tuple[Arm, ...] = ()

    @property
    def open_bounds(self) -> tuple[float, float]:
        """The bounds as a verdict takes them.

        An arm at the edge of its grid may be better at a rate beyond, never worse: that end of the
        interval is open.
        """
        low = -math.inf if self.comparison.to in self.edges else self.low
        high = math.inf if self.comparison.of in self.edges else self.high
        return (math.nan, math.nan) if math.isnan(self.low) else (low, high)


class ClaimResult(NamedTuple):
    """The result of one claim.

    Attributes:
        claim: which.
        verdict: supported, contradicted, not decided or no data.
        compared: the numbers.
        missing: arms that would have to be trained.
    """

    claim: Claim
    verdict: str
    comparisons: tuple[ComparisonResult, ...]
    missing: tuple[Arm, ...]


@cached_per_study
def evaluate_claims(results: StudyResults, claims: Sequence[Claim] = CLAIMS) -> list[ClaimResult]:
    """The result of each claim, in the order of the claims."""
    data = claim_data(results)
    testable = [_select_comparisons(results, data, claim) for claim in claims]
    groups = [tested.comparisons for tested in testable]
    evaluated = (
        _evaluate_groups(results, data, groups) if data is not None else [() for _ in groups]
    )
    claim_results = []
    for claim, tested, compared in zip(claims, testable, evaluated, strict=True):
        verdict = _verdict(results, claim, compared) if compared else "no data"
        claim_results.append(ClaimResult(claim, verdict, compared, tested.missing))
    return claim_results


class _Testable(NamedTuple):
    """Comparisons of a claim, none if a required one lacks an arm; and the missing arms."""

    comparisons: tuple[Comparison, ...]
    missing: tuple[Arm, ...]


def _select_comparisons(results: StudyResults, data: ClaimData | None, claim: Claim) -> _Testable:
    comparisons = claim.comparisons(results.sweep)
    missing_by_comparison = [
        _missing_arms_of(results, data, comparison) for comparison in comparisons
    ]
    required = [
        arm
        for comparison, arms in zip(comparisons, missing_by_comparison, strict=True)
        for arm in arms
        if comparison.required
    ]
    complete = [
        comparison
        for comparison, arms in zip(comparisons, missing_by_comparison, strict=True)
        if not arms
    ]
    return _Testable(() if required else tuple(complete), _distinct(required))


def missing_arms(results: StudyResults, claims: Sequence[Claim] = CLAIMS) -> tuple[Arm, ...]:
    """Arms that trials of this study could add, so that every claim it can test has its data."""
    arms = [arm for result in evaluate_claims(results, claims) for arm in result.missing]
    return _distinct(arms)


def _distinct(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    distinct: list[Arm] = []
    for arm in arms:
        if arm not in distinct:
            distinct.append(arm)
    return tuple(distinct)


def _missing_arms_of(
    results: StudyResults, data: ClaimData | None, comparison: Comparison
) -> list[Arm]:
    arms = [comparison.of, comparison.to]
    if comparison.unit == "gain" or (comparison.unit == "share" and _has_no_zero(results)):
        arms.append(BASE)
    names = data.names if data is not None else ()
    return [arm for arm in arms if arm_name(results, arm) not in names]


def _has_no_zero(results: StudyResults) -> bool:
    """Whether a share of a score is meaningless: less is better, so no score is the zero."""
    return results.objective.sign < 0


class _ScaledContrast(NamedTuple):
    """A comparison as a contrast of scores, and how its value follows from that.

    Attributes:
        weights: of the arms, (arms,); the contrast is better the more it is.
        value: of the comparison if it is a ratio, in percent; None for a difference.
        factor: percent for each unit of the contrast.
    """

    weights: Array
    value: float | None = None
    factor: float = 1.0


def _evaluate_groups(
    results: StudyResults, data: ClaimData, groups: Sequence[Sequence[Comparison]]
) -> list[tuple[ComparisonResult, ...]]:
    """Values of each group of comparisons, with bounds that hold together within it.

    Comparisons of the ablation's cells share one pooled variance over seeds. Cells trained for
    claims alone may break down (at a rate that some guide names): each such group has its own
    family beside that pool, and widens no other interval.
    """
    value = metric_function(results.objective)
    table = scores(data.statistics, value)
    scaled = [
        [_scaled_contrast(results, data, table, comparison) for comparison in group]
        for group in groups
    ]
    claim_keys = {str(cell["key"]) for cell in claim_cells(results)}
    has_own_variance = [
        any(arm_name(results, arm) in claim_keys for comparison in group for arm in comparison[:2])
        for group in groups
    ]
    pool = [
        member.weights
        for members, separate in zip(scaled, has_own_variance, strict=True)
        if not separate
        for member in members
    ]
    shared = contrasts(data.statistics, value, np.array(pool)) if pool else None
    evaluated: list[tuple[ComparisonResult, ...]] = []
    start = 0
    for group, members, separate in zip(groups, scaled, has_own_variance, strict=True):
        part = shared
        if separate:
            rows = np.array([*(member.weights for member in members), *pool])
            part = _slice(contrasts(data.statistics, value, rows), 0, len(members))
        elif part is not None:
            part = _slice(part, start, len(members))
            start += len(members)
        evaluated.append(() if part is None else _evaluate_group(results, group, members, part))
    return evaluated


def _slice(contrasts_of_all: Contrasts, start: int, count: int) -> Contrasts:
    return Contrasts(*(array[start : start + count] for array in contrasts_of_all))


def _evaluate_group(
    results: StudyResults,
    group: Sequence[Comparison],
    scaled: Sequence[_ScaledContrast],
    part: Contrasts,
) -> tuple[ComparisonResult, ...]:
    bounds = joint_intervals(part, CONFIDENCE)
    columns = zip(group, scaled, part.estimate, bounds.low, bounds.high, strict=True)
    compared = [_comparison_result(*row) for row in columns]
    return tuple(row._replace(edges=_arms_at_edge(results, row.comparison)) for row in compared)


def _scaled_contrast(
    results: StudyResults, data: ClaimData, table: Array, comparison: Comparison
) -> _ScaledContrast:
    """A ratio is tested as the contrast `of - share to` at the observed share.

    Its error over the size of `to` is that of the share to first order (delta method; Fieller 1954
    tests the same contrast).
    """
    sign = results.objective.sign
    of, to = (
        data.names.index(str(arm_name(results, arm))) for arm in (comparison.of, comparison.to)
    )
    weights = np.zeros(len(data.names))
    weights[of] += sign
    if comparison.unit == "margins":
        weights[to] -= sign
        return _ScaledContrast(weights)
    common = ~np.isnan(table[[of, to]]).any(axis=0)
    if not common.any():
        return _ScaledContrast(weights, math.nan, math.nan)
    zero, base = 0.0, None
    if comparison.unit == "gain" or (comparison.unit == "share" and _has_no_zero(results)):
        base = data.names.index("base")
        zero = float(table[base, common].mean())
    size = float(table[to, common].mean()) - zero
    if size == 0:
        return _ScaledContrast(weights, math.nan, math.nan)
    share = (float(table[of, common].mean()) - zero) / size
    weights[to] -= sign * share
    if base is not None:
        weights[base] -= sign * (1 - share)
    if comparison.unit == "percent":
        return _ScaledContrast(weights, 100 * sign * (share - 1), 100 / abs(size))
    return _ScaledContrast(weights, 100 * share, 100 * sign / size)


def _arms_at_edge(results: StudyResults, comparison: Comparison) -> tuple[Arm, ...]:
    cells = ((arm, arm_cell(results, arm)) for arm in (comparison.of, comparison.to))
    return tuple(arm for arm, cell in cells if cell is not None and at_edge(cell))


def _comparison_result(
    comparison: Comparison, contrast: _ScaledContrast, estimate: float, low: float, high: float
) -> ComparisonResult:
    if contrast.value is None:
        return ComparisonResult(comparison, float(estimate), float(low), float(high))
    # The contrast at the observed share is 0, except for seeds that not all arms have.
    ends = sorted(contrast.value + contrast.factor * (end - estimate) for end in (low, high))
    return ComparisonResult(comparison, contrast.value, float(ends[0]), float(ends[1]))


def _verdict(results: StudyResults, claim: Claim, compared: Sequence[ComparisonResult]) -> str:
    verdicts = []
    for result in compared:
        unit = results.objective.margin if result.comparison.unit == "margins" else 1.0
        low, high = result.open_bounds
        verdicts.append(claim.verdict(low / unit, high / unit))
    if "contradicted" in verdicts:
        return "contradicted"
    return "not decided" if "not decided" in verdicts else "supported"


COLUMNS = (
    "claim",
    "sentence",
    "source",
    "rule",
    "verdict",
    "of",
    "to",
    "unit",
    "value",
    "low",
    "high",
    "edges",
)
_WORDS = {
    "alpha_ratio": "alpha={:g}r",
    "rank": "r={}",
    "dropout": "dropout {:g}",
    "learning_rate": "rate {:g}",
    "variant": "{}",
    "target_modules": "{}",
}


def arm_label(arm: Arm, epochs: float = math.nan) -> str:
    """An arm as text: `r=16`, `rslora r=64`, `full fine-tuning`.

    Args:
        arm: see `harness.analysis.claims`.
        epochs: of the study, for an arm that trains for a share of them.
    """
    for known, words in ((FULL, "full fine-tuning"), (BASE, "the base model")):
        if arm == known:
            return words
    if arm == CENTRE:
        return "the incumbent"
    parts = []
    for factor, level in arm.items():
        if factor == "budget":
            share = float(level)
            duration = f"{share * epochs:.3g} epochs" if math.isfinite(epochs) else f"{share:.0%}"
            parts.append(duration)
        else:
            parts.append(_WORDS.get(factor, factor + "={}").format(level))
    return " ".join(parts)


def comparison_text(results: StudyResults, result: ComparisonResult) -> str:
    """A comparison with its figures: `r=16 to r=32: -0.4 (-1.9 to +1.1)`."""
    of, to = (arm_label(arm, _epochs(results)) for arm in result.comparison[:2])
    unit = result.comparison.unit
    if unit == "margins":
        scores, sign = metric_format(results.objective), results.objective.sign
        ends = sorted((sign * result.low, sign * result.high))
        interval = f"{scores.gap(sign * result.value)} ({scores.gap_interval(*ends)})"
        return f"{of} less {to}: {interval}{_edge_note(results, result)}"
    if not math.isfinite(result.value):
        return f"{of} to {to}: unknown"
    plus = "+" if unit == "percent" else ""
    interval = "unknown"
    if math.isfinite(result.low) and math.isfinite(result.high):
        interval = f"{result.low:{plus}.1f} to {result.high:{plus}.1f}"
    description = {
        "percent": f"gain of {of} over {to}",
        "share": f"{of} of {to}",
        "gain": f"gain of {of} of {to}'s",
    }[unit]
    return f"{description}: {result.value:{plus}.1f} % ({interval}){_edge_note(results, result)}"


def _edge_note(results: StudyResults, result: ComparisonResult) -> str:
    arms = [arm_label(arm, _epochs(results)) for arm in result.edges]
    if not arms:
        return ""
    return f", rate of {' and of '.join(arms)} at its grid's edge (--extend-grid tries one more)"


def missing_data_message(results: StudyResults, result: ClaimResult) -> str:
    """What is missing for a claim without data, and the command that makes it."""
    if result.claim.otherwise and not result.missing:
        task = results.sweep.get("task", results.name)
        arguments = result.claim.otherwise.format(study=results.name)
        study_name = re.search(r"--study (\S+)", arguments)
        report = (
            f", then python -m harness report {results.name} {study_name[1]}" if study_name else ""
        )
        return f"takes another study: python -m harness sweep {task} {arguments}{report}"
    arms = ", ".join(arm_label(arm, _epochs(results)) for arm in result.missing)
    return f"not run: {arms} (--claims runs what is missing)"


def claims_table(results: StudyResults, claim_results: Sequence[ClaimResult]) -> pd.DataFrame:
    """One row a comparison, one for each claim without data.

    Returns:
        `COLUMNS`; values and bounds of differences in the metric's own unit and direction, the
        others in percent; `edges` counts the arms whose rate lies at the edge of its grid.
    """
    rows: list[dict[str, Any]] = []
    sign = results.objective.sign
    for result in claim_results:
        claim = result.claim
        shared = {
            "claim": claim.name,
            "sentence": claim.sentence,
            "source": claim.source,
            "rule": claim.rule,
            "verdict": result.verdict,
        }
        for comparison in result.comparisons:
            of, to = (arm_label(arm, _epochs(results)) for arm in comparison.comparison[:2])
            value, low, high = comparison.value, comparison.low, comparison.high
            is_difference = comparison.comparison.unit == "margins"
            if is_difference:
                value, (low, high) = sign * value, sorted((sign * low, sign * high))
            unit = (results.objective.unit or results.objective.name) if is_difference else "%"
            rows.append(
                {**shared, "of": of, "to": to, "unit": unit}
                | {"value": value, "low": _finite_or_nan(low), "high": _finite_or_nan(high)}
                | {"edges": len(comparison.edges)}
            )
        if not result.comparisons:
            blank = {"of": "", "to": "", "unit": "", "value": math.nan}
            rows.append({**shared, **blank, "low": math.nan, "high": math.nan, "edges": 0})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _finite_or_nan(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _epochs(results: StudyResults) -> float:
    return float((results.sweep.get("training") or {}).get("epochs") or math.nan)
