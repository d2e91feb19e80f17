"""`Section`: one part of the report, and what its HTML is made of.

A section is a small publisher: a name, a place in the order, tidy tables, charts, and their
rendering. Each file of `sections/` registers its own. Templates, tables and charts escape every
text that comes from outside, and a name that a template misses is an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jinja2
import pandas as pd
from markupsafe import Markup

from harness.registry import Registry
from harness.report import formatting
from harness.results import StudyResults

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from harness.analysis.formatting import MetricFormat


class Chart(NamedTuple):
    """A figure and what it shows, in sentences, also for those who cannot see it."""

    figure: Figure
    caption: str


def no_charts(results: StudyResults) -> list[Chart]:
    """The charts of a section that has none."""
    del results
    return []


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes:
        name: short name, also the anchor on the page.
        title: heading on the page.
        order: place on the page, lowest first.
        render: the section's HTML, without its heading; works on a study of any size, also an
            empty one, and escapes every text that comes from outside.
        tables: the tidy tables behind what is shown, by name (empty frames are left out).
        charts: the charts on the page, in its order.
    """

    name: str
    title: str
    order: int
    render: Callable[[StudyResults], str]
    tables: Callable[[StudyResults], dict[str, pd.DataFrame]]
    charts: Callable[[StudyResults], list[Chart]] = no_charts


SECTIONS: Final[Registry[Section]] = Registry("report section")


def register(section: Section) -> Section:
    """Adds a section to the report and returns it."""
    return SECTIONS.add(section.name, section)


def sections_in_order() -> tuple[Section, ...]:
    """The registered sections as they stand on the page."""
    return tuple(sorted((section for _, section in SECTIONS), key=lambda section: section.order))


_ENVIRONMENT: Final = jinja2.Environment(
    loader=jinja2.PackageLoader("harness.report", "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals["show"] = {
    "count": formatting.count,
    "memory": formatting.memory,
    "rate": formatting.rate,
    "seconds": formatting.seconds,
    "short": formatting.short,
}


def render_template(template: str, **values: Any) -> Markup:
    """A template of the report, filled in; texts are escaped, `Markup` is taken as it is."""
    return Markup(_ENVIRONMENT.get_template(template).render(**values))


def template_source(template: str) -> str:
    """A template's own text, for what must be known to the byte, such as a hashed script."""
    assert _ENVIRONMENT.loader is not None
    return _ENVIRONMENT.loader.get_source(_ENVIRONMENT, template)[0]


#: One row of a frame, by column.
Record = Mapping[Any, Any]

_LINES: Final = 2000  # glyphs of a text that may be broken into lines


@dataclass(frozen=True)
class Column:
    """One column of a shown table.

    Attributes:
        heading: what stands above it.
        show: the cell's text, from the frame's row; `Markup` is not escaped.
        unit: unit or other small print below the heading.
        numeric: aligned to the right, in figures of equal width.
        value: name of the frame's column that the cell is sorted by, if the table can be sorted.
        wide: may be broken into several lines.
        note: small print below the cell's text, such as its interval, from the frame's row.
    """

    heading: str
    show: Callable[[Record], str]
    unit: str = ""
    numeric: bool = True
    value: str | None = None
    wide: bool = False
    note: Callable[[Record], str] | None = None


def text_column(heading: str, name: str, *, wide: bool = False) -> Column:
    """A column of words."""

    def show(row: Record) -> str:
        value = row[name]
        # There is room for several lines, such as all seeds of a stage.
        return (
            formatting.truncate(value, _LINES)
            if wide and isinstance(value, str)
            else formatting.short(value)
        )

    return Column(heading, show, numeric=False, value=name, wide=wide)


def number_column(
    heading: str,
    name: str,
    show: Callable[[Any], str] = formatting.short,
    unit: str = "",
    note: Callable[[Record], str] | None = None,
) -> Column:
    """A column of numbers."""
    return Column(heading, lambda row: show(row[name]), unit=unit, value=name, note=note)


def interval_column(heading: str, scale: MetricFormat) -> Column:
    """The column `value` in the metric's unit, with the interval `low` to `high` below it."""

    def interval(row: Record) -> str:
        return formatting.known(scale.interval(row["low"], row["high"]))

    return number_column(heading, "value", scale.show, scale.unit, interval)


def configuration_column() -> Column:
    """The configuration of each row with its learning rate."""

    def show(row: Record) -> str:
        return formatting.label(row, rate_too=True)

    return Column("Configuration", show, numeric=False)


def table(
    frame: pd.DataFrame,
    columns: Sequence[Column],
    *,
    caption: str,
    mark: Callable[[Record], str] | None = None,
    data: Callable[[Record], Mapping[str, str]] | None = None,
    sortable: bool = False,
    name: str = "",
) -> Markup:
    """An HTML table; empty without a row.

    Args:
        frame: one row for each row of the table.
        columns: what is shown; the first column names the row.
        caption: what the table shows, in a sentence.
        mark: CSS classes of a row.
        data: `data-` attributes of a row.
        sortable: whether the headings sort the table.
        name: the table's id on the page.
    """
    if frame.empty:
        return Markup("")
    rows = [
        {
            "mark": mark(record) if mark else "",
            "data": dict(data(record)) if data else {},
            "cells": [_cell(column, record, sortable) for column in columns],
        }
        for record in frame.to_dict("records")
    ]
    values = {"columns": columns, "rows": rows, "caption": caption}
    return render_template("table.html.j2", sortable=sortable, name=name, **values)


def badge(word: str, kind: str = "plain") -> Markup:
    """A small mark behind a cell's text."""
    return Markup(' <span class="tag tag-{}">{}</span>').format(kind, word)


def chart_html(*shown: Chart, caption: str = "", style: str = "") -> Markup:
    """Charts as a part of the page, whose script draws them; empty without a chart.

    Without script the part stays hidden: tables have the same numbers.

    Args:
        shown: one chart, or several that stand side by side.
        caption: sentences below them; of one chart its own.
        style: a further CSS class.
    """
    if not shown:
        return Markup("")
    plots = Markup("").join(
        Markup(
            '<div><div class="plot" role="img" tabindex="0" aria-label="{}"></div>'
            '<script type="application/json">{}</script></div>'
        ).format(chart.caption, Markup(_figure_json(chart.figure)))
        for chart in shown
    )
    return Markup(
        '<figure class="chart {}" hidden><div>{}</div><figcaption>{}</figcaption></figure>'
    ).format(style, plots, caption or shown[0].caption)


def _figure_json(figure: Figure) -> str:
    """A figure without its template, which all charts of a page share."""
    spec = figure.to_plotly_json()
    spec["layout"].pop("template", None)
    return script_json({"data": spec["data"], "layout": spec["layout"]})


def script_json(value: Any) -> str:
    """A value as JSON that can stand in a `<script>`."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


def _cell(column: Column, record: Record, sortable: bool) -> dict[str, Any]:
    note = column.note(record) if column.note else ""
    shown: dict[str, Any] = {"text": column.show(record), "note": note, "key": None}
    if sortable and column.value is not None:
        value = record[column.value]
        shown["key"] = "" if formatting.missing(value) else str(value)
    return shown
