"""What a study reaches without an adapter: as a table, and in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from harness.analysis.scores import baseline_scores
from harness.report import display

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
    scale = display.scale(results.objective)
    told = [
        f"{display.baseline(str(row['name']))} {scale.show(row['value'])}"
        for row in baseline_table(results, split).to_dict("records")
    ]
    if not told:
        return ""
    return f"Without an adapter, on the {split} split: {', '.join(told)} {scale.unit}."
