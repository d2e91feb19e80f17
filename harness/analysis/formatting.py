"""How scores, configurations and costs are written for people, on a terminal and on a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from harness.analysis.scores import shots

if TYPE_CHECKING:
    from harness.results import Objective


def missing(value: Any) -> bool:
    """Whether there is no value: None, NaN, NA, NaT or an infinite number."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, float) and not math.isfinite(value)


class NumberStyle(NamedTuple):
    """How numbers are written where they are read.

    Attributes:
        minus: the minus sign.
        missing: stands for a value that is not known.
    """

    minus: str = "-"
    missing: str = "unknown"

    def number(self, value: Any, digits: int = 1, *, signed: bool = False) -> str:
        """A number with fixed digits; with `signed` also a plus sign. A 0 has no sign."""
        if missing(value):
            return self.missing
        text = f"{abs(float(value)):.{digits}f}"
        if float(text) == 0:
            return text
        if float(value) < 0:
            return self.minus + text
        return f"+{text}" if signed else text

    def interval(self, low: str, high: str) -> str:
        """An interval of two numbers as they are written; an open end is written as such."""
        if high == self.missing:
            return self.missing if low == high else f"from {low}"
        return f"up to {high}" if low == self.missing else f"{low} to {high}"


#: For sentences and terminals.
PLAIN = NumberStyle()


class MetricFormat(NamedTuple):
    """Writes values of a metric, and their differences, in the unit that people read.

    Attributes:
        factor: from the metric to what people read (100: points of F1).
        digits: digits after the decimal point.
        unit: what people read, such as `points of F1`.
        style: of the numbers.
    """

    factor: float
    digits: int
    unit: str
    style: NumberStyle = PLAIN

    def show(self, value: Any) -> str:
        """A value of the metric: `85.1`."""
        return self._number(value, signed=False)

    def gap(self, value: Any) -> str:
        """A difference of two values, with its sign: `-0.3`."""
        return self._number(value, signed=True)

    def tick(self, value: float) -> str:
        """A round value beside an axis, without needless digits."""
        text = f"{value * self.factor:.4g}"
        return self.style.minus + text[1:] if text.startswith("-") else text

    def interval(self, low: Any, high: Any) -> str:
        """An interval of values: `83.0 to 86.2`."""
        return self.style.interval(self.show(low), self.show(high))

    def gap_interval(self, low: Any, high: Any) -> str:
        """An interval of differences: `-1.4 to +0.8`."""
        return self.style.interval(self.gap(low), self.gap(high))

    def _number(self, value: Any, *, signed: bool) -> str:
        shown = None if missing(value) else float(value) * self.factor
        return self.style.number(shown, self.digits, signed=signed)


def metric_format(objective: Objective) -> MetricFormat:
    """How an objective's values are written in sentences and on a terminal."""
    return MetricFormat(objective.scale, objective.digits, objective.unit or objective.name)


def highest(objective: Objective) -> str:
    """What the best value is: `highest`, or `lowest` where less is better."""
    return "highest" if objective.sign > 0 else "lowest"


def worse_side(objective: Objective) -> str:
    """Where worse values are: `below`, or `above` where less is better."""
    return "below" if objective.sign > 0 else "above"


#: What cannot be read off a baseline's name.
_BASELINES = {"most_frequent": "most frequent class"}
_EXTRAS = {"alpha": "alpha={:g}", "dropout": "dropout={:g}", "learning_rate": "lr={:.2g}"}


def baseline_label(name: str) -> str:
    """A baseline's name for people: `base_5_shot` is `base model (5-shot)`."""
    count = shots(name)
    if count is None:
        return _BASELINES.get(name, name.replace("_", " "))
    return f"base model ({count}-shot)" if count else "base model (zero-shot)"


def labels(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Short names of configurations: rank, variant, targets, and what else tells them apart."""
    short = [f"r={row['rank']} ({row['variant']}, {row['target_modules']}" for row in rows]
    named = []
    for index, row in enumerate(rows):
        twins = [twin for twin, name in zip(rows, short, strict=True) if name == short[index]]
        extras = [
            form.format(row[name])
            for name, form in _EXTRAS.items()
            if len({twin[name] for twin in twins}) > 1
        ]
        extras += str(row.get("extras") or "").split()
        named.append(", ".join([short[index], *extras]) + ")")
    return named


def labels_of(table: pd.DataFrame) -> list[str]:
    """Short names of the configurations in a table's rows."""
    return labels([{str(k): v for k, v in row.items()} for row in table.to_dict("records")])


#: A cost as people say it, and what is cheap by it.
_COSTS = {
    "parameters": ("{:,.0f} parameters", 1.0),
    "train_seconds": ("{:,.1f} s of training", 1.0),
    "peak_memory": ("{:,.0f} MiB at the peak of training", 2.0**-20),
    "inference_memory": ("{:,.1f} MiB to serve", 2.0**-20),
}
COST_NAMES = {
    "parameters": "trainable parameters",
    "train_seconds": "training seconds",
    "peak_memory": "peak memory in training",
    "inference_memory": "inference memory (unmerged)",
}


def cost_text(cost: str, amount: float) -> str:
    """`66,304 parameters`; `unknown` where it is not known."""
    form, factor = _COSTS[cost]
    return form.format(factor * amount) if np.isfinite(amount) else "unknown cost"


def label_with_cost(label: str, cost: str, amount: float) -> str:
    """A label with what it costs."""
    return f"{label[:-1]}, {cost_text(cost, amount)})" if np.isfinite(amount) else label
