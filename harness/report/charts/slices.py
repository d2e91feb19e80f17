"""Charts of many trials: small multiples, a heat map, and a history with a band, as inline SVG.

Points are one path for all of a kind, in units of the plot, so that a page of thousands of trials
stays small. Knows nothing of studies or units.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import pandas as pd
from markupsafe import Markup

from harness.report.charts.along import Along, Tick, short
from harness.report.charts.svg import (
    FOOT,
    HEAD,
    ROOM,
    figure,
    frame_of,
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
    from harness.report.charts.svg import Band

#: Side of the square that points are placed in; it is stretched to the plot.
UNITS: Final = 1000
_NARROW: Final = 230.0  # pixels of the narrowest plot
_GLYPH: Final = 6.4  # mean width of a glyph, in pixels
_LINE: Final = 14  # pixels from one row of ticks to the next
_CELL: Final = 42  # pixels, height of a heat map's cell
_PANEL: Final = 150  # pixels, height of one of the multiples


def multiples(frame: pd.DataFrame, alongs: Mapping[str, Along], up: Axis, *, title: str) -> Markup:
    """One small chart a parameter: the scores against its levels.

    Args:
        frame: columns `number`, `parameter`, `level`, `value` and `best` (drawn strong).
        alongs: the axis of each parameter, in the order of the charts.
        up: the axis of the scores, the same for all; a value off it stands on its edge.
        title: what the charts show.
    """
    panels = []
    for parameter, across in alongs.items():
        rows = frame[frame["parameter"] == parameter].to_dict("records")
        points = [
            (across.spread(row["level"], row["number"]), up.share(row["value"]), bool(row["best"]))
            for row in rows
        ]
        deep, texts = _ticks(across.ticks, _PANEL)
        whole = HEAD + _PANEL + 8 + _LINE * deep
        grid = [stroke(tick.share, 0, tick.share, _PANEL, "grid") for tick in across.ticks]
        parts = [*grid, rungs(up, _PANEL), stroke(0, _PANEL, 1, _PANEL, "axis"), *texts]
        body = plot([*parts, dots(points, _PANEL)], up._replace(name=across.name), _PANEL)
        panels.append(
            Markup(
                '<svg class="chart" role="img" width="100%" height="{}" aria-label="{}">{}</svg>'
            ).format(px(whole), f"{up.name} by {across.name}", body)
        )
    return Markup(
        '<figure class="multiples"><div>{}</div><figcaption>{}</figcaption></figure>'
    ).format(Markup("").join(panels), title)


def best_so_far(
    frame: pd.DataFrame,
    across: Axis,
    up: Axis,
    *,
    title: str,
    band: Band | None,
    height: int = 240,
) -> Markup:
    """Values in order, with the best so far as a stepped line and a band around it.

    Args:
        frame: columns `x`, `y`, `best`, `low`, `high` (missing where not known) and `shown`
            (whether its point is drawn), in order of `x`.
        across: horizontal axis.
        up: vertical axis; a value off it stands on its edge.
        title: what the chart shows, also for those who cannot see it.
        band: what the band means, if there is one.
        height: height of the plot in pixels.
    """
    parts = [frame_of(across, height), rungs(up, height)]
    # One row for each new best, and the last trial, up to which the last one holds.
    new = frame[frame["best"] != frame["best"].shift()].to_dict("records")
    corners = [*new, {**new[-1], "x": frame["x"].iloc[-1]}]
    for row, after in itertools.pairwise(corners):
        if not (pd.isna(row["low"]) or pd.isna(row["high"])):
            top, bottom = (1 - _inside(up.share(row[end])) for end in ("high", "low"))
            left, right = across.share(row["x"]), across.share(after["x"])
            place = (left, top * height, right - left, (bottom - top) * height)
            parts.insert(0, _rectangle("band", *place))
    places = [
        (across.share(row["x"]), (1 - _inside(up.share(row["best"]))) * height) for row in corners
    ]
    parts += steps(places, "front")
    shown = frame[frame["shown"]]
    points = [
        (across.share(row["x"]), up.share(row["y"]), bool(row["y"] == row["best"]))
        for row in shown.to_dict("records")
    ]
    parts.append(dots(points, height))
    return figure(plot(parts, up, height), HEAD + height + FOOT, title, band)


class Cell(NamedTuple):
    """One cell of a heat map.

    Attributes:
        column: place from the left.
        row: place from the bottom.
        depth: how strong it is filled, from 0 to 1.
        text: what stands in it.
        note: small print below that.
    """

    column: int
    row: int
    depth: float
    text: str
    note: str


def heat_map(cells: Sequence[Cell], across: Along, up: Along, *, title: str) -> Markup:
    """Cells of two parameters; a place without a cell is left blank.

    Args:
        cells: the cells that are filled.
        across: horizontal axis, slots of equal width.
        up: vertical axis, slots of equal height.
        title: what the chart shows, also for those who cannot see it.
    """
    height = _CELL * round(1 / up.slot)
    deep, texts = _ticks(across.ticks, height)
    parts = []
    for cell in cells:
        top, middle = height - _CELL * (cell.row + 1), (cell.column + 0.5) * across.slot
        box = _rectangle("cell", cell.column * across.slot, top, across.slot, _CELL)
        filled = Markup('<g fill-opacity="{:.2f}">{}</g>').format(0.05 + 0.45 * cell.depth, box)
        parts += [
            filled,
            _text("mean", middle, top + 19, cell.text),
            _text("few", middle, top + 34, cell.note),
        ]
    parts += [stroke(0, height, 1, height, "axis"), *texts]
    names = [
        Markup('<text class="rung" x="27%" dx="-8" y="{}">{}</text>').format(
            px(HEAD + (1 - tick.share) * height + 4), short(tick.text)
        )
        for tick in up.ticks
    ]
    foot = 8 + _LINE * deep + 20
    parts.append(_text("name", 0.5, height + foot - 4, truncate(across.name, ROOM)))
    body = Markup(
        '<text class="up" x="0" y="12">{}</text>{}'
        '<svg class="plot" x="27%" width="70%" y="{}" height="{}">{}</svg>'
    ).format(
        truncate(up.name, ROOM),
        Markup("").join(names),
        HEAD,
        px(height + foot),
        Markup("").join(parts),
    )
    return figure(body, HEAD + height + foot + 4, title, None)


def dots(points: Sequence[tuple[float, float, bool]], height: float) -> Markup:
    """Points as one path for each kind; one off the axis is a short stroke on its edge.

    Args:
        points: share of the width, share of the height from below, and whether it is strong.
        height: of the plot, in pixels.
    """
    kinds: dict[str, list[str]] = {"plain": [], "off": [], "best": []}
    for x, y, best in points:
        across = round(UNITS * _inside(x))
        if 0 <= y <= 1:
            kinds["best" if best else "plain"].append(f"M{across} {round(UNITS * (1 - y))}h0")
        else:
            edge = UNITS if y < 0 else 0
            kinds["off"].append(f"M{across} {edge}V{edge + (-40 if y < 0 else 40)}")
    paths = [
        Markup('<path class="dots {}" d="{}"/>').format(kind, "".join(places))
        for kind, places in kinds.items()
        if places
    ]
    return stretched(paths, height)


def stretched(paths: Sequence[Markup], height: float) -> Markup:
    """Paths in `UNITS`, stretched to the whole width and a height in pixels."""
    return Markup(
        '<svg viewBox="0 0 {0} {0}" preserveAspectRatio="none" width="100%" height="{1}">{2}</svg>'
    ).format(UNITS, px(height), Markup("").join(paths))


def _ticks(ticks: Sequence[Tick], height: float) -> tuple[int, list[Markup]]:
    """Texts below a plot, in as many rows as they need side by side; and how many those are."""
    ends: list[float] = []  # where each row's last text ends, in pixels of the narrowest plot
    texts = []
    for tick in sorted(ticks):
        words = short(tick.text)
        middle, half = tick.share * _NARROW, _GLYPH * len(words) / 2 + 3
        free = [row for row, end in enumerate(ends) if end <= middle - half]
        row = free[0] if free else len(ends)
        if row == len(ends):
            ends.append(0.0)
        ends[row] = middle + half
        texts.append(_text("tick", tick.share, height + 17 + _LINE * row, words))
    return len(ends), texts


def _text(kind: str, share: float, y: float, words: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(
        kind, percent(share), px(y), words
    )


def _rectangle(kind: str, left: float, top: float, width: float, height: float) -> Markup:
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
        kind, percent(left), px(top), percent(width), px(height)
    )


def _inside(share: float) -> float:
    return min(1.0, max(0.0, share))
