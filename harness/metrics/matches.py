"""Exact match of texts, and of the numbers that they come to (as GSM8K writes them: `#### 72`)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from harness.metrics.metric import METRICS, Metric, no_breakdown

if TYPE_CHECKING:
    from collections.abc import Callable

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
        name, Metric(name, "share", "maximize", 100.0, unit, score, no_breakdown, ("pairs",))
    )


_add("exact_match", "points of exact match", exact)
_add("number_match", "points of number match", number)
