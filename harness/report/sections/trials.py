"""All trials: what was run, how it ended and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from markupsafe import Markup

from harness.report import display
from harness.report.section import Section, register
from harness.report.table import Column, Record, figures, table, tag, text
from harness.report.templating import fill

if TYPE_CHECKING:
    from harness.results import StudyResults

_REASON = 300  # glyphs of a reason, such as what a library raised
_KINDS = {"complete": "plain", "failed": "worse", "pruned": "open"}


def trial_table(results: StudyResults) -> pd.DataFrame:
    """All trials in order, with their cost and a `reason` for those that are not complete."""
    cost = results.costs[["trial", "train_seconds", "score_seconds", "parameters", "peak_memory"]]
    frame = results.trials.merge(cost, left_on="number", right_on="trial", how="left")
    reasons = [
        _reason(error, copy)
        for error, copy in zip(frame["error"], frame["duplicate_of"], strict=True)
    ]
    return frame.drop(columns="trial").assign(reason=pd.Series(reasons, dtype=object))


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """All trials."""
    return {"trials": trial_table(results)}


def render(results: StudyResults) -> str:
    """The section's HTML."""
    frame = trial_table(results)
    return fill(
        "trials.html.j2",
        stages=list(dict.fromkeys(str(one) for one in frame["stage"])),
        total=len(frame),
        body=_body(results, frame) if len(frame) else Markup(""),
    )


def _reason(error: object, copy: object) -> str:
    parts = [] if display.missing(error) else [str(error)]
    if not display.missing(copy):
        parts.insert(0, f"repeats trial {display.count(copy)}, not run again")
    return "; ".join(parts)


def _body(results: StudyResults, frame: pd.DataFrame) -> Markup:
    scale = display.scale(results.objective)
    return table(
        frame,
        [
            figures("Trial", "number", lambda value: str(int(value))),
            text("Stage", "stage"),
            Column("State", _state, numeric=False, value="state"),
            text("Variant", "variant"),
            figures("Rank", "rank"),
            figures("Alpha", "alpha"),
            text("Targets", "target_modules"),
            figures("Drop\u00adout", "dropout"),
            figures("Learning rate", "learning_rate", display.column_rate),
            figures("Budget", "budget", lambda value: display.number(value, 2)),
            figures("Seed", "seed"),
            figures("Vali\u00addation", "value", scale.show),
            figures("Test", "test", scale.show),
            figures("Training", "train_seconds", lambda value: display.number(value, 1), "s"),
            Column(
                "Reason",
                lambda row: display.cut(row["reason"], _REASON),
                numeric=False,
                value="reason",
                wide=True,
            ),
        ],
        caption=f"All trials; scores in {scale.unit}.",
        mark=lambda row: f"state-{row['state']}" if row["state"] in _KINDS else "",
        data=lambda row: {"stage": str(row["stage"])},
        sortable=True,
        name="all-trials",
    )


def _state(row: Record) -> Markup:
    word = str(row["state"])
    return tag(word, _KINDS.get(word, "plain"))


register(Section("trials", "Trials", 60, render, tables))
