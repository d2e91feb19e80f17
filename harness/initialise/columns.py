"""What the columns of a user's records hold: texts, classes, numbers, tokens, entities.

Counts; knows nothing of tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: A class has so many characters at most; more are a text.
_CLASS_LENGTH: Final = 60
#: So many different values at most are classes.
_CLASSES: Final = 300
#: Each class stands in so many rows at least, all in all.
_ROWS_A_CLASS: Final = 3


@dataclass(frozen=True)
class Column:
    """One column of a table of records.

    Attributes:
        name: as the file has it.
        holds: `text`, `number`, `words` (a list of texts), `spans` (a list of objects with start,
            end and label), or `other`.
        rows: in how many records it stands.
        empty: in how many of them there is nothing.
        values: how many different ones there are; 0 unless they are texts or numbers.
        rarest: in how many records the rarest value stands.
        words: mean number of words of a text.
        longest: characters of the longest.
        lines: whether a text has several lines.
    """

    name: str
    holds: str
    rows: int
    empty: int = 0
    values: int = 0
    rarest: int = 0
    words: float = 0.0
    longest: int = 0
    lines: bool = False

    @property
    def unique(self) -> bool:
        """Whether no two records have the same value."""
        return self.rows > 1 and self.values == self.rows

    @property
    def classes(self) -> bool:
        """Whether the values look like classes: few, short, each several times."""
        return (
            self.holds == "text"
            and 2 <= self.values <= min(_CLASSES, self.rows // _ROWS_A_CLASS)
            and self.longest <= _CLASS_LENGTH
            and not self.lines
        )


def columns(records: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """The columns of records, in the order in which they come up."""
    found: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.items():
            found.setdefault(str(name), []).append(value)
    return tuple(_column(name, values) for name, values in found.items())


def _column(name: str, values: list[Any]) -> Column:
    full = [value for value in values if value is not None and value != "" and value != []]
    holds = _holds(full)
    empty = len(values) - len(full)
    if holds not in {"text", "number"}:
        return Column(name, holds, len(values), empty)
    counts = Counter(full)
    rarest = min(counts.values(), default=0)
    if holds == "number":
        return Column(name, holds, len(values), empty, len(counts), rarest)
    return Column(
        name,
        holds,
        len(values),
        empty,
        len(counts),
        rarest,
        sum(len(text.split()) for text in full) / max(1, len(full)),
        max((len(text) for text in full), default=0),
        any("\n" in text.strip() for text in full),
    )


def _holds(values: Iterable[Any]) -> str:
    kinds = {_kind(value) for value in values}
    return kinds.pop() if len(kinds) == 1 else "other"


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    if isinstance(value, list | tuple):
        if all(isinstance(one, str) for one in value):
            return "words"
        if all(isinstance(one, dict) and {"start", "end", "label"} <= one.keys() for one in value):
            return "spans"
    return "other"
