"""Tabular formats: CSV and TSV, JSON lines, Parquet, saved data sets, and data sets of the hub.

Columns are mapped as in `harness.data.parsing`. Values of CSV and TSV are texts, so these two
cannot hold entities. `datasets` takes a second to import, so it is imported when a file is read.
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
from itertools import chain
from pathlib import Path
from typing import Any, Final

from harness.data.parsing import (
    Record,
    RowError,
    location,
    parse_rows,
    read_bytes,
    read_text,
    with_location,
)
from harness.data.rows import FORMATS, Options, Row, RowSpec
from harness.errors import UserError, did_you_mean

_COLUMNS = {"pairs": ("input", "output"), "text": ("text",)}
_CONTENT: Final = "the file should have a line of column names, then rows"


class Delimited:
    """The formats `csv` and `tsv`."""

    options = Options

    def __init__(self, name: str, delimiter: str) -> None:
        self.name = name
        self.suffixes = (f".{name}",)
        self._delimiter = delimiter

    def read(self, path: Path, spec: RowSpec) -> tuple[Row, ...]:
        """All rows of a file, checked; see `Format.read`."""
        if spec.row_type == "entities":
            raise UserError(
                f"{path}: {self.name} cannot hold entities; use jsonl, conll, brat or pubtator"
            )
        header, lines = self._table(path)
        for key in _COLUMNS[spec.row_type]:
            name = spec.fields.get(key, key)
            if name not in header:
                raise UserError(
                    f"{path}:1: no column '{name}'; {did_you_mean(name, header)} "
                    f"(fields: {{{key}: COLUMN}} in task.yaml names another)"
                )
        records = ((number, partial(_row_record, header, values)) for number, values in lines)
        return parse_rows(path, records, spec, _CONTENT)

    def records(self, path: Path) -> Iterator[Record]:
        """All records of a file; see `harness.data.parsing.RecordFormat`."""
        header, lines = self._table(path)
        for number, values in lines:
            with with_location(f"{path}:{number}"):
                yield _row_record(header, values)

    def survey(self, path: Path) -> dict[str, Any]:
        """Counts rows, columns and lines; reports a byte order mark and CRLF line ends."""
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
            raise UserError(f"{path}: empty; {_CONTENT}")
        header = first[1]
        for name in header:
            if not name.strip() or header.count(name) > 1:
                fault = f"column '{name}' occurs twice" if name.strip() else "a column has no name"
                raise UserError(f"{path}:1: {fault}; every column needs a unique name")
        return header, lines

    def _lines(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        """Each row with the number of the line in which it begins."""
        text = read_text(path)
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise UserError(f"{path}:{line}: a NUL byte; is this a text file?")
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


def _row_record(header: list[str], values: list[str]) -> dict[str, str]:
    if len(values) != len(header):
        raise RowError(
            f"{len(values)} values for {len(header)} columns ({', '.join(header)}); a value with "
            "the separator in it needs quotes"
        )
    return dict(zip(header, values, strict=True))


CSV = FORMATS.add("csv", Delimited("csv", ","))
TSV = FORMATS.add("tsv", Delimited("tsv", "\t"))


_ADVICE: Final = "give one JSON object per line"


class JsonLines:
    """The format `jsonl`."""

    name = "jsonl"
    suffixes = (".jsonl", ".json", ".ndjson")
    options = Options

    def read(self, path: Path, spec: RowSpec) -> tuple[Row, ...]:
        """All rows of a file, checked; see `Format.read`."""
        unit, records = _numbered_records(path)
        return parse_rows(path, records, spec, _ADVICE, unit)

    def records(self, path: Path) -> Iterator[Record]:
        """All records of a file; see `harness.data.parsing.RecordFormat`."""
        unit, records = _numbered_records(path)
        for number, record in records:
            with with_location(location(path, unit, number)):
                yield record()

    def survey(self, path: Path) -> dict[str, Any]:
        """Counts rows, and the rows that have each key; see `Format.survey`."""
        records = list(self.records(path))
        return {"rows": len(records), "keys": dict(Counter(chain.from_iterable(records)))}


def _numbered_records(
    path: Path,
) -> tuple[str, Iterator[tuple[int, Callable[[], dict[str, Any]]]]]:
    """What numbers count (`line` or `row`), and the numbered records, decoded when called."""
    content = read_bytes(path)
    if path.suffix != ".json" or content.lstrip()[:1] != b"[":
        lines = enumerate(content.split(b"\n"), start=1)
        return "line", ((n, partial(_decode_line, line)) for n, line in lines if line.strip())
    try:
        rows = json.loads(read_text(path))  # it names the line of a byte that is not UTF-8
    except json.JSONDecodeError as fault:
        raise UserError(f"{path}:{fault.lineno}: not JSON: {fault.msg}") from fault
    return "row", ((n, partial(_require_object, row)) for n, row in enumerate(rows, start=1))


def _decode_line(line: bytes) -> dict[str, Any]:
    try:
        return _require_object(json.loads(line.decode("utf-8")))
    except UnicodeDecodeError as fault:
        raise RowError(f"byte {fault.start + 1} is not UTF-8; save the file as UTF-8") from fault
    except json.JSONDecodeError as fault:
        raise RowError(f"not JSON: {fault.msg} at character {fault.colno}; {_ADVICE}") from fault


def _require_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RowError(f"a JSON {type(value).__name__} instead of an object {{...}}")
    return value


JSONL = FORMATS.add("jsonl", JsonLines())


class DatasetFormat(ABC):
    """A format that the `datasets` library reads."""

    options = Options

    def read(self, path: Path, spec: RowSpec) -> tuple[Row, ...]:
        """All rows of a file or folder, checked; see `Format.read`."""
        records = dataset_records(self._table(path))
        return parse_rows(path, records, spec, "give at least one row", "row")

    def records(self, path: Path) -> Iterator[Record]:
        """All records of a file or folder; see `harness.data.parsing.RecordFormat`."""
        for _, record in dataset_records(self._table(path)):
            yield record()

    def survey(self, path: Path) -> dict[str, Any]:
        """Rows and columns; see `Format.survey`."""
        table = self._table(path)
        return {"rows": len(table), "columns": list(table.column_names)}

    @abstractmethod
    def _table(self, path: Path) -> Any:
        """A `datasets.Dataset`."""


class Parquet(DatasetFormat):
    """The format `parquet`."""

    name = "parquet"
    suffixes: tuple[str, ...] = (".parquet",)

    def _table(self, path: Path) -> Any:
        from datasets import Dataset
        from datasets.exceptions import DatasetGenerationError

        try:
            return Dataset.from_parquet(str(path))
        except (OSError, ValueError, DatasetGenerationError) as fault:
            reason = _one_line(fault.__cause__ or fault)
            raise UserError(f"{path}: not a readable Parquet file ({reason})") from None


class SavedDataset(DatasetFormat):
    """The format `saved`: a folder written by `Dataset.save_to_disk`."""

    name = "saved"
    suffixes: tuple[str, ...] = ()

    def _table(self, path: Path) -> Any:
        from datasets import Dataset, load_from_disk

        try:
            dataset = load_from_disk(str(path))
        except (OSError, ValueError) as fault:
            raise UserError(f"{path}: not a saved data set ({_one_line(fault)})") from None
        if not isinstance(dataset, Dataset):
            splits = ", ".join(dataset)
            raise UserError(f"{path}: holds several splits ({splits}); give the folder of one")
        return dataset


def dataset_records(table: Any) -> Iterator[tuple[int, Callable[[], dict[str, Any]]]]:
    """Rows of a `datasets.Dataset`, numbered from 1; class indices become class names."""
    classes = {column: _class_names(feature) for column, feature in table.features.items()}
    names = {column: labels for column, labels in classes.items() if labels}
    for number, row in enumerate(table, start=1):
        yield number, partial(_with_class_names, row, names)


def _class_names(feature: Any) -> list[str] | None:
    inner = getattr(feature, "feature", feature)
    names = getattr(inner, "names", None)
    return list(names) if isinstance(names, list) else None


def _with_class_names(row: dict[str, Any], names: dict[str, list[str]]) -> dict[str, Any]:
    def name(value: Any, classes: list[str]) -> Any:
        if isinstance(value, list):
            return [name(inner, classes) for inner in value]
        return classes[value] if isinstance(value, int) and 0 <= value < len(classes) else value

    return {key: name(value, names[key]) if key in names else value for key, value in row.items()}


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:160]


PARQUET = FORMATS.add("parquet", Parquet())
SAVED = FORMATS.add("saved", SavedDataset())


#: An id on the hub: `name` or `owner/name`.
_ID: Final = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


@cache  # each call goes over the network
def hub_split_names(name: str, config: str | None, revision: str | None) -> tuple[str, ...]:
    """Names of the splits of a data set on the hub.

    Raises:
        UserError: it cannot be loaded.
    """
    from datasets import get_dataset_split_names

    return tuple(_call_datasets(name, get_dataset_split_names, config, revision=revision))


def read_hub(
    name: str, config: str | None, revision: str | None, split: str, spec: RowSpec
) -> tuple[Row, ...]:
    """All rows of a split of a hub data set (its id, or a folder), checked.

    Raises:
        UserError: it cannot be loaded, or a row is faulty (`name/split: row N: fault`).
    """
    from datasets import load_dataset

    splits = hub_split_names(name, config, revision)
    if split not in splits:
        raise UserError(f"{name}: no split '{split}'; {did_you_mean(split, splits)}")
    table = _call_datasets(name, load_dataset, config, revision=revision, split=split)
    records = dataset_records(table)
    return parse_rows(Path(name) / split, records, spec, "give at least one row", "row")


def _call_datasets(name: str, load: Callable[..., Any], config: str | None, **keys: Any) -> Any:
    if not Path(name).is_dir() and not _ID.fullmatch(name):
        raise UserError(f"{name}: neither a folder nor an id on the hub such as org/name")
    try:
        return load(name, config, **keys)
    except Exception as fault:
        reason = " ".join(str(fault).split())[:200] or type(fault).__name__
        raise UserError(
            f"{name}: neither a data set on the hub nor a folder that can be loaded ({reason})"
        ) from None
