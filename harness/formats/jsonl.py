"""JSON lines: one row a line, UTF-8; or one JSON list of rows. Names every fault with its place.

Keys are those of `harness.formats.records`. A row without an id is called by file and line.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from harness.errors import UserError
from harness.formats.collecting import read_bytes, read_text, rows_of
from harness.formats.format import FORMATS, Options, Row, Wanted
from harness.formats.records import RowError

_RIGHT: Final = "give one JSON object a line"


class JsonLines:
    """The format `jsonl`."""

    name = "jsonl"
    suffixes = (".jsonl", ".json", ".ndjson")
    options = Options

    def read(self, path: Path, wanted: Wanted) -> tuple[Row, ...]:
        """All rows of a file, checked; see `Format.read`."""
        return rows_of(path, _records(path), wanted, _RIGHT, _unit(path))

    def survey(self, path: Path) -> dict[str, Any]:
        """Rows, and in how many of them each key stands; see `Format.survey`."""
        keys: Counter[str] = Counter()
        rows = 0
        for number, record in _records(path):
            try:
                keys.update(record())
            except RowError as fault:
                raise UserError(f"{path}: {_unit(path)} {number}: {fault}") from fault
            rows += 1
        return {"rows": rows, "keys": dict(keys)}


def _is_list(path: Path) -> bool:
    return path.suffix == ".json" and read_bytes(path).lstrip()[:1] == b"["


def _unit(path: Path) -> str:
    return "row" if _is_list(path) else "line"


def _records(path: Path) -> Iterator[tuple[int, Callable[[], dict[str, Any]]]]:
    if _is_list(path):
        try:
            whole = json.loads(read_text(path))
        except json.JSONDecodeError as fault:
            raise UserError(f"{path}:{fault.lineno}: not JSON: {fault.msg}") from fault
        for number, value in enumerate(whole, start=1):
            yield number, partial(_object, value)
        return
    for number, line in enumerate(read_bytes(path).split(b"\n"), start=1):
        if line.strip():
            yield number, partial(_decode, line)


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
