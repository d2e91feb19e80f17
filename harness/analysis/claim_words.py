"""Findings on claims in words, and as a tidy table. Decides nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.analysis.arms import BASE, CENTRE, FULL, Arm
from harness.analysis.wording import Figures

if TYPE_CHECKING:
    from harness.analysis.judging import Compared, Finding
    from harness.results import StudyResults

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
        arm: see `harness.analysis.arms`.
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


def numbers(results: StudyResults, one: Compared) -> str:
    """A comparison with its figures: `r=16 to r=32: -0.4 (-1.9 to +1.1)`."""
    of, to = (arm_words(arm, _epochs(results)) for arm in one.comparison[:2])
    unit = one.comparison.unit
    if unit == "margins":
        show, sign = Figures(results.objective), results.objective.sign
        ends = sorted((sign * one.low, sign * one.high))
        told = f"{show.signed(sign * one.value)} ({show.range(*ends)})"
        return f"{of} less {to}: {told}{_edges(results, one)}"
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
    return f"{what}: {one.value:{plus}.1f} % ({ends_told}){_edges(results, one)}"


def _edges(results: StudyResults, one: Compared) -> str:
    arms = [arm_words(arm, _epochs(results)) for arm in one.edges]
    if not arms:
        return ""
    return f", rate of {' and of '.join(arms)} at its grid's edge (--extend-grid tries one more)"


def lacking(results: StudyResults, finding: Finding) -> str:
    """What is missing for a claim without data, and the command that makes it."""
    if finding.claim.otherwise and not finding.missing:
        task = results.sweep.get("task", results.name)
        told = finding.claim.otherwise.format(study=results.name)
        other = re.search(r"--study (\S+)", told)
        then = f", then python -m harness report {results.name} {other[1]}" if other else ""
        return f"takes another study: python -m harness sweep {task} {told}{then}"
    arms = ", ".join(arm_words(arm, _epochs(results)) for arm in finding.missing)
    return f"not run: {arms} (--claims runs what is missing)"


def table(results: StudyResults, findings: Sequence[Finding]) -> pd.DataFrame:
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
