"""Scores by class: each rank beside the base, once around the pick and once on q and v."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harness.analysis.ablation import class_table
from harness.report import display
from harness.report.section import Section, register
from harness.report.table import Column, figures, table, text
from harness.report.templating import fill

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

    from harness.results import StudyResults

#: Shown at once; the others on demand.
PARTS: Final = {"f1": "F1", "precision": "Precision", "recall": "Recall"}
#: Target modules of each view, and its heading.
VIEWS: Final = {None: "At the incumbent's other settings", "qv": "On q and v"}
_FEW = 30  # below that many references a class is too small to rank by, and is greyed
_LAST = ("best", "dictionary", "support")


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """One table for each view and part, such as `f1` and `precision_qv`."""
    if results.objective.form != "f1":
        return {}
    return {
        part + (f"_{target}" if target else ""): class_table(
            results, target_modules=target, part=part
        )
        for target in VIEWS
        for part in PARTS
    }


def render(results: StudyResults) -> str:
    """The section's HTML."""
    frames = tables(results)
    views = []
    for target, heading in VIEWS.items():
        names = [part + (f"_{target}" if target else "") for part in PARTS]
        shown = {
            PARTS[part]: _one(results, frames[name], f"{PARTS[part]} by class. {heading}.")
            for part, name in zip(PARTS, names, strict=True)
            if name in frames and not frames[name].empty
        }
        views.append({"heading": heading, "parts": shown})
    return fill(
        "classes.html.j2",
        views=views,
        any=any(view["parts"] for view in views),
        by_class=results.objective.form == "f1",
        metric=results.objective.name,
        few=_FEW,
    )


def _one(results: StudyResults, frame: pd.DataFrame, caption: str) -> Markup:
    frame = frame if "class" in frame.columns else frame.rename_axis("class").reset_index()
    show = display.Scale(results.objective.scale, 1 if results.objective.scale > 1 else 3, "").show
    names = [str(name) for name in frame.columns if name != "class"]
    first = [name for name in names if name not in _LAST]
    columns = [text("Class", "class")]
    columns += [_column(name, show) for name in first]
    columns += [_column(name, show) for name in _LAST if name in names]
    return table(
        frame,
        columns,
        caption=caption,
        mark=lambda row: _mark(str(row["class"]), row.get("support")),
    )


def _column(name: str, show: Callable[[object], str]) -> Column:
    heading = {"best": "Best", "support": "Support"}.get(name, display.baseline(name))
    if name == "support":
        return figures(heading, name, display.count, "entities")
    return figures(heading, name, show)


def _mark(name: str, support: object) -> str:
    if name in {"micro", "macro"}:
        return "total"
    return "" if display.missing(support) or float(str(support)) >= _FEW else "small"


register(Section("classes", "By class", 30, render, tables))
