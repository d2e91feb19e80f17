"""Parquet files and data sets that `datasets` saved to disk: records in columns.

Columns are mapped as in `harness.formats.records`; classes kept as numbers become their names.
Uses `datasets`, which is imported when a file is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.formats.collecting import rows_of
from harness.formats.format import FORMATS, Options, Row, Wanted

if TYPE_CHECKING:
    from harness.formats.records import Record


class Tables(ABC):
    """Formats that `datasets` reads."""

    options = Options

    def read(self, path: Path, wanted: Wanted) -> tuple[Row, ...]:
        """All rows of a file or folder, checked; see `Format.read`."""
        return rows_of(path, records(self._table(path)), wanted, "one row is right", "row")

    def records(self, path: Path) -> Iterator[Record]:
        """All records of a file or folder; see `harness.formats.collecting.Recorded`."""
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
            told = _line(fault.__cause__ or fault)
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
            raise UserError(f"{path}: no saved data set ({_line(fault)})") from None
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


def _line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:160]


PARQUET = FORMATS.add("parquet", Parquet())
SAVED = FORMATS.add("saved", Saved())
