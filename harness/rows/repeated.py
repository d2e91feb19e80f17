"""Inputs that stand in the data more than once: where, how often, and with which answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness.formats import Row, input_key
from harness.rows.duplicates import near_duplicates
from harness.rows.quality import answer_key


class Place(NamedTuple):
    """A row, and another that it is held against."""

    split: str
    id: str
    other: str = ""


class Repeated(NamedTuple):
    """Rows whose input stands in another row, too.

    Attributes:
        split: of the rows.
        other: the same split, where a row before is meant, or an earlier one.
        exact: how many, apart from case and white space.
        near: how many besides, by `harness.rows.duplicates`.
        example: ids of a row and of the other; `=` exactly, `~` nearly.
    """

    split: str
    other: str
    exact: int
    near: int
    example: str


def repetitions(rows: Mapping[str, Sequence[Row]]) -> tuple[Repeated, ...]:
    """What is there twice: in each split, and in each split and an earlier one.

    Args:
        rows: by split, the training split first.
    """
    exact: Counter[tuple[str, str]] = Counter()
    near: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    first: dict[str, dict[str, str]] = {}
    for split, own in rows.items():
        met: dict[str, str] = {}
        for row in own:
            key = input_key(row)
            for other, seen in (*first.items(), (split, met)):
                if key in seen:
                    exact[split, other] += 1
                    examples.setdefault((split, other), f"{row.id} = {seen[key]}")
            met.setdefault(key, row.id)
        first[split] = met
    for one in near_duplicates(rows):
        near[one.split, one.other_split] += 1
        examples.setdefault((one.split, one.other_split), f"{one.id} ~ {one.other_id}")
    names = list(rows)
    pairs = [(one, other) for n, one in enumerate(names) for other in (one, *names[:n])]
    return tuple(
        Repeated(*pair, exact[pair], near[pair], examples.get(pair, "")) for pair in pairs
    )


def contradictions(rows: Mapping[str, Sequence[Row]]) -> tuple[Place, ...]:
    """Rows whose input stands before with another answer.

    Args:
        rows: by split, the training split first.
    """
    met: dict[str, tuple[object, Place]] = {}
    found: list[Place] = []
    for split, own in rows.items():
        for row in own:
            answer = answer_key(row)
            other, place = met.setdefault(input_key(row), (answer, Place(split, row.id)))
            if other != answer:
                found.append(Place(split, row.id, f"{place.id} ({place.split})"))
    return tuple(found)
