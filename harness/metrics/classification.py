"""One class of several: accuracy, F1 of all answers together (micro), F1 as a mean of classes.

Exact match of texts, and of the numbers that they come to (as GSM8K writes them: `#### 72`).
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from harness.metrics import entities
from harness.metrics.metric import METRICS, Metric, no_class_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.aggregates import Array


def _known(prediction: str | None, reference: str, classes: tuple[str, ...]) -> None:
    for name in (prediction, reference):
        if name is not None and name not in classes:
            raise ValueError(f"class {name!r} is none of {list(classes)}")


def accuracy_statistics(
    prediction: str | None, reference: str, classes: tuple[str, ...]
) -> tuple[float, ...]:
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


def f1_statistics(
    prediction: str | None, reference: str, classes: tuple[str, ...]
) -> tuple[float, ...]:
    """True positive, false positive and miss of one example for each class."""
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
        "accuracy",
        "share",
        "maximize",
        100.0,
        "points of accuracy",
        accuracy_statistics,
        by_class,
        ("choice",),
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
        f1_statistics,
        entities.breakdown,
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
        f1_statistics,
        entities.macro_breakdown,
        ("choice",),
    ),
)


_NUMBER: Final = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?<=\d)")
_MARK: Final = "####"


def exact(prediction: str, reference: str, classes: tuple[str, ...]) -> tuple[float, ...]:
    """Whether both are the same text, white space collapsed, case kept; and 1 for the example."""
    del classes
    return float(prediction.split() == reference.split()), 1.0


def number(prediction: str, reference: str, classes: tuple[str, ...]) -> tuple[float, ...]:
    """Whether both come to the same number; and 1 for the example.

    Raises:
        ValueError: the reference holds no number (a fault of the data).
    """
    del classes
    wanted = final_number(reference)
    if wanted is None:
        raise ValueError(f"no number in the right answer {reference[:60]!r}")
    return float(final_number(prediction) == wanted), 1.0


def final_number(text: str) -> Decimal | None:
    """The number that a text comes to: the first behind the last `####`, else the last of all.

    Thousands may be set apart by commas (Cobbe et al. 2021, arXiv:2110.14168, section 2).
    """
    _, mark, answer = text.rpartition(_MARK)
    found = [hit for hit in _NUMBER.findall(answer if mark else text) if hit]
    if not found:
        return None
    return Decimal(found[0 if mark else -1].replace(",", ""))


def _add(name: str, unit: str, score: Callable[..., tuple[float, ...]]) -> None:
    METRICS.add(
        name, Metric(name, "share", "maximize", 100.0, unit, score, no_class_values, ("pairs",))
    )


_add("exact_match", "points of exact match", exact)
_add("number_match", "points of number match", number)
