"""Parallel coordinates as inline SVG: one line a trial, across its parameters to its score.

It needs a wide window; a narrow one shows a sentence in its place. Knows nothing of studies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from harness.report.charts.along import short
from harness.report.charts.slices import UNITS, stretched
from harness.report.charts.svg import percent, px, stroke

if TYPE_CHECKING:
    import pandas as pd

    from harness.report.charts.along import Along
    from harness.report.charts.axis import Axis

HEAD: Final = 30  # pixels above the plot, for the axes' names
FOOT: Final = 12


def parallel(
    frame: pd.DataFrame,
    alongs: Mapping[str, Along],
    up: Axis,
    *,
    title: str,
    instead: str,
    height: int = 320,
) -> Markup:
    """One line a row, across the parameters' axes to the score at the right.

    Args:
        frame: one column a parameter, `number`, `value` and `best` (drawn strong, on top).
        alongs: the axis of each parameter, from left to right.
        up: the axis of the scores; a value off it ends on its edge.
        title: what the chart shows, also for those who cannot see it.
        instead: sentence for a window that is too narrow.
        height: height of the plot in pixels.
    """
    gap = 1 / len(alongs)
    parts = []
    for index, axis in enumerate(alongs.values()):
        parts.append(_axis(index * gap, height, axis.name))
        for tick in axis.ticks:
            parts.append(_label("rung", index * gap, (1 - tick.share) * height, short(tick.text)))
    parts.append(_axis(1.0, height, up.name))
    parts += [
        _label("beside", 1.0, (1 - up.share(at)) * height, up.show(at)) for at in up.ticks(5)
    ]
    threads = [
        Markup('<path class="thread{}" d="{}"/>').format(
            " best" if row["best"] else "", _thread(row, alongs, up)
        )
        for row in frame.sort_values("best", kind="stable").to_dict("records")
    ]
    body = Markup('<svg class="plot" x="8%" width="86%" y="{}" height="{}">{}{}</svg>').format(
        HEAD, height + FOOT, stretched(threads, height), Markup("").join(parts)
    )
    return Markup(
        '<figure class="parallel"><svg class="chart" role="img" width="100%" height="{0}" '
        'aria-label="{1}">{2}</svg><figcaption>{1}</figcaption>'
        '<p class="instead">{3}</p></figure>'
    ).format(px(HEAD + height + FOOT), title, body, instead)


def _thread(row: Mapping[object, object], alongs: Mapping[str, Along], up: Axis) -> str:
    """The corners of one line, in units of the plot; the same shift at every axis."""
    number, value = int(str(row["number"])), float(str(row["value"]))
    shares = [axis.spread(row[name], number) for name, axis in alongs.items()]
    shares.append(min(1.0, max(0.0, up.share(value))))
    places = [
        f"{round(UNITS * index / len(alongs))} {round(UNITS * (1 - share))}"
        for index, share in enumerate(shares)
    ]
    return "M" + "L".join(places)


def _axis(share: float, height: float, name: str) -> Markup:
    text = Markup('<text class="above" x="{}" y="-14">{}</text>').format(percent(share), name)
    return stroke(share, 0, share, height, "axis") + text


def _label(kind: str, share: float, y: float, words: str) -> Markup:
    return Markup('<text class="halo {}" x="{}" dx="{}" y="{}">{}</text>').format(
        kind, percent(share), 7 if kind == "beside" else -7, px(y + 4), words
    )
