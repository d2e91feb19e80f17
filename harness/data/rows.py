"""`Format`: from a file to rows in one shape, with a fingerprint and a check for leaks.

A format reads; of the task it knows what `RowSpec` says. A file with other names for its columns
is read through `Wanted.fields`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from harness.registry import Registry

#: What rows may be: notes with entities, input and output, or plain text.
KINDS = ("entities", "pairs", "text")


class Span(NamedTuple):
    """One entity of a text; offsets count Unicode code points, `end` is exclusive."""

    start: int
    end: int
    label: str
    text: str


@dataclass(frozen=True)
class Row:
    """One row of a data set, whatever it was read from.

    Attributes:
        id: unique within a split; what stands before its last `-` names the document.
        text: the input.
        entities: in the order of the text; none unless the kind is `entities`.
        output: what belongs to the input; only where the kind is `pairs`.
        instruction: what is asked of the input, where each row brings its own.
        score: how good somebody found the row, where `Wanted.score` asked for it.
        group: what it belongs to, where `Wanted.group` asked for it.
    """

    id: str
    text: str
    entities: tuple[Span, ...] = ()
    output: str | None = None
    instruction: str | None = None
    score: float | None = None
    group: str | None = None

    @property
    def document(self) -> str:
        """What the row was cut from: its id up to the last `-`, else the whole id."""
        return self.id.rpartition("-")[0] or self.id

    def plain(self) -> dict[str, Any]:
        """The row as plain values."""
        found: dict[str, Any] = {"id": self.id, "text": self.text}
        found["entities"] = [entity._asdict() for entity in self.entities]
        names = ("output", "instruction", "score", "group")
        more = {name: getattr(self, name) for name in names}
        return found | {name: value for name, value in more.items() if value is not None}


class Options(BaseModel):
    """What a user may say of files in one format; most formats need nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class RowSpec:
    """What a task asks of its rows.

    Attributes:
        kind: one of `KINDS`.
        labels: the labels that entities may have; None: any.
        fields: the file's names for `id`, `text`, `entities`, `input`, `output`, `instruction`,
            `tokens` and `tags`, where they are others.
        options: those of the format; None: its defaults.
        score: the file's name for the number that becomes `Row.score`; None: nobody asks.
        group: the file's name for what becomes `Row.group`; None: nobody asks.
    """

    kind: str
    labels: Sequence[str] | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    options: Options | None = None
    score: str | None = None
    group: str | None = None


class Format(Protocol):
    """A way to keep rows in files."""

    @property
    def name(self) -> str:
        """What task.yaml calls it."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Ends of file names, the usual one first; none where a split is a folder."""

    @property
    def options(self) -> type[Options]:
        """What may be said of its files."""

    def read(self, path: Path, wanted: RowSpec) -> tuple[Row, ...]:
        """All rows of a file (of a folder, where there are no suffixes), checked.

        Raises:
            UserError: the file or a row of it is faulty, told as `file:line: what`.
        """

    def survey(self, path: Path) -> dict[str, Any]:
        """What the file holds, counted without a task in mind: rows, columns, labels ...

        Raises:
            UserError: as `read`.
        """


FORMATS: Registry[Format] = Registry("data format")


def fingerprint(rows: Iterable[Row]) -> str:
    """SHA-256 (hex) over the rows as canonical JSON, one a line; equal on every platform."""
    digest = hashlib.sha256()
    for row in rows:
        line = json.dumps(row.plain(), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


class Leak(NamedTuple):
    """The same input in two splits."""

    split: str
    id: str
    other_split: str
    other_id: str


def input_key(row: Row) -> str:
    """What is asked, for comparing: instruction and input without case and extra white space."""
    return " ".join(f"{row.instruction or ''} {row.text}".casefold().split())


def leaks(splits: Mapping[str, Sequence[Row]]) -> tuple[Leak, ...]:
    """Rows whose input also stands in an earlier split; case and white space do not matter.

    Args:
        splits: rows by split, the training split first.
    """
    first: dict[str, tuple[str, str]] = {}
    found: list[Leak] = []
    for split, rows in splits.items():
        for row in rows:
            other = first.setdefault(input_key(row), (split, row.id))
            if other[0] != split:
                found.append(Leak(split, row.id, *other))
    return tuple(found)
