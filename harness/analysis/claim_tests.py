"""What a study says of each claim: the numbers that its comparisons come to, and the verdict.

A claim is supported if the intervals of all its comparisons lie where it holds, contradicted if
one of them lies where it fails, else not decided. The intervals of a claim's comparisons hold
together (max-T), at 95 %; each claim is a question of its own. Only rows of the ablate stage count
(with full fine-tuning and the base beside them), each cell at its own tuned rate.

Findings on claims in words, and as a tidy table. Decides nothing.
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
    cell_of,
    claim_data,
    claimed,
    name_of,
)
from harness.analysis.estimates import CONFIDENCE
from harness.analysis.formatting import metric_format
from harness.analysis.multiple_comparisons import joint_intervals
from harness.analysis.scores import cached_per_study, metric_function

if TYPE_CHECKING:
    from harness.aggregates import Array
    from harness.results import StudyResults


class ComparisonResult(NamedTuple):
    """What a study says of one comparison.

    Attributes:
        comparison: which.
        value: its value, in the unit of the comparison but differences in the metric's own.
        low: lower joint bound, NaN where nothing can be said.
        high: upper joint bound.
        edges: arms whose learning rate is the lowest or highest that was tried for them.
    """

    comparison: Comparison
    value: float
    low: float
    high: float
    edges: tuple[Arm, ...] = ()

    @property
    def open(self) -> tuple[float, float]:
        """The bounds as a verdict takes them.

        An arm at the edge of its grid may be better at a rate beyond, never worse: that end of the
        interval is open.
        """
        low = -math.inf if self.comparison.to in self.edges else self.low
        high = math.inf if self.comparison.of in self.edges else self.high
        return (math.nan, math.nan) if math.isnan(self.low) else (low, high)


class ClaimResult(NamedTuple):
    """What a study says of a claim.

    Attributes:
        claim: which.
        verdict: supported, contradicted, not decided or no data.
        compared: the numbers.
        missing: arms that would have to be trained.
    """

    claim: Claim
    verdict: str
    compared: tuple[ComparisonResult, ...]
    missing: tuple[Arm, ...]


@cached_per_study
def evaluate_claims(results: StudyResults, claims: Sequence[Claim] = CLAIMS) -> list[ClaimResult]:
    """What a study says of each claim, in the order of the claims."""
    found = claim_data(results)
    asked = [_asked(results, found, claim) for claim in claims]
    groups = [each.comparisons for each in asked]
    numbers = _numbers(results, found, groups) if found is not None else [() for _ in groups]
    findings = []
    for claim, each, compared in zip(claims, asked, numbers, strict=True):
        verdict = _verdict(results, claim, compared) if compared else "no data"
        findings.append(ClaimResult(claim, verdict, compared, each.missing))
    return findings


class _Asked(NamedTuple):
    """Comparisons of a claim, none if a required one lacks an arm; and the arms that lack."""

    comparisons: tuple[Comparison, ...]
    missing: tuple[Arm, ...]


def _asked(results: StudyResults, found: ClaimData | None, claim: Claim) -> _Asked:
    wanted = claim.comparisons(results.sweep)
    lacks = [_lacking(results, found, each) for each in wanted]
    absent = [
        arm for each, lack in zip(wanted, lacks, strict=True) for arm in lack if each.required
    ]
    there = [each for each, lack in zip(wanted, lacks, strict=True) if not lack]
    return _Asked(() if absent else tuple(there), _distinct(absent))


def missing(results: StudyResults, claims: Sequence[Claim] = CLAIMS) -> tuple[Arm, ...]:
    """Arms that trials of this study could add, so that every claim it can test has its data."""
    found = [arm for finding in evaluate_claims(results, claims) for arm in finding.missing]
    return _distinct(found)


def _distinct(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    kept: list[Arm] = []
    for arm in arms:
        if arm not in kept:
            kept.append(arm)
    return tuple(kept)


def _lacking(results: StudyResults, found: ClaimData | None, one: Comparison) -> list[Arm]:
    arms = [one.of, one.to]
    if one.unit == "gain" or (one.unit == "share" and _no_nought(results)):
        arms.append(BASE)
    names = found.names if found is not None else ()
    return [arm for arm in arms if name_of(results, arm) not in names]


def _no_nought(results: StudyResults) -> bool:
    """Whether a share of a score says nothing: less is better, so there is no worst one."""
    return results.objective.sign < 0


class _Told(NamedTuple):
    """A comparison as a contrast of scores, and what makes its value of that.

    Attributes:
        weights: of the arms, (arms,); the contrast is better the more it is.
        value: of the comparison if it is a ratio, in percent; None for a difference.
        factor: percent for each unit of the contrast.
    """

    weights: Array
    value: float | None = None
    factor: float = 1.0


def _numbers(
    results: StudyResults, found: ClaimData, groups: Sequence[Sequence[Comparison]]
) -> list[tuple[ComparisonResult, ...]]:
    """Values of each group of comparisons, with bounds that hold together within it.

    All that share the ablation's stage have one pool for the spread over seeds. What was trained
    for claims alone may break down (at a rate that some guide names): it has its own spread beside
    that pool, and widens no other's interval.
    """
    value = metric_function(results.objective)
    table = scores(found.statistics, value)
    told = [[_told(results, found, table, one) for one in group] for group in groups]
    extra = {str(cell["key"]) for cell in claimed(results)}
    apart = [any(name_of(results, arm) in extra for one in g for arm in one[:2]) for g in groups]
    pool = [t.weights for own, other in zip(told, apart, strict=True) if not other for t in own]
    shared = contrasts(found.statistics, value, np.array(pool)) if pool else None
    answer: list[tuple[ComparisonResult, ...]] = []
    start = 0
    for group, own, other in zip(groups, told, apart, strict=True):
        part = shared
        if other:
            rows = np.array([*(each.weights for each in own), *pool])
            part = _some(contrasts(found.statistics, value, rows), 0, len(own))
        elif part is not None:
            part = _some(part, start, len(own))
            start += len(own)
        answer.append(() if part is None else _all_compared(results, group, own, part))
    return answer


def _some(found: Contrasts, start: int, count: int) -> Contrasts:
    return Contrasts(*(array[start : start + count] for array in found))


def _all_compared(
    results: StudyResults, group: Sequence[Comparison], own: Sequence[_Told], part: Contrasts
) -> tuple[ComparisonResult, ...]:
    bounds = joint_intervals(part, CONFIDENCE)
    each = zip(group, own, part.estimate, bounds.low, bounds.high, strict=True)
    numbers = [_compared(*one) for one in each]
    return tuple(one._replace(edges=_edges(results, one.comparison)) for one in numbers)


def _told(results: StudyResults, found: ClaimData, table: Array, one: Comparison) -> _Told:
    """A ratio is judged as the contrast `of - share to` at the share that was seen.

    Its error, over the size of `to`, is that of the share to the first order (the delta method).
    """
    sign = results.objective.sign
    of, to = (found.names.index(str(name_of(results, arm))) for arm in (one.of, one.to))
    weights = np.zeros(len(found.names))
    weights[of] += sign
    if one.unit == "margins":
        weights[to] -= sign
        return _Told(weights)
    common = ~np.isnan(table[[of, to]]).any(axis=0)
    if not common.any():
        return _Told(weights, math.nan, math.nan)
    bare, base = 0.0, None
    if one.unit == "gain" or (one.unit == "share" and _no_nought(results)):
        base = found.names.index("base")
        bare = float(table[base, common].mean())
    size = float(table[to, common].mean()) - bare
    if size == 0:
        return _Told(weights, math.nan, math.nan)
    share = (float(table[of, common].mean()) - bare) / size
    weights[to] -= sign * share
    if base is not None:
        weights[base] -= sign * (1 - share)
    if one.unit == "percent":
        return _Told(weights, 100 * sign * (share - 1), 100 / abs(size))
    return _Told(weights, 100 * share, 100 * sign / size)


def _edges(results: StudyResults, one: Comparison) -> tuple[Arm, ...]:
    found = ((arm, cell_of(results, arm)) for arm in (one.of, one.to))
    return tuple(arm for arm, cell in found if cell is not None and at_edge(cell))


def _compared(
    one: Comparison, told: _Told, estimate: float, low: float, high: float
) -> ComparisonResult:
    if told.value is None:
        return ComparisonResult(one, float(estimate), float(low), float(high))
    # The contrast at the share that was seen is nought, but for seeds that not all arms have.
    ends = sorted(told.value + told.factor * (end - estimate) for end in (low, high))
    return ComparisonResult(one, told.value, float(ends[0]), float(ends[1]))


def _verdict(results: StudyResults, claim: Claim, compared: Sequence[ComparisonResult]) -> str:
    sides = []
    for one in compared:
        size = results.objective.margin if one.comparison.unit == "margins" else 1.0
        low, high = one.open
        sides.append(claim.verdict(low / size, high / size))
    if "contradicted" in sides:
        return "contradicted"
    return "not decided" if "not decided" in sides else "supported"


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


def arm_words(arm: Arm, epochs: float = math.nan) -> str:
    """An arm as people say it: `r=16`, `rslora r=64`, `full fine-tuning`.

    Args:
        arm: see `harness.analysis.claims`.
        epochs: of the study, for an arm that trains for a share of them.
    """
    for known, words in ((FULL, "full fine-tuning"), (BASE, "the bare base")):
        if arm == known:
            return words
    if arm == CENTRE:
        return "the incumbent"
    parts = []
    for factor, level in arm.items():
        if factor == "budget":
            share = float(level)
            told = f"{share * epochs:.3g} epochs" if math.isfinite(epochs) else f"{share:.0%}"
            parts.append(told)
        else:
            parts.append(_WORDS.get(factor, factor + "={}").format(level))
    return " ".join(parts)


def numbers(results: StudyResults, one: ComparisonResult) -> str:
    """A comparison with its figures: `r=16 to r=32: -0.4 (-1.9 to +1.1)`."""
    of, to = (arm_words(arm, _epochs(results)) for arm in one.comparison[:2])
    unit = one.comparison.unit
    if unit == "margins":
        scores, sign = metric_format(results.objective), results.objective.sign
        ends = sorted((sign * one.low, sign * one.high))
        told = f"{scores.gap(sign * one.value)} ({scores.gap_interval(*ends)})"
        return f"{of} less {to}: {told}{_edges_claim_words(results, one)}"
    if not math.isfinite(one.value):
        return f"{of} to {to}: unknown"
    plus = "+" if unit == "percent" else ""
    ends_told = "unknown"
    if math.isfinite(one.low) and math.isfinite(one.high):
        ends_told = f"{one.low:{plus}.1f} to {one.high:{plus}.1f}"
    what = {
        "percent": f"gain of {of} over {to}",
        "share": f"{of} of {to}",
        "gain": f"gain of {of} of {to}'s",
    }[unit]
    return f"{what}: {one.value:{plus}.1f} % ({ends_told}){_edges_claim_words(results, one)}"


def _edges_claim_words(results: StudyResults, one: ComparisonResult) -> str:
    arms = [arm_words(arm, _epochs(results)) for arm in one.edges]
    if not arms:
        return ""
    return f", rate of {' and of '.join(arms)} at its grid's edge (--extend-grid tries one more)"


def missing_data_message(results: StudyResults, finding: ClaimResult) -> str:
    """What is missing for a claim without data, and the command that makes it."""
    if finding.claim.otherwise and not finding.missing:
        task = results.sweep.get("task", results.name)
        told = finding.claim.otherwise.format(study=results.name)
        other = re.search(r"--study (\S+)", told)
        then = f", then python -m harness report {results.name} {other[1]}" if other else ""
        return f"takes another study: python -m harness sweep {task} {told}{then}"
    arms = ", ".join(arm_words(arm, _epochs(results)) for arm in finding.missing)
    return f"not run: {arms} (--claims runs what is missing)"


def table(results: StudyResults, findings: Sequence[ClaimResult]) -> pd.DataFrame:
    """One row a comparison, one for each claim without data.

    Returns:
        `COLUMNS`; values and bounds of differences in the metric's own unit and direction, the
        others in percent; `edges` counts the arms whose rate lies at the edge of its grid.
    """
    rows: list[dict[str, Any]] = []
    sign = results.objective.sign
    for finding in findings:
        claim = finding.claim
        head = {
            "claim": claim.name,
            "sentence": claim.sentence,
            "source": claim.source,
            "rule": claim.rule,
            "verdict": finding.verdict,
        }
        for one in finding.compared:
            of, to = (arm_words(arm, _epochs(results)) for arm in one.comparison[:2])
            value, low, high = one.value, one.low, one.high
            plain = one.comparison.unit == "margins"
            if plain:
                value, (low, high) = sign * value, sorted((sign * low, sign * high))
            unit = (results.objective.unit or results.objective.name) if plain else "%"
            rows.append(
                {**head, "of": of, "to": to, "unit": unit}
                | {"value": value, "low": _known(low), "high": _known(high)}
                | {"edges": len(one.edges)}
            )
        if not finding.compared:
            blank = {"of": "", "to": "", "unit": "", "value": math.nan}
            rows.append({**head, **blank, "low": math.nan, "high": math.nan, "edges": 0})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _known(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _epochs(results: StudyResults) -> float:
    return float((results.sweep.get("training") or {}).get("epochs") or math.nan)
