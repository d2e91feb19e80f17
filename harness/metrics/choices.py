"""One class of several: accuracy, F1 of all answers together (micro), F1 as a mean of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.metrics import entity_f1
from harness.metrics.metric import METRICS, Metric

if TYPE_CHECKING:
    from harness.aggregates import Array


def _known(prediction: str | None, reference: str, classes: tuple[str, ...]) -> None:
    for name in (prediction, reference):
        if name is not None and name not in classes:
            raise ValueError(f"class {name!r} is none of {list(classes)}")


def right(prediction: str | None, reference: str, classes: tuple[str, ...]) -> tuple[float, ...]:
    """For each class whether the example was its and was called so, and whether it was its.

    Args:
        prediction: a class; None if the answer could not be read.
        reference: the right one.
        classes: all of them.

    Raises:
        ValueError: a class is none of `classes`.
    """
    _known(prediction, reference, classes)
    flat: list[float] = []
    for name in classes:
        flat += [float(name == reference == prediction), float(name == reference)]
    return tuple(flat)


def counts(prediction: str | None, reference: str, classes: tuple[str, ...]) -> tuple[float, ...]:
    """True positive, false positive and miss of one example for each class; see `right`."""
    _known(prediction, reference, classes)
    flat: list[float] = []
    for name in classes:
        found, wanted = name == prediction, name == reference
        flat += [float(found and wanted), float(found and not wanted), float(wanted and not found)]
    return tuple(flat)


def by_class(sums: Array, classes: tuple[str, ...]) -> dict[str, float]:
    """Accuracy on the examples of each class (its recall); classes without any are left out."""
    rows = zip(classes, sums.tolist(), strict=True)
    return {f"{name}.accuracy": hits / count for name, (hits, count) in rows if count}


METRICS.add(
    "accuracy",
    Metric(
        "accuracy", "share", "maximize", 100.0, "points of accuracy", right, by_class, ("choice",)
    ),
)
METRICS.add(
    "class_f1",
    Metric(
        "class_f1",
        "f1",
        "maximize",
        100.0,
        "points of F1",
        counts,
        entity_f1.breakdown,
        ("choice",),
    ),
)
METRICS.add(
    "macro_f1",
    Metric(
        "macro_f1",
        "macro_f1",
        "maximize",
        100.0,
        "points of macro F1",
        counts,
        entity_f1.macro_breakdown,
        ("choice",),
    ),
)
