"""Scores by class: each rank beside the base, once around the pick and once on q and v."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from harness.analysis.classes import class_table, parts_of
from harness.analysis.scores import baselines, shots
from harness.report import display
from harness.report.section import Section, register
from harness.report.table import Column, figures, table
from harness.report.templating import fill

if TYPE_CHECKING:
    import pandas as pd

    from harness.results import StudyResults

#: What the parts are called; the first there is is shown at once, the others on demand.
TITLES: Final[dict[str, str]] = {"f1": "F1", "precision": "Precision", "recall": "Recall"}
#: Target modules of each view, and its heading.
VIEWS: Final[dict[str | None, str]] = {
    None: "At the incumbent's other settings",
    "qv": "On q and v",
}
_FEW = 30  # below that many references a class is too small to rank by, and is greyed
_MANY = 20  # more classes than these are folded below their totals


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """One table for each view and part, such as `f1` and `precision_qv`."""
    return {
        _name(part, target): class_table(results, target_modules=target, part=part)
        for target in VIEWS
        for part in parts_of(results.objective)
    }


def render(results: StudyResults) -> str:
    """The section's HTML."""
    frames = tables(results)
    views = []
    for target, heading in VIEWS.items():
        shown = {
            _title(results, part): _one(
                results,
                frames[_name(part, target)],
                f"{_title(results, part)} by class. {heading}.",
            )
            for part in parts_of(results.objective)
            if not frames[_name(part, target)].empty
        }
        views.append({"heading": heading, "parts": shown})
    return fill(
        "classes.html.j2",
        views=views,
        any=any(view["parts"] for view in views),
        by_class=bool(parts_of(results.objective)),
        metric=results.objective.name,
        highest=display.highest(results.objective),
        few=_FEW,
        small=any((frame["support"] < _FEW).any() for frame in frames.values()),
    )


def _title(results: StudyResults, part: str) -> str:
    name = results.objective.name.replace("_", " ")
    return TITLES.get(part, name[:1].upper() + name[1:])


def _name(part: str, target: str | None) -> str:
    return f"{part}_{target}" if target else part


def _one(results: StudyResults, frame: pd.DataFrame, caption: str) -> Markup:
    show = display.scale(results.objective).show
    names = [str(name) for name in frame.columns if name != "class"]
    # The bare base stands before the ranks, what else needs no adapter behind the best.
    others = [name for name in baselines(results, "validation") if shots(name) is None]
    last = ["best", *others, "support"]
    columns = [Column("Class", lambda row: _class(results, str(row["class"])), numeric=False)]
    columns += [_column(name, show) for name in names if name not in last]
    columns += [_column(name, show) for name in last if name in names]
    totals = frame["class"].isin(["micro", "macro"])
    parts = [frame] if len(frame) <= _MANY else [frame[totals], frame[~totals]]
    made = [
        table(
            part,
            columns,
            caption=caption,
            mark=lambda row: _mark(str(row["class"]), row.get("support")),
        )
        for part in parts
    ]
    if len(made) == 1:
        return made[0]
    return made[0] + Markup("<details><summary>All {} classes</summary>{}</details>").format(
        len(parts[1]), made[1]
    )


def _class(results: StudyResults, name: str) -> str:
    """A row's name; what F1 calls micro and macro says nothing of an accuracy."""
    if "f1" in parts_of(results.objective):
        return name
    return {"micro": "all examples", "macro": "mean of classes"}.get(name, name)


def _column(name: str, show: Callable[[object], str]) -> Column:
    heading = {"best": "Best", "support": "Support"}.get(name, display.baseline(name))
    if name == "support":
        return figures(heading, name, display.count, "references")
    return figures(heading, name, show)


def _mark(name: str, support: object) -> str:
    if name in {"micro", "macro"}:
        return "total"
    return "" if display.missing(support) or float(str(support)) >= _FEW else "small"


register(Section("classes", "By class", 30, render, tables))
