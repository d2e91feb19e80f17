"""From a DataFrame to a chart as inline SVG: intervals, a scatter with its front.

Horizontal places are shares of the width and text has the page's own size, so that a chart is as
readable on a phone as on a wall and needs no script. Knows nothing of studies or units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from markupsafe import Markup

from harness.report.charts.labels import Label, Point, place
from harness.report.charts.svg import (
    FOOT,
    HEAD,
    ROOM,
    Band,
    figure,
    frame_of,
    height_at,
    mark,
    percent,
    plot,
    px,
    rungs,
    steps,
    stroke,
)
from harness.report.formatting import truncate

if TYPE_CHECKING:
    from harness.report.charts.axis import Axis

_ROW = 26  # pixels from one interval to the next
_BESIDE = 40  # glyphs of an axis' name where labels stand beside the plot
_LONG = 16  # glyphs of a label that still fits beside the plot on a phone


def intervals(
    frame: pd.DataFrame, along: Axis, *, title: str, band: Band | None = None, line: float | None
) -> Markup:
    """Points with their intervals, one below the other.

    Args:
        frame: columns `label`, `value`, `low`, `high` (an open end is missing) and `kind`: one
            of `plain`, `strong`, `reference`, `faint`.
        along: the horizontal axis.
        title: what the chart shows, also for those who cannot see it.
        band: stretch to shade, such as the margin of equivalence.
        line: value at which a vertical line stands, or None.
    """
    above = max((len(str(words)) for words in frame["label"]), default=0) > _LONG
    step, left = (_ROW + 14, 2) if above else (_ROW, 27)
    height = step * len(frame) + 10
    parts = [frame_of(along, height, ROOM if above else _BESIDE)]
    if band is not None:
        parts.insert(0, _band(along, band, height))
    if line is not None and along.low <= line <= along.high:
        parts.append(stroke(along.share(line), 0, along.share(line), height, "zero"))
    labels = []
    for index, row in enumerate(frame.to_dict("records")):
        bottom = 5 + step * (index + 1)
        parts.append(_interval(along, row, bottom - _ROW / 2))
        # A long label stands on a line of its own, so that it fits on a phone.
        where = ("near", 0, "0", bottom - 26) if above else ("label", left, "-12", bottom - 8.5)
        labels.append(
            Markup('<text class="{} {}" x="{}%" dx="{}" y="{}">{}</text>').format(
                where[0],
                row["kind"],
                where[1],
                where[2],
                px(where[3]),
                truncate(str(row["label"]), ROOM),
            )
        )
    body = Markup('<svg class="plot" x="{}%" width="{}%" height="{}">{}</svg>').format(
        left, 97 - left, height + FOOT, Markup("").join(parts)
    )
    return figure(body + Markup("").join(labels), height + FOOT, title, band)


def _interval(along: Axis, row: dict[Any, Any], middle: float) -> Markup:
    value = along.share(row["value"])
    low = 0.0 if pd.isna(row["low"]) else max(0.0, along.share(row["low"]))
    high = 1.0 if pd.isna(row["high"]) else min(1.0, along.share(row["high"]))
    parts = [stroke(low, middle, high, middle, "whisker")]
    parts += [
        stroke(end, middle - 4, end, middle + 4, "whisker")
        for end, known in ((low, row["low"]), (high, row["high"]))
        if not pd.isna(known)
    ]
    parts.append(mark(value, middle, str(row["kind"])))
    return Markup('<g class="{}">{}</g>').format(row["kind"], Markup("").join(parts))


def scatter(
    frame: pd.DataFrame, across: Axis, up: Axis, *, title: str, height: int = 320
) -> Markup:
    """Points with vertical intervals; the front is joined by a stepped line.

    Args:
        frame: columns `x`, `y`, `low`, `high` (may be missing), `label` (may be empty), `kind`
            (`plain`, `strong`, `faint`) and `front` (whether the point lies on the front).
        across: horizontal axis.
        up: vertical axis.
        title: what the chart shows, also for those who cannot see it.
        height: height of the plot in pixels.
    """
    rows = frame.sort_values("x", kind="stable").to_dict("records")
    parts = [frame_of(across, height), rungs(up, height)]
    front = [
        (across.share(row["x"]), height_at(up, row["y"], height)) for row in rows if row["front"]
    ]
    parts += steps(front, "front")
    points = [
        Point(across.share(row["x"]), height_at(up, row["y"], height), str(row["label"]))
        for row in rows
    ]
    for row, (x, y, words), label in zip(rows, points, place(points), strict=True):
        marks = [mark(x, y, str(row["kind"]))]
        if not (pd.isna(row["low"]) or pd.isna(row["high"])):
            ends = height_at(up, row["low"], height), height_at(up, row["high"], height)
            marks.insert(0, stroke(x, ends[0], x, ends[1], "whisker"))
        if label is not None:
            marks.append(_beside(x, y, words, label))
        parts.append(Markup('<g class="{}">{}</g>').format(row["kind"], Markup("").join(marks)))
    return figure(plot(parts, up, height), HEAD + height + FOOT, title, None)


def _band(along: Axis, band: Band, height: float) -> Markup:
    low, high = max(0.0, along.share(band.low)), min(1.0, along.share(band.high))
    return Markup('<rect class="band" x="{}" y="0" width="{}" height="{}"/>').format(
        percent(low), percent(max(0.0, high - low)), px(height)
    )


def _beside(x: float, y: float, words: str, label: Label) -> Markup:
    kind = f"near {label.anchor}" + (" roomy" if label.roomy else "")
    return Markup('<text class="{}" x="{}" dx="{}" y="{}">{}</text>').format(
        kind, percent(x), px(label.dx), px(y + label.dy), words
    )
