"""`Section`: one part of the report, and the registry that the page is made of.

A section is a small publisher: a name, a place in the order, tidy tables, and their rendering.
Knows none of the sections there are; each file of `sections/` registers itself.

The Jinja environment of the report: everything is escaped, every missing name is an error.

Knows where the templates lie, not what is in them.

From a tidy DataFrame to an HTML table: headings with units, aligned numbers, a dash for none.

Knows nothing of studies; every text in a frame is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jinja2
import pandas as pd
from markupsafe import Markup

from harness.registry import Registry
from harness.report import formatting
from harness.results import StudyResults


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
    """

    name: str
    title: str
    order: int
    render: Callable[[StudyResults], str]
    tables: Callable[[StudyResults], dict[str, pd.DataFrame]]


SECTIONS: Final[Registry[Section]] = Registry("report section")


def register(section: Section) -> Section:
    """Adds a section to the report and returns it."""
    return SECTIONS.add(section.name, section)


def sections_in_order() -> tuple[Section, ...]:
    """The registered sections as they stand on the page."""
    return tuple(sorted((section for _, section in SECTIONS), key=lambda one: one.order))


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
    """An HTML table.

    Args:
        frame: one row for each row of the table.
        columns: what is shown; the first column names the row.
        caption: what the table shows, in a sentence.
        mark: CSS classes of a row.
        data: `data-` attributes of a row.
        sortable: whether the headings sort the table.
        name: the table's id on the page.
    """
    rows = [
        {
            "mark": mark(record) if mark else "",
            "data": dict(data(record)) if data else {},
            "cells": [_cell(column, record, sortable) for column in columns],
        }
        for record in frame.to_dict("records")
    ]
    return render_template(
        "table.html.j2",
        columns=columns,
        rows=rows,
        caption=caption,
        sortable=sortable,
        name=name,
    )


def badge(word: str, kind: str = "plain") -> Markup:
    """A small mark behind a cell's text."""
    return Markup(' <span class="tag tag-{}">{}</span>').format(kind, word)


def _cell(column: Column, record: Record, sortable: bool) -> dict[str, Any]:
    note = column.note(record) if column.note else ""
    shown: dict[str, Any] = {"text": column.show(record), "note": note, "key": None}
    if sortable and column.value is not None:
        value = record[column.value]
        shown["key"] = "" if formatting.missing(value) else str(value)
    return shown
