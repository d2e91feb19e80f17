"""`Metric`: from a prediction and a reference to numbers that can be summed over examples.

A metric keeps sufficient statistics for each example and class, so that any multiset of examples
can be scored again without a model. Knows nothing of tasks, models or studies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.aggregates import FORMS, Array
from harness.registry import Registry


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as task.yaml and the report call it.
        form: key of `harness.aggregates.FORMS`; says what is kept for each example and class.
        direction: `maximize` or `minimize`; empty where nobody but the task's author knows.
        scale: factor from the metric to what people read.
        unit: what people read, such as `points of F1`.
        score: `score(prediction, reference, classes)` gives the statistics of one example: for
            each class in order the numbers that the form names, flat.
        breakdown: `breakdown(sums, classes)` gives named values besides the aggregate from sums
            of shape (classes, parts).
        kinds: kinds of task whose answers it can score.
        reads: what `score` is given: `answer` (what the task's kind makes of a text, such as
            label and surface form of each mention) or `spans` (things with `start`, `end`, which
            is exclusive, and `label`, on both sides).
        digest: SHA-256 (hex) of a script of the task's that computes it, else empty: part of what
            makes two tasks equal.
    """

    name: str
    form: str
    direction: str
    scale: float
    unit: str
    score: Callable[[Any, Any, tuple[str, ...]], tuple[float, ...]]
    breakdown: Callable[[Array, tuple[str, ...]], dict[str, float]]
    kinds: tuple[str, ...] = ("entities",)
    reads: str = "answer"
    digest: str = ""

    def sums(self, rows: Sequence[Sequence[float]] | Array, classes: tuple[str, ...]) -> Array:
        """Statistics summed over examples, shape (classes, parts).

        Args:
            rows: what `score` gave for each example, shape (examples, classes x parts); may be
                empty.
            classes: the classes that `score` was called with.
        """
        parts = len(FORMS[self.form].parts)
        table = np.asarray(rows, dtype=float).reshape(-1, len(classes), parts)
        return np.asarray(table.sum(axis=0))

    def aggregate(
        self, rows: Sequence[Sequence[float]] | Array, classes: tuple[str, ...]
    ) -> float:
        """The metric over all classes for any multiset of rows; its form sums or averages them."""
        return float(FORMS[self.form].over_classes(self.sums(rows, classes)))

    def values(
        self,
        rows: Sequence[Sequence[float]] | Array,
        classes: tuple[str, ...],
        unparsed: Sequence[bool] = (),
    ) -> dict[str, float]:
        """All values reported for a split: the metric under its name, its breakdown, `unparsed`.

        Args:
            rows: what `score` gave for each example.
            classes: the classes that `score` was called with.
            unparsed: for each example whether its output could not be read, or nothing.
        """
        found = {self.name: self.aggregate(rows, classes)}
        found |= self.breakdown(self.sums(rows, classes), classes)
        if len(unparsed):
            found["unparsed"] = sum(map(bool, unparsed)) / len(unparsed)
        return found


def no_class_values(sums: Array, classes: tuple[str, ...]) -> dict[str, float]:
    """For metrics of whole texts, which have no classes."""
    del sums, classes
    return {}


METRICS: Registry[Metric] = Registry("metric")
