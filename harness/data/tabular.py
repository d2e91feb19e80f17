"""CSV and TSV: a line of column names, then a row each; quoted values may hold line ends.

Columns are mapped as in `harness.data.parsing`; all values are texts. Entities do not fit into
columns.

JSON lines: one row a line, UTF-8; or one JSON list of rows. Names every fault with its place.

Keys are those of `harness.data.parsing`. A row without an id is called by file and line.

Parquet files and data sets that `datasets` saved to disk: records in columns.

Columns are mapped as in `harness.data.parsing`; classes kept as numbers become their names.
Uses `datasets`, which is imported when a file is read.

Data sets of the Hugging Face hub, by id, configuration and revision; or a folder like one.

Columns are mapped as in `harness.data.parsing`. Uses `datasets`, which keeps what it loaded in
its own cache; imported when something is read.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.data.parsing import Record, RowError, at, location, parse_rows, read_bytes, read_text
from harness.data.rows import FORMATS, Options, Row, RowSpec
from harness.errors import UserError, did_you_mean

_COLUMNS = {"pairs": ("input", "output"), "text": ("text",)}


class Delimited:
    """The formats `csv` and `tsv`.

    Args:
        name: of the format.
        delimiter: between values.
    """

    options = Options

    def __init__(self, name: str, delimiter: str) -> None:
        self.name = name
        self.suffixes = (f".{name}",)
        self._delimiter = delimiter

    def read(self, path: Path, wanted: RowSpec) -> tuple[Row, ...]:
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
        return parse_rows(path, records, wanted, "a line of column names, then rows, is right")

    def records(self, path: Path) -> Iterator[Record]:
        """All records of a file; see `harness.data.parsing.Recorded`."""
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


_RIGHT: Final = "give one JSON object a line"


class JsonLines:
    """The format `jsonl`."""

    name = "jsonl"
    suffixes = (".jsonl", ".json", ".ndjson")
    options = Options

    def read(self, path: Path, wanted: RowSpec) -> tuple[Row, ...]:
        """All rows of a file, checked; see `Format.read`."""
        unit, records = _open(path)
        return parse_rows(path, records, wanted, _RIGHT, unit)

    def records(self, path: Path) -> Iterator[Record]:
        """All records of a file; see `harness.data.parsing.Recorded`."""
        unit, found = _open(path)
        for number, record in found:
            with at(location(path, unit, number)):
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


class Tables(ABC):
    """Formats that `datasets` reads."""

    options = Options

    def read(self, path: Path, wanted: RowSpec) -> tuple[Row, ...]:
        """All rows of a file or folder, checked; see `Format.read`."""
        return parse_rows(path, records(self._table(path)), wanted, "one row is right", "row")

    def records(self, path: Path) -> Iterator[Record]:
        """All records of a file or folder; see `harness.data.parsing.Recorded`."""
        for _, record in records(self._table(path)):
            yield record()

    def survey(self, path: Path) -> dict[str, Any]:
        """Rows and columns; see `Format.survey`."""
        table = self._table(path)
        return {"rows": len(table), "columns": list(table.column_names)}

    @abstractmethod
    def _table(self, path: Path) -> Any:
        """A `datasets.Dataset`."""


class Parquet(Tables):
    """The format `parquet`."""

    name = "parquet"
    suffixes: tuple[str, ...] = (".parquet",)

    def _table(self, path: Path) -> Any:
        from datasets import Dataset
        from datasets.exceptions import DatasetGenerationError

        try:
            return Dataset.from_parquet(str(path))
        except (OSError, ValueError, DatasetGenerationError) as fault:
            told = _line_tables(fault.__cause__ or fault)
            raise UserError(f"{path}: no Parquet file that can be read ({told})") from None


class Saved(Tables):
    """The format `saved`: a folder that `Dataset.save_to_disk` wrote."""

    name = "saved"
    suffixes: tuple[str, ...] = ()

    def _table(self, path: Path) -> Any:
        from datasets import Dataset, load_from_disk

        try:
            found = load_from_disk(str(path))
        except (OSError, ValueError) as fault:
            raise UserError(f"{path}: no saved data set ({_line_tables(fault)})") from None
        if not isinstance(found, Dataset):
            raise UserError(f"{path}: holds splits ({', '.join(found)}); give the folder above")
        return found


def records(table: Any) -> Iterator[tuple[int, Callable[[], dict[str, Any]]]]:
    """Rows of a `datasets.Dataset`, numbered from 1, classes by their names."""
    names = {column: _names(feature) for column, feature in table.features.items()}
    for number, row in enumerate(table, start=1):
        yield number, partial(_named, row, {key: one for key, one in names.items() if one})


def _names(feature: Any) -> list[str] | None:
    inner = getattr(feature, "feature", feature)
    found = getattr(inner, "names", None)
    return list(found) if isinstance(found, list) else None


def _named(row: dict[str, Any], names: dict[str, list[str]]) -> dict[str, Any]:
    def name(value: Any, of: list[str]) -> Any:
        if isinstance(value, list):
            return [name(one, of) for one in value]
        return of[value] if isinstance(value, int) and 0 <= value < len(of) else value

    return {key: name(value, names[key]) if key in names else value for key, value in row.items()}


def _line_tables(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:160]


PARQUET = FORMATS.add("parquet", Parquet())
SAVED = FORMATS.add("saved", Saved())


#: An id on the hub: a name, or an owner's.
_ID: Final = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def split_names(name: str, config: str | None, revision: str | None) -> tuple[str, ...]:
    """Splits of a data set, as it calls them.

    Raises:
        UserError: it cannot be had.
    """
    return _split_names(name, config, revision)


@cache  # every question goes over the network
def _split_names(name: str, config: str | None, revision: str | None) -> tuple[str, ...]:
    from datasets import get_dataset_split_names

    return tuple(_told(name, lambda: get_dataset_split_names(name, config, revision=revision)))


def read(
    name: str, config: str | None, revision: str | None, split: str, wanted: RowSpec
) -> tuple[Row, ...]:
    """All rows of a split, checked.

    Args:
        name: id on the hub, such as `org/name`, or a folder.
        config: its configuration, where it has several.
        revision: branch, tag or commit; None: the default branch.
        split: as the data set calls it.
        wanted: what the task asks of its rows.

    Raises:
        UserError: it cannot be had, or a row is faulty, told as `name/split: row N: what`.
    """
    from datasets import load_dataset

    splits = split_names(name, config, revision)
    if split not in splits:
        raise UserError(f"{name}: no split '{split}'; {did_you_mean(split, splits)}")
    table: Any = _told(name, lambda: load_dataset(name, config, revision=revision, split=split))
    return parse_rows(Path(name) / split, records(table), wanted, "one row is right", "row")


def _told(name: str, action: Any) -> Any:
    if not Path(name).is_dir() and not _ID.fullmatch(name):
        raise UserError(f"{name}: no such folder, and no id of the hub such as org/name")
    try:
        return action()
    except UserError:
        raise
    except Exception as fault:
        told = " ".join(str(fault).split())[:200] or type(fault).__name__
        raise UserError(
            f"{name}: neither a data set of the hub nor a folder that can be loaded ({told})"
        ) from None
