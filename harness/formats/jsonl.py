"""JSON lines: one row a line, UTF-8; or one JSON list of rows. Names every fault with its place.

Keys are those of `harness.formats.records`. A row without an id is called by file and line.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.errors import UserError
from harness.formats.collecting import at, place, read_bytes, read_text, rows_of
from harness.formats.format import FORMATS, Options, Row, Wanted
from harness.formats.records import Record, RowError

_RIGHT: Final = "give one JSON object a line"


class JsonLines:
    """The format `jsonl`."""

    name = "jsonl"
    suffixes = (".jsonl", ".json", ".ndjson")
    options = Options

    def read(self, path: Path, wanted: Wanted) -> tuple[Row, ...]:
        """All rows of a file, checked; see `Format.read`."""
        unit, records = _open(path)
        return rows_of(path, records, wanted, _RIGHT, unit)

    def records(self, path: Path) -> Iterator[Record]:
        """All records of a file; see `harness.formats.collecting.Recorded`."""
        unit, found = _open(path)
        for number, record in found:
            with at(place(path, unit, number)):
                yield record()

    def survey(self, path: Path) -> dict[str, Any]:
        """Rows, and in how many of them each key stands; see `Format.survey`."""
        keys: Counter[str] = Counter()
        rows = 0
        for record in self.records(path):
            keys.update(record.keys())
            rows += 1
        return {"rows": rows, "keys": dict(keys)}


class _Opened(NamedTuple):
    unit: str  # what the records are numbered by: `line` or `row`
    records: Iterator[tuple[int, Callable[[], dict[str, Any]]]]


def _open(path: Path) -> _Opened:
    content = read_bytes(path)
    if path.suffix != ".json" or content.lstrip()[:1] != b"[":
        lines = enumerate(content.split(b"\n"), start=1)
        return _Opened("line", ((n, partial(_decode, line)) for n, line in lines if line.strip()))
    try:
        whole = json.loads(read_text(path))  # which names the line of a byte that is not UTF-8
    except json.JSONDecodeError as fault:
        raise UserError(f"{path}:{fault.lineno}: not JSON: {fault.msg}") from fault
    return _Opened("row", ((n, partial(_object, one)) for n, one in enumerate(whole, start=1)))


def _decode(line: bytes) -> dict[str, Any]:
    try:
        return _object(json.loads(line.decode("utf-8")))
    except UnicodeDecodeError as fault:
        raise RowError(f"byte {fault.start + 1} is not UTF-8; save the file as UTF-8") from fault
    except json.JSONDecodeError as fault:
        raise RowError(f"not JSON: {fault.msg} at character {fault.colno}; {_RIGHT}") from fault


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RowError(f"a JSON {type(value).__name__} where an object {{...}} should stand")
    return value


JSONL = FORMATS.add("jsonl", JsonLines())
