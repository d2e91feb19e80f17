"""`Row`, `Span` and the `Format` protocol: rows in one shape, whatever file they are read from.

Also the fingerprint of rows and the search for inputs that occur in two splits.
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

#: Types of rows: texts with entities, pairs of input and output, plain texts.
ROW_TYPES = ("entities", "pairs", "text")


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
        id: unique within a split; the part before its last `-` names the document.
        text: the input.
        entities: in the order of the text; none unless the row type is `entities`.
        output: the expected answer; only where the row type is `pairs`.
        instruction: of the row, where each row has its own.
        score: a quality score, read where `RowSpec.score` names its field.
        group: such as a patient, read where `RowSpec.group` names its field.
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
        """The document that the row is part of: its id up to the last `-`, else the whole id."""
        return self.id.rpartition("-")[0] or self.id

    def to_dict(self) -> dict[str, Any]:
        """The row as plain values, without those that are None."""
        fields = vars(self) | {"entities": [entity._asdict() for entity in self.entities]}
        return {name: value for name, value in fields.items() if value is not None}


class Options(BaseModel):
    """Options of one format (`data.options` in task.yaml); most formats have none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class RowSpec:
    """What a task requires of its rows.

    Attributes:
        row_type: one of `ROW_TYPES`.
        labels: the labels that entities may have; None: any.
        fields: the file's names for `id`, `text`, `entities`, `input`, `output`, `instruction`,
            `tokens` and `tags`, where they differ.
        options: those of the format; None: its defaults.
        score: the field that becomes `Row.score`, or None.
        group: the field that becomes `Row.group`, or None.
    """

    row_type: str
    labels: Sequence[str] | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    options: Options | None = None
    score: str | None = None
    group: str | None = None


class Format(Protocol):
    """A file format for rows."""

    @property
    def name(self) -> str:
        """Its name in task.yaml."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """File name suffixes, the usual one first; empty where a split is a folder."""

    @property
    def options(self) -> type[Options]:
        """The model of `data.options`."""

    def read(self, path: Path, spec: RowSpec) -> tuple[Row, ...]:
        """All rows of a file (of a folder, where there are no suffixes), checked.

        Raises:
            UserError: the file or a row of it is faulty; the message is `file:line: fault`.
        """

    def survey(self, path: Path) -> dict[str, Any]:
        """Counts what the file holds, independent of a task: rows, columns, labels ...

        Raises:
            UserError: as `read`.
        """


FORMATS: Registry[Format] = Registry("data format")


def fingerprint(rows: Iterable[Row]) -> str:
    """SHA-256 (hex) over the rows as canonical JSON, one a line; equal on every platform."""
    digest = hashlib.sha256()
    for row in rows:
        line = json.dumps(row.to_dict(), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


class Leak(NamedTuple):
    """The same input in two splits."""

    split: str
    id: str
    other_split: str
    other_id: str


def input_key(row: Row) -> str:
    """Instruction and input, case-folded and with white space collapsed, for comparing rows."""
    return " ".join(f"{row.instruction or ''} {row.text}".casefold().split())


def find_leaks(splits: Mapping[str, Sequence[Row]]) -> tuple[Leak, ...]:
    """Rows whose input also occurs in an earlier split (training rows first), by `input_key`."""
    first: dict[str, tuple[str, str]] = {}
    leaks: list[Leak] = []
    for split, rows in splits.items():
        for row in rows:
            earlier = first.setdefault(input_key(row), (split, row.id))
            if earlier[0] != split:
                leaks.append(Leak(split, row.id, *earlier))
    return tuple(leaks)
