"""What a study reaches without an adapter: as a table, and in one sentence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from harness.analysis.estimates import estimates
from harness.analysis.scores import base_model_score, baseline_scores
from harness.report import formatting

if TYPE_CHECKING:
    from harness.results import StudyResults


def baseline_table(results: StudyResults, split: str = "test") -> pd.DataFrame:
    """What is reached without an adapter: columns `name`, `split`, `value`, `examples`."""
    names = results.baselines.loc[results.baselines["split"] == split, "name"]
    counts = names.value_counts()
    return pd.DataFrame(
        [
            (name, split, value, int(counts[name]))
            for name, value in sorted(baseline_scores(results, split).items())
        ],
        columns=["name", "split", "value", "examples"],
    )


def reached(results: StudyResults, split: str = "test") -> str:
    """The same in a sentence, empty where nothing was scored."""
    scale = formatting.scale(results.objective)
    told = [
        f"{formatting.baseline(str(row['name']))} {scale.show(row['value'])}"
        for row in baseline_table(results, split).to_dict("records")
    ]
    if not told:
        return ""
    return f"Without an adapter, on the {split} split: {', '.join(told)} {scale.unit}."


def share_of_full(results: StudyResults, value: float) -> dict[str, str] | None:
    """A test score as a share of what fine-tuning all weights reaches there.

    Where less is better it is the share of its gain over the bare base.

    Args:
        results: the study.
        value: the score.

    Returns:
        Name, value and note of a fact; None where full fine-tuning was not scored on test.
    """
    whole = estimates(results, "full", "test")
    if whole.empty:
        return None
    best, seeds = float(whole["value"].iloc[0]), int(whole["seeds"].iloc[0])
    scale = formatting.scale(results.objective)
    bare = base_model_score(results, "test") if results.objective.sign < 0 else 0.0
    if not math.isfinite(bare) or best == bare:
        return None
    plural = "s" if seeds != 1 else ""
    return {
        "name": "Of full fine-tuning" if results.objective.sign > 0 else "Of its gain in full",
        "value": f"{formatting.number(100 * (value - bare) / (best - bare), 1)} %",
        "note": f"all weights trained reach {scale.show(best)} on test, {seeds} seed{plural}",
    }
