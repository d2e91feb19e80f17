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
PARTS: Final[dict[str, str]] = {"f1": "F1", "precision": "Precision", "recall": "Recall"}
#: Target modules of each view, and its heading.
VIEWS: Final[dict[str | None, str]] = {
    None: "At the incumbent's other settings",
    "qv": "On q and v",
}
_FEW = 30  # below that many references a class is too small to rank by, and is greyed
_LAST = ("best", "dictionary", "support")


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """One table for each view and part, such as `f1` and `precision_qv`."""
    return {
        _name(part, target): class_table(results, target_modules=target, part=part)
        for target in VIEWS
        for part in _parts(results)
    }


def render(results: StudyResults) -> str:
    """The section's HTML."""
    frames = tables(results)
    views = []
    for target, heading in VIEWS.items():
        shown = {
            title: _one(results, frames[_name(part, target)], f"{title} by class. {heading}.")
            for part, title in _parts(results).items()
            if not frames[_name(part, target)].empty
        }
        views.append({"heading": heading, "parts": shown})
    return fill(
        "classes.html.j2",
        views=views,
        any=any(view["parts"] for view in views),
        by_class=bool(_parts(results)),
        metric=results.objective.name,
        few=_FEW,
    )


def _parts(results: StudyResults) -> dict[str, str]:
    """The parts there are with their titles; none where the metric knows a single class."""
    if results.objective.form == "f1":
        return PARTS
    return {"f1": results.objective.name} if len(results.objective.classes) > 1 else {}


def _name(part: str, target: str | None) -> str:
    return f"{part}_{target}" if target else part


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
