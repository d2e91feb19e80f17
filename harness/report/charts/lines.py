"""A chart of lines with their bands as inline SVG, each line named where it ends.

Told apart by dashes and names, not by colour alone. Knows nothing of studies or units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from markupsafe import Markup

from harness.report.charts.svg import (
    FOOT,
    HEAD,
    ROOM,
    figure,
    frame_of,
    height_at,
    mark,
    percent,
    px,
    rungs,
    stroke,
)
from harness.report.formatting import truncate

if TYPE_CHECKING:
    import pandas as pd

    from harness.report.charts.axis import Axis

#: Patterns of dashes that there are (`.dash-0` ... in the style); the first is a solid line.
DASHES: Final = 6
_WIDE = 1000  # units of the inner picture, which is stretched to the plot's width
_GAP = 15.0  # pixels from one name to the next


class Line(NamedTuple):
    """One line of a chart.

    Attributes:
        points: columns `x`, `y` in order of `x`, and `low`, `high` where it has a band.
        label: short name at its end; empty for none.
        more: rest of the name, left out where the chart is narrow.
        kind: `strong`, `plain`, `faint` or `warm`.
        dash: pattern of its dashes, from 0 (solid) to `DASHES` - 1.
        ring: index of the point that is ringed, or None.
    """

    points: pd.DataFrame
    label: str = ""
    more: str = ""
    kind: str = "plain"
    dash: int = 0
    ring: int | None = None


def lines(
    drawn: Sequence[Line], across: Axis, up: Axis, *, title: str, height: int = 320
) -> Markup:
    """Lines with their bands; a line of one point is drawn as a mark.

    Args:
        drawn: the lines, the last one on top.
        across: horizontal axis.
        up: vertical axis.
        title: what the chart shows, also for those who cannot see it.
        height: height of the plot in pixels.
    """
    paths = [_path(line, across, up, height) for line in drawn]
    parts = [
        frame_of(across, height),
        rungs(up, height),
        # Paths know no per cent: they are drawn in units of their own and stretched.
        Markup(
            '<svg width="100%" height="{0}" viewBox="0 0 {1} {0}" preserveAspectRatio="none">'
            "{2}</svg>"
        ).format(height, _WIDE, Markup("").join(paths)),
        *(_points(line, across, up, height) for line in drawn),
    ]
    named = [line for line in reversed(drawn) if line.label]  # of equals the top one is above
    ends = [height_at(up, line.points["y"].iloc[-1], height) for line in named]
    for line, end, at in zip(named, ends, apart(ends, _GAP, height), strict=True):
        parts.append(_name(line, across.share(line.points["x"].iloc[-1]), end, at))
    # Names stand to the right of the plot; the narrower it is, the more room they have.
    kind, width = ("plot named", "70%") if named else ("plot", "82%")
    plot = Markup(
        '<text class="up" x="0" y="12">{}</text>'
        '<svg class="{}" x="12%" width="{}" y="{}" height="{}">{}</svg>'
    ).format(truncate(up.name, ROOM), kind, width, HEAD, height + FOOT, Markup("").join(parts))
    return figure(plot, HEAD + height + FOOT, title, None)


def sample(kind: str, dash: int) -> Markup:
    """A short piece of a line, for the table that says which it is."""
    return Markup(
        '<svg class="sample" width="30" height="8" aria-hidden="true"><g class="{}">'
        '<path class="curve dash-{}" d="M0 4H30"/></g></svg>'
    ).format(kind, dash)


def apart(places: Sequence[float], gap: float, length: float) -> list[float]:
    """Moves places until neighbours are a gap apart, by the least sum of squares.

    Args:
        places: wanted places, in any order.
        gap: least distance of two neighbours.
        length: places end up from 0 to here as long as there is room for all.

    Returns:
        The places in the order they were given.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    # Less their gaps, places need only be in order: a regression by pooling neighbours.
    pools: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        mean, size = places[index] - rank * gap, 1
        while pools and pools[-1][0] > mean:
            other, count = pools.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        pools.append((mean, size))
    room = max(0.0, length - gap * (len(places) - 1))
    flat = [min(max(mean, 0.0), room) for mean, size in pools for _ in range(size)]
    moved = [0.0] * len(places)
    for rank, (index, place) in enumerate(zip(order, flat, strict=True)):
        moved[index] = place + rank * gap
    return moved


def _path(line: Line, across: Axis, up: Axis, height: int) -> Markup:
    points = line.points
    if len(points) < 2:
        return Markup("")
    parts = []
    if {"low", "high"} <= set(points.columns):
        there = _corners(points["x"], points["high"], across, up, height)
        back = _corners(points["x"], points["low"], across, up, height)[::-1]
        parts.append(Markup('<path class="spread" d="M{}Z"/>').format("L".join([*there, *back])))
    corners = _corners(points["x"], points["y"], across, up, height)
    parts.append(
        Markup('<path class="curve dash-{}" d="M{}"/>').format(line.dash, "L".join(corners))
    )
    return Markup('<g class="{}">{}</g>').format(line.kind, Markup("").join(parts))


def _corners(x: pd.Series, y: pd.Series, across: Axis, up: Axis, height: int) -> list[str]:
    return [
        f"{px(_WIDE * across.share(one))} {px(height_at(up, other, height))}"
        for one, other in zip(x, y, strict=True)
    ]


def _points(line: Line, across: Axis, up: Axis, height: int) -> Markup:
    parts = []
    for index, (x, y) in enumerate(zip(line.points["x"], line.points["y"], strict=True)):
        at = across.share(x), height_at(up, y, height)
        if index == line.ring:
            ring = Markup('<circle class="ring" cx="{}" cy="{}" r="5"/>')
            parts.append(ring.format(percent(at[0]), px(at[1])))
        elif len(line.points) == 1:
            parts.append(mark(*at, line.kind))
    if not parts:
        return Markup("")
    return Markup('<g class="{}">{}</g>').format(line.kind, Markup("").join(parts))


def _name(line: Line, x: float, end: float, at: float) -> Markup:
    more = Markup('<tspan class="roomy"> {}</tspan>').format(line.more) if line.more else ""
    # From the line's end to the edge, then aslant to the name, which may have been moved.
    leader = stroke(x, end, 1.0, end, "leader") if x < 0.995 else ""
    return Markup(
        '{}<svg x="100%" width="1" height="1"><line class="leader" x1="3" y1="{}" x2="13" '
        'y2="{}"/><text class="near" x="17" y="{}">{}{}</text></svg>'
    ).format(leader, px(end), px(at), px(at + 4), line.label, more)
