"""One axis of a chart: from values to shares of its length, with round ticks.

Knows nothing of drawing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Axis(NamedTuple):
    """One axis, from values to shares of its length.

    Attributes:
        low: value at its start.
        high: value at its end.
        name: what it shows, with its unit.
        log: whether it is logarithmic.
        show: how a tick is written.
    """

    low: float
    high: float
    name: str
    log: bool = False
    show: Callable[[float], str] = "{:g}".format

    def share(self, value: float) -> float:
        """Where a value lies between start (0) and end (1)."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return (at - low) / (high - low)

    def ticks(self, count: int = 4) -> list[float]:
        """Round values along the axis: about `count` of them, the powers of ten if logarithmic."""
        if self.log:
            return self._log_ticks(count)
        step = _nice((self.high - self.low) / count)
        found = self._every(step)
        while len({self.show(tick) for tick in found}) < len(found):  # such as halves of a trial
            step *= 2
            found = self._every(step)
        return found

    def _every(self, step: float) -> list[float]:
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(index * step, 12) for index in range(first, last + 1)]

    def _log_ticks(self, count: int) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for digits in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
            ticks = [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
            inside = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(inside) >= min(3, count):
                return inside
        return inside


def axis(
    values: Sequence[float], name: str, show: Callable[[float], str], *, log: bool = False
) -> Axis:
    """An axis that holds all these values, with a little room at both ends.

    Raises:
        ValueError: there is no finite value.
    """
    finite = [float(value) for value in values if math.isfinite(value) and (value > 0 or not log)]
    if not finite:
        raise ValueError(f"nothing to draw along the axis '{name}'")
    low, high = min(finite), max(finite)
    if log:
        room = max((high / low) ** 0.06, 1.15)
        return Axis(low / room, high * room, name, True, show)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.01
    return Axis(low - room, high + room, name, False, show)


def _nice(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    # Rather a tick more than half of them less: a step may be a fifth finer than asked for.
    return next(digit * power for digit in (1, 2, 5, 10) if step <= 1.2 * digit * power)
