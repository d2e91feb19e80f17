"""Leaves training rows out that are not good enough: a low score, a repetition, a bad length.

Knows rows alone; which keys a task.yaml may say is in `harness.task_sections`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from harness.formats import Row, input_key


class Bounds(Protocol):
    """What a row has to keep to; see `harness.task_sections.Quality`."""

    @property
    def min_score(self) -> float | None:
        """Rows with a lower score go."""

    @property
    def drop_duplicates(self) -> bool:
        """Whether rows go whose input and answer stand in an earlier row."""

    @property
    def min_words(self) -> int | None:
        """Rows with a shorter input go."""

    @property
    def max_words(self) -> int | None:
        """Rows with a longer input go."""


class Screened(NamedTuple):
    """What is left.

    Attributes:
        rows: in their order.
        left_out: how many went, by the first reason that held.
    """

    rows: tuple[Row, ...]
    left_out: Mapping[str, int]


def screen(rows: Sequence[Row], bounds: Bounds) -> Screened:
    """Leaves out what does not keep to the bounds."""
    kept: list[Row] = []
    reasons: Counter[str] = Counter()
    met: set[tuple[object, ...]] = set()
    for row in rows:
        reason = _outside(row, bounds)
        if not reason and bounds.drop_duplicates:
            content = (input_key(row), answer_key(row))
            reason = "repeated" if content in met else ""
            met.add(content)
        if reason:
            reasons[reason] += 1
        else:
            kept.append(row)
    return Screened(tuple(kept), dict(reasons))


def answer_key(row: Row) -> tuple[object, ...]:
    """What belongs to the input, for comparing: the output, or the entities with their places.

    Places count words and not characters, for inputs are compared without extra white space.
    """
    places = (
        (len(row.text[: span.start].split()), span.label, " ".join(span.text.casefold().split()))
        for span in row.entities
    )
    return (row.output and " ".join(row.output.split()), *places)


def _outside(row: Row, bounds: Bounds) -> str:
    if bounds.min_score is not None and row.score is not None and row.score < bounds.min_score:
        return f"scored below {bounds.min_score:g}"
    words = len((row.text.strip() or row.instruction or "").split())
    if bounds.min_words is not None and words < bounds.min_words:
        return f"under {bounds.min_words} words"
    if bounds.max_words is not None and words > bounds.max_words:
        return f"over {bounds.max_words} words"
    return ""
