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
    groups, missing = [], []
    for claim in claims:
        comparisons, arms = _testable_comparisons(results, data, claim)
        groups.append(comparisons)
        missing.append(arms)
    evaluated = [()] * len(groups) if data is None else _evaluate_groups(results, data, groups)
    return [
        ClaimResult(claim, _verdict(results, claim, compared), compared, arms)
        for claim, compared, arms in zip(claims, evaluated, missing, strict=True)
    ]


def _testable_comparisons(
    results: StudyResults, data: ClaimData | None, claim: Claim
) -> tuple[tuple[Comparison, ...], tuple[Arm, ...]]:
    """Comparisons of a claim, none if a required one lacks an arm; and the missing arms."""
    missing = [
        (comparison, _missing_arms_of(results, data, comparison))
        for comparison in claim.comparisons(results.sweep)
    ]
    required = [arm for comparison, arms in missing if comparison.required for arm in arms]
    complete = tuple(comparison for comparison, arms in missing if not arms)
    return () if required else complete, _distinct(required)


def missing_arms(results: StudyResults, claims: Sequence[Claim] = CLAIMS) -> tuple[Arm, ...]:
    """Arms that trials of this study could add, so that every claim it can test has its data."""
    return _distinct([arm for each in evaluate_claims(results, claims) for arm in each.missing])


def _distinct(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    return tuple(arm for index, arm in enumerate(arms) if arm not in arms[:index])


def _missing_arms_of(
    results: StudyResults, data: ClaimData | None, comparison: Comparison
) -> list[Arm]:
    arms = [comparison.of, comparison.to, *([BASE] if _needs_base(results, comparison) else [])]
    names = data.names if data is not None else ()
    return [arm for arm in arms if arm_name(results, arm) not in names]


def _needs_base(results: StudyResults, comparison: Comparison) -> bool:
    # Where less is better no score is the zero, so a share of it is meaningless.
    has_zero = results.objective.sign > 0
    return comparison.unit == "gain" or (comparison.unit == "share" and not has_zero)


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
            part = contrasts(data.statistics, value, rows).part(slice(len(members)))
        elif part is not None:
            part = part.part(slice(start, start + len(members)))
            start += len(members)
        evaluated.append(() if part is None else _evaluate_group(results, group, members, part))
    return evaluated


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
    of, to = (data.names.index(str(arm_name(results, arm))) for arm in comparison[:2])
    weights = np.zeros(len(data.names))
    weights[of] += sign
    if comparison.unit == "margins":
        weights[to] -= sign
        return _ScaledContrast(weights)
    common = ~np.isnan(table[[of, to]]).any(axis=0)
    if not common.any():
        return _ScaledContrast(weights, math.nan, math.nan)
    zero, base = 0.0, None
    if _needs_base(results, comparison):
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
    cells = ((arm, arm_cell(results, arm)) for arm in comparison[:2])
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
    if not compared:
        return "no data"
    verdicts = []
    for result in compared:
        unit = results.objective.margin if result.comparison.unit == "margins" else 1.0
        low, high = result.open_bounds
        verdicts.append(claim.verdict(low / unit, high / unit))
    if "contradicted" in verdicts:
        return "contradicted"
    return "not decided" if "not decided" in verdicts else "supported"


COLUMNS = (
    *("claim", "sentence", "source", "rule", "verdict"),
    *("of", "to", "unit", "value", "low", "high", "edges"),
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

    `epochs` are the study's, for an arm that trains for a share of them.
    """
    known = ((FULL, "full fine-tuning"), (BASE, "the base model"), (CENTRE, "the incumbent"))
    for special, words in known:
        if arm == special:
            return words
    parts = []
    for factor, level in arm.items():
        if factor == "budget":
            known_length = math.isfinite(epochs)
            parts.append(f"{level * epochs:.3g} epochs" if known_length else f"{level:.0%}")
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
        return f"{of} minus {to}: {interval}{_edge_note(results, result)}"
    if not math.isfinite(result.value):
        return f"{of} to {to}: unknown"
    plus = "+" if unit == "percent" else ""
    known = math.isfinite(result.low) and math.isfinite(result.high)
    interval = f"{result.low:{plus}.1f} to {result.high:{plus}.1f}" if known else "unknown"
    description = {
        "percent": f"gain of {of} over {to}",
        "share": f"{of} of {to}",
        "gain": f"gain of {of} as % of {to}'s gain",
    }[unit]
    return f"{description}: {result.value:{plus}.1f} % ({interval}){_edge_note(results, result)}"


def _edge_note(results: StudyResults, result: ComparisonResult) -> str:
    arms = [arm_label(arm, _epochs(results)) for arm in result.edges]
    if not arms:
        return ""
    names = " and of ".join(arms)
    return f", rate of {names} at the edge of its grid (run --extend-grid to widen it)"


def missing_data_message(results: StudyResults, result: ClaimResult) -> str:
    """What is missing for a claim without data, and the command that makes it."""
    if result.claim.otherwise and not result.missing:
        task = results.sweep.get("task", results.name)
        arguments = result.claim.otherwise.format(study=results.name)
        other = re.search(r"--study (\S+)", arguments)
        report = f", then python -m harness report {results.name} {other[1]}" if other else ""
        return f"needs another study: python -m harness sweep {task} {arguments}{report}"
    arms = ", ".join(arm_label(arm, _epochs(results)) for arm in result.missing)
    return f"not run: {arms} (--claims runs what is missing)"


def claims_table(results: StudyResults, claim_results: Sequence[ClaimResult]) -> pd.DataFrame:
    """One row a comparison, one for each claim without data.

    Returns:
        `COLUMNS`; values and bounds of differences in the metric's own unit and direction, the
        others in percent; `edges` counts the arms whose rate lies at the edge of its grid.
    """
    rows: list[tuple[Any, ...]] = []
    sign = results.objective.sign
    for result in claim_results:
        claim = result.claim
        shared = (claim.name, claim.sentence, claim.source, claim.rule, result.verdict)
        for comparison in result.comparisons:
            of, to = (arm_label(arm, _epochs(results)) for arm in comparison.comparison[:2])
            value, low, high = comparison.value, comparison.low, comparison.high
            is_difference = comparison.comparison.unit == "margins"
            if is_difference:
                value, (low, high) = sign * value, sorted((sign * low, sign * high))
            unit = (results.objective.unit or results.objective.name) if is_difference else "%"
            low, high = (end if math.isfinite(end) else math.nan for end in (low, high))
            rows.append((*shared, of, to, unit, value, low, high, len(comparison.edges)))
        if not result.comparisons:
            rows.append((*shared, "", "", "", math.nan, math.nan, math.nan, 0))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _epochs(results: StudyResults) -> float:
    return float((results.sweep.get("training") or {}).get("epochs") or math.nan)
