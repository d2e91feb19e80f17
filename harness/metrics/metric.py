"""`Metric`: from a prediction and a reference to numbers that can be summed over examples.

A metric keeps sufficient statistics for each example and class, so that any multiset of examples
(a bootstrap resample, say) can be scored again without a model.
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
        form: key of `harness.aggregates.FORMS`: the statistics kept for each example and class.
        direction: `maximize` or `minimize`; empty where only the task's author knows.
        scale: factor from the metric to the unit that reports use.
        unit: that unit, such as `points of F1`.
        score: `score(prediction, reference, classes)` returns the statistics of one example:
            for each class in order the parts of the form, flat.
        breakdown: `breakdown(sums, classes)` returns further named values, from sums of shape
            (classes, parts).
        task_types: types of task whose answers it can score.
        reads: what `score` takes: `answer` (as the task type parses a text, such as label and
            surface form of each mention) or `spans` (objects with `start`, exclusive `end` and
            `label`).
        digest: SHA-256 (hex) of the task's script that computes it, else empty; part of the
            task's digest.
    """

    name: str
    form: str
    direction: str
    scale: float
    unit: str
    score: Callable[[Any, Any, tuple[str, ...]], tuple[float, ...]]
    breakdown: Callable[[Array, tuple[str, ...]], dict[str, float]]
    task_types: tuple[str, ...] = ("entities",)
    reads: str = "answer"
    digest: str = ""

    def sums(self, rows: Sequence[Sequence[float]] | Array, classes: tuple[str, ...]) -> Array:
        """Statistics of `score`, summed over examples, shape (classes, parts).

        Args:
            rows: shape (examples, classes x parts); may be empty.
            classes: that `score` was called with.
        """
        shape = -1, len(classes), len(FORMS[self.form].parts)
        return np.asarray(np.asarray(rows, dtype=float).reshape(shape).sum(axis=0))

    def aggregate(
        self, rows: Sequence[Sequence[float]] | Array, classes: tuple[str, ...]
    ) -> float:
        """The metric over all classes, for any multiset of rows."""
        return float(FORMS[self.form].over_classes(self.sums(rows, classes)))

    def values(
        self,
        rows: Sequence[Sequence[float]] | Array,
        classes: tuple[str, ...],
        unparsed: Sequence[bool] = (),
    ) -> dict[str, float]:
        """All values reported for a split: the metric under its name, its breakdown, `unparsed`.

        The last is the share of outputs that could not be parsed, unless `unparsed` is empty.
        """
        reported = {self.name: self.aggregate(rows, classes)}
        reported |= self.breakdown(self.sums(rows, classes), classes)
        if len(unparsed):
            reported["unparsed"] = sum(map(bool, unparsed)) / len(unparsed)
        return reported


def no_class_values(sums: Array, classes: tuple[str, ...]) -> dict[str, float]:
    """The breakdown of metrics without classes: empty."""
    del sums, classes
    return {}


METRICS: Registry[Metric] = Registry("metric")


def add_metric(
    name: str,
    form: str,
    unit: str,
    score: Callable[..., tuple[float, ...]],
    task_type: str = "entities",
    breakdown: Callable[[Array, tuple[str, ...]], dict[str, float]] = no_class_values,
    *,
    direction: str = "maximize",
    scale: float = 100.0,
    reads: str = "answer",
) -> Metric:
    """Registers a metric of one task type; see `Metric`. By default a share, in points."""
    metric = Metric(name, form, direction, scale, unit, score, breakdown, (task_type,), reads)
    return METRICS.add(name, metric)
