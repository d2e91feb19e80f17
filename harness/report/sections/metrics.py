"""All metrics of the task, of what was confirmed and of what was not trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import pandas as pd

from harness.analysis.metric_values import Shown, Values, metric_values
from harness.analysis.scores import configurations
from harness.report import display
from harness.report.section import Section, register
from harness.report.table import Column, Record, table
from harness.report.templating import fill

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
    found = metric_values(results)
    return fill(
        "metrics.html.j2",
        body="" if found.frame.empty else _one(results, found),
        stage=found.stage,
        others=len(found.metrics) > 1,
        objective=results.objective.name,
        unknown=[one.name for one in found.metrics if one.direction not in _ARROWS],
    )


def _one(results: StudyResults, found: Values) -> str:
    settings = {}
    if found.stage:
        chosen = configurations(results, found.stage).to_dict("records")
        settings = {str(row["key"]): row for row in chosen}
    # One row each, in the order of the frame; cells by the metric's name.
    rows: dict[tuple[str, str], dict[str, Record]] = {}
    for row in found.frame.to_dict("records"):
        rows.setdefault((row["key"], row["baseline"]), {})[row["metric"]] = row
    wide = pd.DataFrame(
        [{"key": key, "baseline": name, "cells": cells} for (key, name), cells in rows.items()]
    )

    def who(row: Record) -> str:
        if row["baseline"]:
            return display.baseline(row["baseline"])
        return display.label(settings[row["key"]], rate_too=True)

    columns = [Column("Configuration", who, numeric=False)]
    columns += [_column(results, metric) for metric in found.metrics]
    columns.append(Column("Seeds", _seeds))
    mean = ", mean over seeds" if found.stage in {"confirm", "ablate"} else ""
    caption = f"{CAPTIONS[found.stage]}, all metrics of the task{mean}."
    return table(wide, columns, caption=caption)


def _column(results: StudyResults, metric: Shown) -> Column:
    scale = _scale(results, metric)

    def show(of: Callable[[Record], str]) -> Callable[[Record], str]:
        return lambda row: of(row["cells"][metric.name])

    def interval(cell: Record) -> str:
        told = scale.interval(cell["low"], cell["high"])
        return "" if told == display.MISSING else told

    return Column(
        metric.name.replace("_", " ") + _ARROWS.get(metric.direction, ""),
        show(lambda cell: scale.show(cell["value"])),
        unit=metric.unit,
        note=show(interval),
    )


def _scale(results: StudyResults, metric: Shown) -> display.Scale:
    objective = results.objective
    if metric.name == objective.name:
        return display.scale(objective)
    # Nobody says a margin for it: as the objective where it is told on the same scale.
    same = metric.scale == objective.scale
    digits = objective.digits if same else 1 if metric.scale >= 100 else 3
    return display.Scale(metric.scale, digits, metric.unit or metric.name)


def _seeds(row: Record) -> str:
    if row["baseline"]:
        return display.MISSING
    return display.count(max(cell["seeds"] for cell in row["cells"].values()))


register(Section("metrics", "All metrics", 35, render, tables))
