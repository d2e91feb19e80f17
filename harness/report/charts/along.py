"""The axis of one searched parameter: from its levels, names or numbers, to shares of its length.

Knows nothing of drawing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from harness.report.charts.axis import axis

_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_SPREAD: Final = 0.5  # share of the room between two levels that points are spread over
_LONGEST: Final = 13  # glyphs of a name that fit beside a chart on a phone
#: Above so many different numbers, a parameter is drawn as a range and not by its levels.
_MANY: Final = 12


class Tick(NamedTuple):
    """A text beside an axis, at a share of its length."""

    share: float
    text: str


class Along(NamedTuple):
    """The axis of one parameter, whether of names, of numbers or of a range.

    Attributes:
        name: what it shows, with its unit.
        share: where a level lies between start (0) and end (1).
        ticks: what is written beside it.
        slot: share of its length that one level has for itself; 0 along a range.
    """

    name: str
    share: Callable[[Any], float]
    ticks: tuple[Tick, ...]
    slot: float

    def spread(self, level: Any, number: int) -> float:
        """The level's place, moved within its slot so that trials do not cover each other.

        The shift depends on the trial's number alone (multiples of the golden ratio, which fill
        the slot evenly), so a page drawn twice is the same page.
        """
        return self.share(level) + _SPREAD * self.slot * ((number * _GOLDEN) % 1 - 0.5)


def along(
    levels: Sequence[Any], name: str, show: Callable[[Any], str], *, log: bool = False
) -> Along:
    """The axis of a parameter.

    Args:
        levels: its different levels, in order.
        name: what it shows, with its unit.
        show: writes a level.
        log: place numbers by their logarithm; many different ones become a range.
    """
    if log and len(levels) > _MANY:
        whole = axis(levels, name, show, log=True)
        ticks = tuple(Tick(whole.share(tick), show(tick)) for tick in whole.ticks(3))
        return Along(name, whole.share, ticks, 0.0)
    slot = 1 / max(1, len(levels))
    if log and len(levels) > 1:
        low, high = math.log(levels[0]), math.log(levels[-1])
        places = {
            one: slot / 2 + (1 - slot) * (math.log(one) - low) / (high - low) for one in levels
        }
        near = sorted(places.values())
        slot = min(two - one for one, two in itertools.pairwise(near))
    else:
        places = {one: (index + 0.5) * slot for index, one in enumerate(levels)}
    ticks = tuple(Tick(share, show(one)) for one, share in places.items())
    return Along(name, places.__getitem__, ticks, slot)


def edges(ends: Sequence[Any], name: str, show: Callable[[Any], str]) -> Along:
    """The axis of slots of equal width that are named by their ends, one more than slots."""
    slot = 1 / (len(ends) - 1)
    places = {one: index * slot for index, one in enumerate(ends)}
    ticks = tuple(Tick(share, show(one)) for one, share in places.items())
    return Along(name, places.__getitem__, ticks, slot)


def short(text: str) -> str:
    """A name that is not too long to stand beside an axis."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
