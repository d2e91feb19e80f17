"""Accuracy, micro and macro F1 of classes; exact match of texts and of their final numbers.

GSM8K writes the final number of an answer as `#### 72`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from harness.metrics import entities
from harness.metrics.metric import add_metric

if TYPE_CHECKING:
    from harness.aggregates import Array


def _check_classes(prediction: str | None, reference: str, classes: tuple[str, ...]) -> None:
    for name in (prediction, reference):
        if name is not None and name not in classes:
            raise ValueError(f"class {name!r} is none of {list(classes)}")


def accuracy_statistics(
    prediction: str | None, reference: str, classes: tuple[str, ...]
) -> tuple[float, ...]:
    """For each class: 1 if the example is of it and was predicted as such; 1 if it is of it.

    A prediction is None if the answer could not be parsed.

    Raises:
        ValueError: a class is not in `classes`.
    """
    _check_classes(prediction, reference, classes)
    statistics: list[float] = []
    for name in classes:
        statistics += [float(name == reference == prediction), float(name == reference)]
    return tuple(statistics)


def f1_statistics(
    prediction: str | None, reference: str, classes: tuple[str, ...]
) -> tuple[float, ...]:
    """True positives, false positives and false negatives of one example for each class."""
    _check_classes(prediction, reference, classes)
    flat: list[bool] = []
    for name in classes:
        predicted, actual = name == prediction, name == reference
        flat += [predicted and actual, predicted and not actual, actual and not predicted]
    return tuple(map(float, flat))


def accuracy_by_class(sums: Array, classes: tuple[str, ...]) -> dict[str, float]:
    """Accuracy on the examples of each class (its recall); classes without examples have none."""
    rows = zip(classes, sums.tolist(), strict=True)
    return {f"{name}.accuracy": hits / count for name, (hits, count) in rows if count}


for _name, _form, _unit, _score, _breakdown in (
    ("accuracy", "share", "points of accuracy", accuracy_statistics, accuracy_by_class),
    ("class_f1", "f1", "points of F1", f1_statistics, entities.breakdown),
    ("macro_f1", "macro_f1", "points of macro F1", f1_statistics, entities.macro_breakdown),
):
    add_metric(_name, _form, _unit, _score, "choice", _breakdown)

_NUMBER: Final = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?<=\d)")
_MARK: Final = "####"


def exact_match(prediction: str, reference: str, classes: tuple[str, ...]) -> tuple[float, ...]:
    """1 if both texts are equal (white space collapsed, case-sensitive); 1 for the example."""
    del classes
    return float(prediction.split() == reference.split()), 1.0


def number_match(prediction: str, reference: str, classes: tuple[str, ...]) -> tuple[float, ...]:
    """1 if both have the same final number; 1 for the example.

    Raises:
        ValueError: the reference has no number (a fault of the data).
    """
    del classes
    expected = final_number(reference)
    if expected is None:
        raise ValueError(f"no number in the right answer {reference[:60]!r}")
    return float(final_number(prediction) == expected), 1.0


def final_number(text: str) -> Decimal | None:
    """The final number of a text: the first after the last `####`, else the last of all.

    Commas may separate thousands (Cobbe et al. 2021, arXiv:2110.14168, section 2).
    """
    _, mark, answer = text.rpartition(_MARK)
    numbers = [hit for hit in _NUMBER.findall(answer if mark else text) if hit]
    if not numbers:
        return None
    return Decimal(numbers[0 if mark else -1].replace(",", ""))


add_metric("exact_match", "share", "points of exact match", exact_match, "pairs")
add_metric("number_match", "share", "points of number match", number_match, "pairs")
