"""How what is measured grows with a size: exponents, and whether n log n is kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import numpy as np

#: What noise may add to an exponent.
_NOISE: Final = 0.1


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of log(value) over log(size); NaN where there are too few of them."""
    pairs = [(n, v) for n, v in zip(sizes, values, strict=True) if n > 0 and v > 0]
    if len({n for n, _ in pairs}) < 2:
        return math.nan
    x, y = np.log(np.array(pairs, dtype=float)).T
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / (x @ x))


def allowed(sizes: Sequence[float]) -> float:
    """The exponent that n log n has over these sizes, itself above 1."""
    return exponent(sizes, [n * max(1.0, math.log2(n)) for n in sizes])


@dataclass
class Curve:
    """One quantity at several sizes.

    Attributes:
        name: of the quantity.
        unit: of its values.
        size: what the sizes are.
        bar: what the value at `at` may be at most; None without one.
        at: the size that the bar is for; None for all.
        readings: by size, one for each repeat.
    """

    name: str
    unit: str
    size: str
    bar: float | None = None
    at: int | None = None
    readings: dict[int, list[float]] = field(default_factory=dict)

    def add(self, size: int, value: float) -> None:
        """One reading."""
        self.readings.setdefault(size, []).append(value)

    @property
    def values(self) -> dict[int, float]:
        """Medians by size, rising."""
        return {size: median(self.readings[size]) for size in sorted(self.readings)}

    @property
    def exponents(self) -> tuple[float, float]:
        """Over all sizes, and over the last two: what is done once hides growth at small sizes."""
        sizes, values = list(self.values), list(self.values.values())
        return exponent(sizes, values), exponent(sizes[-2:], values[-2:])

    @property
    def keeps(self) -> bool | None:
        """Whether it grows no faster than n log n; None where that cannot be told."""
        whole, last = self.exponents
        if math.isnan(whole):
            return None
        sizes = list(self.values)
        return whole <= allowed(sizes) + _NOISE and last <= allowed(sizes[-2:]) + _NOISE

    @property
    def below(self) -> bool | None:
        """Whether the bar is met; None without one, or where its size was not measured."""
        chosen = [value for size, value in self.values.items() if self.at in (None, size)]
        return None if self.bar is None or not chosen else max(chosen) <= self.bar

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **{name: getattr(self, name) for name in ("name", "unit", "size", "bar", "at")},
            "readings": self.readings,
            "values": self.values,
            "exponents": self.exponents,
            "keeps_n_log_n": self.keeps,
            "meets_bar": self.below,
        }


def markdown(curves: Sequence[Curve]) -> str:
    """A table for LOG.md."""
    lines = [
        "| what | by | medians | exponent | of the last two | n log n kept | bar | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for curve in curves:
        values = ", ".join(f"{size}: {value:.3g}" for size, value in curve.values.items())
        whole, last = (_number(each) for each in curve.exponents)
        place = "" if curve.at is None else f" at {curve.at}"
        bar = "-" if curve.bar is None else f"{curve.bar:g} {curve.unit}{place}"
        lines.append(
            f"| {curve.name}, {curve.unit} | {curve.size} | {values} | {whole} | {last} "
            f"| {_word(curve.keeps)} | {bar} | {_word(curve.below)} |"
        )
    return "\n".join(lines)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _word(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"
