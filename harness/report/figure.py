"""From a DataFrame to a chart as inline SVG: intervals, a scatter with its front, a history.

Horizontal places are shares of the width and text has the page's own size, so that a chart is as
readable on a phone as on a wall and needs no script. Knows nothing of studies or units.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from harness.report.labels import Label, Point, place

if TYPE_CHECKING:
    from harness.report.axis import Axis

_ROW = 26  # pixels from one interval to the next
_LONG = 16  # glyphs of a label that still fits beside the plot on a phone
_HEAD = 24  # pixels above a plot, for the vertical axis' name
_FOOT = 44  # pixels below the plot, for ticks and the axis' name


class Band(NamedTuple):
    """A shaded stretch of the horizontal axis, and what it means."""

    low: float
    high: float
    meaning: str


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
    parts = [_frame(along, height)]
    if band is not None:
        parts.insert(0, _band(along, band, height))
    if line is not None and along.low <= line <= along.high:
        parts.append(_line(along.share(line), 0, along.share(line), height, "zero"))
    labels = []
    for index, row in enumerate(frame.to_dict("records")):
        bottom = 5 + step * (index + 1)
        parts.append(_interval(along, row, bottom - _ROW / 2))
        # A long label stands on a line of its own, so that it fits on a phone.
        where = ("near", 0, "0", bottom - 26) if above else ("label", left, "-12", bottom - 8.5)
        labels.append(
            Markup('<text class="{} {}" x="{}%" dx="{}" y="{}">{}</text>').format(
                where[0], row["kind"], where[1], where[2], _px(where[3]), row["label"]
            )
        )
    body = Markup('<svg class="plot" x="{}%" width="{}%" height="{}">{}</svg>').format(
        left, 97 - left, height + _FOOT, Markup("").join(parts)
    )
    return _figure(body + Markup("").join(labels), height + _FOOT, title, band)


def _interval(along: Axis, row: dict[Any, Any], middle: float) -> Markup:
    value = along.share(row["value"])
    low = 0.0 if pd.isna(row["low"]) else max(0.0, along.share(row["low"]))
    high = 1.0 if pd.isna(row["high"]) else min(1.0, along.share(row["high"]))
    parts = [_line(low, middle, high, middle, "whisker")]
    parts += [
        _line(end, middle - 4, end, middle + 4, "whisker")
        for end, known in ((low, row["low"]), (high, row["high"]))
        if not pd.isna(known)
    ]
    parts.append(_mark(value, middle, str(row["kind"])))
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
    parts = [_frame(across, height), _rungs(up, height)]
    front = [(across.share(row["x"]), _y(up, row["y"], height)) for row in rows if row["front"]]
    parts += _steps(front, "front")
    points = [
        Point(across.share(row["x"]), _y(up, row["y"], height), str(row["label"])) for row in rows
    ]
    for row, (x, y, words), label in zip(rows, points, place(points), strict=True):
        marks = [_mark(x, y, str(row["kind"]))]
        if not (pd.isna(row["low"]) or pd.isna(row["high"])):
            ends = _y(up, row["low"], height), _y(up, row["high"], height)
            marks.insert(0, _line(x, ends[0], x, ends[1], "whisker"))
        if label is not None:
            marks.append(_beside(x, y, words, label))
        parts.append(Markup('<g class="{}">{}</g>').format(row["kind"], Markup("").join(marks)))
    return _figure(_plot(parts, up, height), _HEAD + height + _FOOT, title, None)


def history(
    frame: pd.DataFrame, across: Axis, up: Axis, *, title: str, height: int = 240
) -> Markup:
    """Values in order, with the best so far as a stepped line.

    Args:
        frame: columns `x`, `y`, `best`, in order of `x`.
        across: horizontal axis.
        up: vertical axis.
        title: what the chart shows, also for those who cannot see it.
        height: height of the plot in pixels.
    """
    parts = [_frame(across, height), _rungs(up, height)]
    rows = frame.to_dict("records")
    best = [(across.share(row["x"]), _y(up, row["best"], height)) for row in rows]
    parts += _steps(best, "front")
    for row in rows:
        kind = "strong" if row["y"] == row["best"] else "plain"
        mark = _mark(across.share(row["x"]), _y(up, row["y"], height), kind)
        parts.append(Markup('<g class="{}">{}</g>').format(kind, mark))
    return _figure(_plot(parts, up, height), _HEAD + height + _FOOT, title, None)


def _figure(body: Markup, height: float, title: str, band: Band | None) -> Markup:
    key = Markup("")
    if band is not None:
        key = Markup('<span class="key"><span class="swatch"></span>{}</span>').format(
            band.meaning
        )
    return Markup(
        '<figure><svg class="chart" role="img" width="100%" height="{0}" aria-label="{1}">'
        "{2}</svg><figcaption>{1} {3}</figcaption></figure>"
    ).format(_px(height), title, body, key)


def _plot(parts: list[Markup], up: Axis, height: int) -> Markup:
    return Markup(
        '<text class="up" x="0" y="12">{}</text>'
        '<svg class="plot" x="12%" width="82%" y="{}" height="{}">{}</svg>'
    ).format(up.name, _HEAD, height + _FOOT, Markup("").join(parts))


def _frame(along: Axis, height: float) -> Markup:
    parts = [_line(0, height, 1, height, "axis")]
    for tick in along.ticks():
        share = along.share(tick)
        parts.append(_line(share, 0, share, height, "grid"))
        parts.append(
            Markup('<text class="tick" x="{}" y="{}">{}</text>').format(
                _percent(share), _px(height + 17), along.show(tick)
            )
        )
    parts.append(
        Markup('<text class="name" x="50%" y="{}">{}</text>').format(_px(height + 37), along.name)
    )
    return Markup("").join(parts)


def _rungs(up: Axis, height: float) -> Markup:
    parts = []
    for tick in up.ticks(5):
        y = _y(up, tick, height)
        parts.append(_line(0, y, 1, y, "grid"))
        parts.append(
            Markup('<text class="rung" x="0" dx="-8" y="{}">{}</text>').format(
                _px(y + 4), up.show(tick)
            )
        )
    return Markup("").join(parts)


def _band(along: Axis, band: Band, height: float) -> Markup:
    low, high = max(0.0, along.share(band.low)), min(1.0, along.share(band.high))
    return Markup('<rect class="band" x="{}" y="0" width="{}" height="{}"/>').format(
        _percent(low), _percent(max(0.0, high - low)), _px(height)
    )


def _steps(points: list[tuple[float, float]], kind: str) -> list[Markup]:
    lines = []
    for (x, y), (next_x, next_y) in itertools.pairwise(points):
        lines.append(_line(x, y, next_x, y, kind))
        if next_y != y:
            lines.append(_line(next_x, y, next_x, next_y, kind))
    return lines


def _beside(x: float, y: float, words: str, label: Label) -> Markup:
    kind = f"near {label.anchor}" + (" roomy" if label.roomy else "")
    return Markup('<text class="{}" x="{}" dx="{}" y="{}">{}</text>').format(
        kind, _percent(x), _px(label.dx), _px(y + label.dy), words
    )


def _mark(x: float, y: float, kind: str) -> Markup:
    return Markup('<circle class="mark" cx="{}" cy="{}" r="{}"/>').format(
        _percent(x), _px(y), 5.5 if kind == "strong" else 4
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
        kind, _percent(x1), _px(y1), _percent(x2), _px(y2)
    )


def _y(up: Axis, value: float, height: float) -> float:
    return (1 - up.share(value)) * height


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
