"""What a study reaches without an adapter: as a table, and in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from harness.analysis.scores import score_from_rows
from harness.report import display

if TYPE_CHECKING:
    from harness.results import StudyResults


def baseline_table(results: StudyResults, split: str = "test") -> pd.DataFrame:
    """What is reached without an adapter: columns `name`, `split`, `value`, `examples`."""
    rows = results.baselines[results.baselines["split"] == split]
    return pd.DataFrame(
        [
            (str(name), split, score_from_rows(group, results.objective), len(group))
            for name, group in rows.groupby("name", sort=True)
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
