"""Gathers rows from records or finished rows, each with its line; ids have to differ."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from harness.errors import UserError
from harness.formats.records import RowError, row_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from harness.formats.format import Row, Wanted
    from harness.formats.records import Record


@runtime_checkable
class Recorded(Protocol):
    """A format whose files hold records: names and values."""

    def records(self, path: Path) -> Iterator[Record]:
        """All records of a file, as they stand.

        Raises:
            UserError: one cannot be read.
        """


def read_bytes(path: Path) -> bytes:
    """A file's content without a byte order mark.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror})") from fault


def read_text(path: Path) -> str:
    """A file's text, line ends as they are.

    Raises:
        UserError: it cannot be read or is not UTF-8; the line is named.
    """
    content = read_bytes(path)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise UserError(
            f"{path}:{line}: byte {fault.start + 1} of the file is not UTF-8; save it as UTF-8"
        ) from fault


@contextmanager
def at(place: str) -> Iterator[None]:
    """Tells what is wrong with a row together with its place, such as `file:line`.

    Raises:
        UserError: a `RowError` was raised inside.
    """
    try:
        yield
    except RowError as fault:
        raise UserError(f"{place}: {fault}") from fault


def place(path: Path, unit: str, number: int) -> str:
    """Where a record stands: `file:line`, or `file: row number`."""
    return f"{path}:{number}" if unit == "line" else f"{path}: {unit} {number}"


def rows_of(
    path: Path,
    records: Iterable[tuple[int, Callable[[], Record]]],
    wanted: Wanted,
    empty: str,
    unit: str = "line",
) -> tuple[Row, ...]:
    """Rows of records.

    Args:
        path: for messages and for the ids of records without one.
        records: number of the line (or row), and what answers the record or raises `RowError`.
        wanted: what the task asks of its rows.
        empty: what is right where there is no record at all.
        unit: what the numbers count: `line`, or `row` where a row may take several lines.

    Raises:
        UserError: told as `file:line: what`.
    """
    rows: list[Row] = []
    places: dict[str, int] = {}
    for number, record in records:
        with at(place(path, unit, number)):
            row = row_of(record(), wanted, f"{path.stem}{number}")
        if row.id in places:
            raise UserError(
                f"{place(path, unit, number)}: id '{row.id}' already stands in {unit} "
                f"{places[row.id]}; every row needs an id of its own"
            )
        places[row.id] = number
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: no rows; {empty}")
    return tuple(rows)


def only_entities(path: Path, wanted: Wanted, name: str) -> None:
    """Refuses a task whose rows such a format cannot hold.

    Raises:
        UserError: the task wants something else than entities or text.
    """
    if wanted.kind not in {"entities", "text"}:
        raise UserError(
            f"{path}: {name} holds texts with entities, but the task's kind is {wanted.kind}"
        )
