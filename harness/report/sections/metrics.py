"""All metrics of the task, of what was confirmed and of what was not trained.

Scores by class: each rank beside the base, once around the pick and once on q and v.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import pandas as pd
from markupsafe import Markup

from harness.analysis.formatting import MetricFormat
from harness.analysis.metric_tables import (
    MetricDisplay,
    MetricValues,
    class_table,
    metric_values,
    parts_of,
)
from harness.analysis.scores import baselines, configurations, shots
from harness.report import formatting
from harness.report.section import (
    Column,
    Record,
    Section,
    number_column,
    register,
    render_template,
    table,
)

if TYPE_CHECKING:
    from harness.results import StudyResults


_ARROWS: Final = {"maximize": " \u2191", "minimize": " \u2193"}
#: What the rows are, by stage.
CAPTIONS: Final = {
    "confirm": "Finalists on the test split",
    "ablate": "The best cells of the ablation on the validation split",
    "search": "The best trials of the search on the validation split",
    "": "Baselines on the validation split",
}


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """Each metric of each configuration and baseline, one row each."""
    return {"metrics": metric_values(results).frame}


def render(results: StudyResults) -> str:
    """The section's HTML."""
    values = metric_values(results)
    return render_template(
        "metrics.html.j2",
        body="" if values.frame.empty else _metric_table(results, values),
        stage=values.stage,
        others=len(values.metrics) > 1,
        objective=results.objective.name,
        unknown=[metric.name for metric in values.metrics if metric.direction not in _ARROWS],
    )


def _metric_table(results: StudyResults, values: MetricValues) -> str:
    settings = {}
    if values.stage:
        rows_of_stage = configurations(results, values.stage).to_dict("records")
        settings = {str(row["key"]): row for row in rows_of_stage}
    # One row each, in the order of the frame; cells by the metric's name.
    rows: dict[tuple[str, str], dict[str, Record]] = {}
    for row in values.frame.to_dict("records"):
        rows.setdefault((row["key"], row["baseline"]), {})[row["metric"]] = row
    wide = pd.DataFrame(
        [{"key": key, "baseline": name, "cells": cells} for (key, name), cells in rows.items()]
    )

    def name_of(row: Record) -> str:
        if row["baseline"]:
            return formatting.baseline_label(row["baseline"])
        return formatting.label(settings[row["key"]], rate_too=True)

    columns = [Column("Configuration", name_of, numeric=False)]
    columns += [_column(results, metric) for metric in values.metrics]
    columns.append(Column("Seeds", _seeds))
    mean = ", mean over seeds" if values.stage in {"confirm", "ablate"} else ""
    caption = f"{CAPTIONS[values.stage]}, all metrics of the task{mean}."
    return table(wide, columns, caption=caption)


def _column(results: StudyResults, metric: MetricDisplay) -> Column:
    scale = _scale(results, metric)

    def show(of: Callable[[Record], str]) -> Callable[[Record], str]:
        return lambda row: of(row["cells"][metric.name])

    def interval(cell: Record) -> str:
        return formatting.known(scale.interval(cell["low"], cell["high"]))

    return Column(
        metric.name.replace("_", " ") + _ARROWS.get(metric.direction, ""),
        show(lambda cell: scale.show(cell["value"])),
        unit=metric.unit,
        note=show(interval),
    )


def _scale(results: StudyResults, metric: MetricDisplay) -> MetricFormat:
    objective = results.objective
    if metric.name == objective.name:
        return formatting.scale(objective)
    # Nobody says a margin for it: as the objective where it is told on the same scale.
    same = metric.scale == objective.scale
    digits = objective.digits if same else 1 if metric.scale >= 100 else 3
    return MetricFormat(metric.scale, digits, metric.unit or metric.name, formatting.STYLE)


def _seeds(row: Record) -> str:
    if row["baseline"]:
        return formatting.MISSING
    return formatting.count(max(cell["seeds"] for cell in row["cells"].values()))


register(Section("metrics", "All metrics", 35, render, tables))


#: What the parts are called; the first there is is shown at once, the others on demand.
TITLES: Final[dict[str, str]] = {"f1": "F1", "precision": "Precision", "recall": "Recall"}
#: Target modules of each view, and its heading.
VIEWS: Final[dict[str | None, str]] = {
    None: "At the incumbent's other settings",
    "qv": "On q and v",
}
_FEW = 30  # below that many references a class is too small to rank by, and is greyed
_MANY = 20  # more classes than these are folded below their totals


def tables_classes(results: StudyResults) -> dict[str, pd.DataFrame]:
    """One table for each view and part, such as `f1` and `precision_qv`."""
    return {
        _name(part, target): class_table(results, target_modules=target, part=part)
        for target in VIEWS
        for part in parts_of(results.objective)
    }


def render_classes(results: StudyResults) -> str:
    """The section's HTML."""
    frames = tables_classes(results)
    views = []
    for target, heading in VIEWS.items():
        bodies = {
            _title(results, part): _class_html(
                results,
                frames[_name(part, target)],
                f"{_title(results, part)} by class. {heading}.",
            )
            for part in parts_of(results.objective)
            if not frames[_name(part, target)].empty
        }
        views.append({"heading": heading, "parts": bodies})
    return render_template(
        "classes.html.j2",
        views=views,
        any=any(view["parts"] for view in views),
        by_class=bool(parts_of(results.objective)),
        metric=results.objective.name,
        highest=formatting.highest(results.objective),
        few=_FEW,
        small=any((frame["support"] < _FEW).any() for frame in frames.values()),
    )


def _title(results: StudyResults, part: str) -> str:
    name = results.objective.name.replace("_", " ")
    return TITLES.get(part, name[:1].upper() + name[1:])


def _name(part: str, target: str | None) -> str:
    return f"{part}_{target}" if target else part


def _class_html(results: StudyResults, frame: pd.DataFrame, caption: str) -> Markup:
    show = formatting.scale(results.objective).show
    names = [str(name) for name in frame.columns if name != "class"]
    # The base model stands before the ranks, what else needs no adapter behind the best.
    others = [name for name in baselines(results, "validation") if shots(name) is None]
    last = ["best", *others, "support"]
    columns = [Column("Class", lambda row: _class(results, str(row["class"])), numeric=False)]
    columns += [_column_classes(name, show) for name in names if name not in last]
    columns += [_column_classes(name, show) for name in last if name in names]
    totals = frame["class"].isin(["micro", "macro"])
    parts = [frame] if len(frame) <= _MANY else [frame[totals], frame[~totals]]
    tables = [
        table(
            part,
            columns,
            caption=caption,
            mark=lambda row: _mark(str(row["class"]), row.get("support")),
        )
        for part in parts
    ]
    if len(tables) == 1:
        return tables[0]
    return tables[0] + Markup("<details><summary>All {} classes</summary>{}</details>").format(
        len(parts[1]), tables[1]
    )


def _class(results: StudyResults, name: str) -> str:
    """A row's name; what F1 calls micro and macro says nothing of an accuracy."""
    if "f1" in parts_of(results.objective):
        return name
    return {"micro": "all examples", "macro": "mean of classes"}.get(name, name)


def _column_classes(name: str, show: Callable[[object], str]) -> Column:
    heading = {"best": "Best", "support": "Support"}.get(name, formatting.baseline_label(name))
    if name == "support":
        return number_column(heading, name, formatting.count, "references")
    return number_column(heading, name, show)


def _mark(name: str, support: object) -> str:
    if name in {"micro", "macro"}:
        return "total"
    return "" if formatting.missing(support) or float(str(support)) >= _FEW else "small"


register(Section("classes", "By class", 30, render_classes, tables_classes))
