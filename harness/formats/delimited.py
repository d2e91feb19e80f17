"""CSV and TSV: a line of column names, then a row each; quoted values may hold line ends.

Columns are mapped as in `harness.formats.records`; all values are texts. Entities do not fit into
columns.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import UserError, did_you_mean
from harness.formats.collecting import at, read_bytes, read_text, rows_of
from harness.formats.format import FORMATS, Options, Row, Wanted
from harness.formats.records import Record, RowError

_COLUMNS = {"pairs": ("input", "output"), "text": ("text",)}


class Delimited:
    """The formats `csv` and `tsv`.

    Args:
        name: of the format.
        delimiter: between values.
    """

    options = Options

    def __init__(self, name: str, delimiter: str) -> None:
        """Takes both down."""
        self.name = name
        self.suffixes = (f".{name}",)
        self._delimiter = delimiter

    def read(self, path: Path, wanted: Wanted) -> tuple[Row, ...]:
        """All rows of a file, checked; see `Format.read`."""
        if wanted.kind == "entities":
            raise UserError(
                f"{path}: {self.name} has no place for entities; use jsonl, conll, brat or "
                "pubtator"
            )
        header, lines = self._table(path)
        for key in _COLUMNS[wanted.kind]:
            name = wanted.fields.get(key, key)
            if name not in header:
                raise UserError(
                    f"{path}:1: no column '{name}'; {did_you_mean(name, header)} "
                    f"(fields: {{{key}: COLUMN}} in task.yaml names another)"
                )
        records = ((number, partial(_record, header, values)) for number, values in lines)
        return rows_of(path, records, wanted, "a line of column names, then rows, is right")

    def records(self, path: Path) -> Iterator[Record]:
        """All records of a file; see `harness.formats.collecting.Recorded`."""
        header, lines = self._table(path)
        for number, values in lines:
            with at(f"{path}:{number}"):
                yield _record(header, values)

    def survey(self, path: Path) -> dict[str, Any]:
        """Rows, columns, lines of the file, byte order mark and kind of line ends."""
        header, lines = self._table(path)
        rows = sum(1 for _ in lines)
        content = path.read_bytes()
        return {
            "rows": rows,
            "columns": header,
            "physical_lines": content.count(b"\n") + (not content.endswith(b"\n")),
            "bom": content.startswith(b"\xef\xbb\xbf"),
            "crlf": b"\r\n" in read_bytes(path),
        }

    def _table(self, path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
        lines = self._lines(path)
        first = next(lines, None)
        if first is None:
            raise UserError(f"{path}: empty; a line of column names, then rows, is right")
        header = first[1]
        for name in header:
            if not name.strip() or header.count(name) > 1:
                told = f"column '{name}' stands twice" if name.strip() else "a column has no name"
                raise UserError(f"{path}:1: {told}; every column needs a name of its own")
        return header, lines

    def _lines(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        """Each row with the line of the file that it begins in."""
        text = read_text(path)
        if "\0" in text:
            raise UserError(f"{path}:{_line(text, text.index(chr(0)))}: a NUL byte; is it a text?")
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True)
        begins = 1
        try:
            for values in reader:
                if values:
                    yield begins, values
                begins = reader.line_num + 1
        except csv.Error as fault:
            raise UserError(
                f"{path}:{begins}: {fault}; a quote inside a quoted value is written twice"
            ) from fault


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _record(header: list[str], values: list[str]) -> dict[str, str]:
    if len(values) != len(header):
        raise RowError(
            f"{len(values)} values for {len(header)} columns ({', '.join(header)}); a value with "
            "the separator in it needs quotes"
        )
    return dict(zip(header, values, strict=True))


CSV = FORMATS.add("csv", Delimited("csv", ","))
TSV = FORMATS.add("tsv", Delimited("tsv", "\t"))
