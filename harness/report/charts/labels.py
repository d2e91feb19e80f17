"""Where the labels of points stand, so that none covers another or leaves the plot.

Works on places in pixels at a given width; knows nothing of what is labelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

#: Width of the narrowest and of the usual plot, in pixels.
NARROW: Final = 250.0
USUAL: Final = 560.0
_GLYPH = 6.1  # mean width of a glyph at the labels' size, in pixels
_LINE = 13.0  # height of a label


class Point(NamedTuple):
    """A point to label: its share of the width, its pixels from the top, its words."""

    x: float
    y: float
    words: str


class Label(NamedTuple):
    """Where a label stands beside its point.

    Attributes:
        anchor: `start` (to the right of its point) or `end` (to the left).
        dx: pixels from the point to the label's anchor.
        dy: pixels from the point down to the label's base line.
        roomy: it only fits where the plot is not narrow.
    """

    anchor: str
    dx: float
    dy: float
    roomy: bool


def place(points: Sequence[Point]) -> list[Label | None]:
    """A place for each label, tried in order; None where there is no room for it."""
    narrow = _place(points, NARROW, [None] * len(points))
    usual = _place(points, USUAL, narrow)
    return [
        one and one._replace(roomy=small is None) for one, small in zip(usual, narrow, strict=True)
    ]


def _place(
    points: Sequence[Point], width: float, fixed: Sequence[Label | None]
) -> list[Label | None]:
    taken = [_box(point, at, width) for point, at in zip(points, fixed, strict=True) if at]
    chosen: list[Label | None] = []
    for point, at in zip(points, fixed, strict=True):
        if at is None and point.words:
            at = _free(point, width, taken)
            if at is not None:
                taken.append(_box(point, at, width))
        chosen.append(at)
    return chosen


def _free(point: Point, width: float, taken: list[tuple[float, ...]]) -> Label | None:
    # Above and to the left first: no point of a rising front can lie there.
    for anchor, dx, dy in (("end", -8, -6), ("start", 8, 14), ("start", 8, -6), ("end", -8, 14)):
        label = Label(anchor, dx, dy, False)
        box = _box(point, label, width)
        if box[0] >= -20 and box[2] <= width + 20 and not any(_meet(box, one) for one in taken):
            return label
    return None


def _box(point: Point, label: Label, width: float) -> tuple[float, ...]:
    start = point.x * width + label.dx
    size = _GLYPH * len(point.words)
    left = start - size if label.anchor == "end" else start
    return left, point.y + label.dy - _LINE, left + size, point.y + label.dy


def _meet(one: tuple[float, ...], two: tuple[float, ...]) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]
