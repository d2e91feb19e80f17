"""The pieces that all charts are made of, as inline SVG.

Horizontal places are shares of the width and text has the page's own size, so that a chart is as
readable on a phone as on a wall and needs no script. Knows nothing of studies or units.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

from markupsafe import Markup

from harness.report.formatting import truncate

if TYPE_CHECKING:
    from harness.report.charts.axis import Axis

#: Pixels above a plot, for the vertical axis' name.
HEAD: Final = 24
#: Pixels below it, for ticks and the axis' name.
FOOT: Final = 44
#: Glyphs of a text that still fits on a phone, across a whole chart.
ROOM: Final = 50


class Band(NamedTuple):
    """A shaded stretch of the horizontal axis, and what it means."""

    low: float
    high: float
    meaning: str


def figure(body: Markup, height: float, title: str, band: Band | None) -> Markup:
    """A chart with its title, which screen readers are told, too.

    Args:
        body: its parts.
        height: in pixels.
        title: what it shows.
        band: a shaded stretch to explain, or None.
    """
    key = Markup("")
    if band is not None:
        key = Markup('<span class="key"><span class="swatch"></span>{}</span>').format(
            band.meaning
        )
    return Markup(
        '<figure><svg class="chart" role="img" width="100%" height="{0}" aria-label="{1}">'
        "{2}</svg><figcaption>{1} {3}</figcaption></figure>"
    ).format(px(height), title, body, key)


def plot(parts: list[Markup], up: Axis, height: int) -> Markup:
    """The vertical axis' name, and the parts of a plot beneath it."""
    return Markup(
        '<text class="up" x="0" y="12">{}</text>'
        '<svg class="plot" x="12%" width="82%" y="{}" height="{}">{}</svg>'
    ).format(truncate(up.name, ROOM), HEAD, height + FOOT, Markup("").join(parts))


def frame_of(along: Axis, height: float, room: int = ROOM) -> Markup:
    """The horizontal axis: its ticks, their lines and its name, cut to so many glyphs."""
    parts = [stroke(0, height, 1, height, "axis")]
    for tick in along.ticks():
        share = along.share(tick)
        parts.append(stroke(share, 0, share, height, "grid"))
        parts.append(
            Markup('<text class="tick" x="{}" y="{}">{}</text>').format(
                percent(share), px(height + 17), along.show(tick)
            )
        )
    parts.append(
        Markup('<text class="name" x="50%" y="{}">{}</text>').format(
            px(height + 37), truncate(along.name, room)
        )
    )
    return Markup("").join(parts)


def rungs(up: Axis, height: float) -> Markup:
    """The vertical axis: its ticks and their lines."""
    parts = []
    for tick in up.ticks(5):
        y = height_at(up, tick, height)
        parts.append(stroke(0, y, 1, y, "grid"))
        parts.append(
            Markup('<text class="rung" x="0" dx="-8" y="{}">{}</text>').format(
                px(y + 4), up.show(tick)
            )
        )
    return Markup("").join(parts)


def steps(points: list[tuple[float, float]], kind: str) -> list[Markup]:
    """Points joined by a stepped line of a class."""
    lines = []
    for (x, y), (next_x, next_y) in itertools.pairwise(points):
        lines.append(stroke(x, y, next_x, y, kind))
        if next_y != y:
            lines.append(stroke(next_x, y, next_x, next_y, kind))
    return lines


def mark(x: float, y: float, kind: str) -> Markup:
    """A point; a strong one is larger."""
    return Markup('<circle class="mark" cx="{}" cy="{}" r="{}"/>').format(
        percent(x), px(y), 5.5 if kind == "strong" else 4
    )


def stroke(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A line of a class; horizontal places are shares of the width."""
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
        kind, percent(x1), px(y1), percent(x2), px(y2)
    )


def height_at(up: Axis, value: float, height: float) -> float:
    """Pixels from the top at which a value stands."""
    return (1 - up.share(value)) * height


def percent(share: float) -> str:
    """A share of the width as SVG has it."""
    return f"{100 * share:.2f}%"


def px(value: float) -> str:
    """Pixels, as short as they can be written."""
    return f"{value:.1f}".removesuffix(".0")
