"""From one record, a mapping of names to values, to one row; says what is wrong with it.

A record is `{"id", "text", "entities": [{"start", "end", "label", "text"}]}`, or
`{"tokens", "ner_tags"}`, or `{"id", "input", "output"}` with or without an `instruction`, or
`{"id", "text"}`; further keys are ignored, other names are mapped by `Wanted.fields`. Knows
nothing of files.

Gathers rows from records or finished rows, each with its line; ids have to differ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from harness.data.rows import Row, RowSpec, Span
from harness.data.tagging import TagError, sentence_to_text
from harness.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


Record = Mapping[str, Any]

#: Characters that no label may have, since written entities are told apart by them.
_RESERVED: Final = frozenset(":;|\\\n\r")
#: What a file calls the tags of its tokens, unless `Wanted.fields` says otherwise.
_TAGS: Final = "ner_tags"


class RowError(Exception):
    """What is wrong with a record; the reader puts file and line before it."""


def parse_row(record: Record, wanted: RowSpec, default: str) -> Row:
    """The row that a record holds.

    Args:
        record: names and values.
        wanted: what the task asks of its rows.
        default: id of a record that has none.

    Raises:
        RowError: a value is missing or wrong.
    """
    identity = record.get(wanted.fields.get("id", "id"), default)
    if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
        raise RowError(f"'id' is {quoted(identity)}; give a text that is not empty")
    if wanted.kind == "pairs":
        row = _pair(record, wanted, str(identity))
    elif wanted.kind == "entities" and _has_tokens(record, wanted):
        row = _tagged(record, wanted, str(identity))
    else:
        text = _text(record, wanted, "text")
        entities = _entities(record, wanted, text) if wanted.kind == "entities" else ()
        row = Row(str(identity), text, entities)
    if wanted.score is not None:
        row = replace(row, score=_score(record, wanted.score))
    if wanted.group is not None:
        row = replace(row, group=_group(record, wanted.group))
    return row


def _score(record: Record, name: str) -> float:
    value = _value(record, name, name)
    try:
        # a table of text, such as CSV, has "4" for 4
        score = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        score = math.nan
    if math.isnan(score):
        raise RowError(f"'{name}' is {quoted(value)}; it should be a number")
    return score


def _group(record: Record, name: str) -> str:
    value = _value(record, name, name)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise RowError(f"'{name}' is {quoted(value)}; it should be a name or a whole number")
    return str(value)


def _pair(record: Record, wanted: RowSpec, identity: str) -> Row:
    asked = None
    if wanted.fields.get("instruction", "instruction") in record:
        asked = _text(record, wanted, "instruction")
    name = wanted.fields.get("input", "input")
    # As in instruction tuning: an instruction may need no input.
    text = "" if asked and record.get(name) == "" else _text(record, wanted, "input")
    return Row(identity, text, output=_text(record, wanted, "output"), instruction=asked)


def _has_tokens(record: Record, wanted: RowSpec) -> bool:
    return "text" not in wanted.fields and (
        "tokens" in wanted.fields or ("tokens" in record and "text" not in record)
    )


def _tagged(record: Record, wanted: RowSpec, identity: str) -> Row:
    tokens = _words(record, wanted.fields.get("tokens", "tokens"))
    name = wanted.fields.get("tags", _TAGS)
    tags = _words(record, name)
    if len(tags) != len(tokens):
        raise RowError(
            f"'{name}' has {len(tags)} tags for {len(tokens)} tokens; give each its own"
        )
    try:
        text, spans = sentence_to_text(tokens, tags)
    except TagError as fault:
        raise RowError(f"'{name}': {fault}") from None
    for span in spans:
        check_label(span.label, wanted.labels, f"'{name}'")
    return Row(identity, text, spans)


def _words(record: Record, name: str) -> list[str]:
    values = _value(record, name, name)
    if not isinstance(values, list | tuple) or not all(isinstance(one, str) for one in values):
        raise RowError(f"'{name}' is {quoted(values)}; it should be a list of words")
    if not values:
        raise RowError(f"'{name}' is empty; leave the row out")
    return list(values)


def _value(record: Record, key: str, name: str) -> Any:
    if name not in record:
        mapped = "" if name == key else f" (task.yaml maps {key} to it)"
        raise RowError(f"no '{name}'{mapped}; the row has: {', '.join(record) or 'nothing'}")
    return record[name]


def _text(record: Record, wanted: RowSpec, key: str) -> str:
    name = wanted.fields.get(key, key)
    text = _value(record, key, name)
    if not isinstance(text, str):
        raise RowError(f"'{name}' is {quoted(text)}; it should be a text")
    if not text.strip():
        raise RowError(f"'{name}' is empty; leave the row out or give it a text")
    return text


def _entities(record: Record, wanted: RowSpec, text: str) -> tuple[Span, ...]:
    name = wanted.fields.get("entities", "entities")
    if name not in record:
        raise RowError(f"no '{name}'; a text without any has \"{name}\": []")
    entities = record[name]
    if not isinstance(entities, list | tuple):
        raise RowError(f"'{name}' is {quoted(entities)}; it should be a list")
    spans = [_span(item, text, wanted, f"{name}[{k}]") for k, item in enumerate(entities)]
    return tuple(sorted(spans, key=lambda span: (span.start, span.end)))


def _span(item: Any, text: str, wanted: RowSpec, where: str) -> Span:
    if not isinstance(item, dict):
        raise RowError(f"{where} is {quoted(item)}; it should be an object with start, end, label")
    start, end = _offset(item, "start", where), _offset(item, "end", where)
    label = item.get("label")
    return span_at(text, start, end, label, item.get("text"), wanted.labels, where)


def _offset(item: dict[str, Any], key: str, where: str) -> int:
    value = item.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise RowError(f"{where}.{key} is {quoted(value)}; it should be a whole number")
    return value


def span_at(
    text: str,
    start: int,
    end: int,
    label: Any,
    given: Any,
    labels: Sequence[str] | None,
    where: str,
) -> Span:
    """A checked entity.

    Args:
        text: of the row.
        start: offset of its first character.
        end: offset behind its last.
        label: its label.
        given: what the file says stands there; None where it does not say.
        labels: those allowed; None: any.
        where: what to call it in messages.

    Raises:
        RowError: offsets, text or label are wrong.
    """
    if not 0 <= start < end <= len(text):
        raise RowError(
            f"{where}: offsets {start}..{end} do not lie in the text of {len(text)} characters; "
            "0 <= start < end <= length is right"
        )
    inside = text[start:end]
    if given is not None and given != inside:
        raise RowError(
            f"{where}: 'text' is {quoted(given)}, but text[{start}:{end}] is {quoted(inside)}; "
            "offsets count characters from 0, the end is exclusive"
        )
    if not inside.strip():
        raise RowError(f"{where}: text[{start}:{end}] is blank; an entity has visible characters")
    return Span(start, end, check_label(label, labels, where), inside)


def check_label(label: Any, labels: Sequence[str] | None, where: str) -> str:
    """The label, if it may be one.

    Raises:
        RowError: it is no name, holds a reserved character or is unknown.
    """
    if not isinstance(label, str) or not label.strip() or label != label.strip():
        raise RowError(f"{where}.label is {quoted(label)}; it should be a name such as CONDITION")
    if _RESERVED & set(label):
        raise RowError(
            f"{where}.label is {quoted(label)}; a label has no : ; | \\ and no line end"
        )
    if labels is not None and label not in labels:
        raise RowError(f"{where}: unknown label '{label}'; {did_you_mean(label, labels)}")
    return label


def quoted(value: Any) -> str:
    """A value as JSON, cut to what fits a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


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


def location(path: Path, unit: str, number: int) -> str:
    """Where a record stands: `file:line`, or `file: row number`."""
    return f"{path}:{number}" if unit == "line" else f"{path}: {unit} {number}"


def parse_rows(
    path: Path,
    records: Iterable[tuple[int, Callable[[], Record]]],
    wanted: RowSpec,
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
        with at(location(path, unit, number)):
            row = parse_row(record(), wanted, f"{path.stem}{number}")
        if row.id in places:
            raise UserError(
                f"{location(path, unit, number)}: id '{row.id}' already stands in {unit} "
                f"{places[row.id]}; every row needs an id of its own"
            )
        places[row.id] = number
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: no rows; {empty}")
    return tuple(rows)


def only_entities(path: Path, wanted: RowSpec, name: str) -> None:
    """Refuses a task whose rows such a format cannot hold.

    Raises:
        UserError: the task wants something else than entities or text.
    """
    if wanted.kind not in {"entities", "text"}:
        raise UserError(
            f"{path}: {name} holds texts with entities, but the task's kind is {wanted.kind}"
        )
