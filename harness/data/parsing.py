"""`parse_row`: one record, a mapping of names to values, becomes one checked `Row`.

A record is `{"id", "text", "entities": [{"start", "end", "label", "text"}]}`, or
`{"tokens", "ner_tags"}`, or `{"id", "input", "output"}` with or without an `instruction`, or
`{"id", "text"}`; further keys are ignored, `RowSpec.fields` maps other names.

`parse_rows` does so for all records of a file, and puts the location of a record before its fault.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from harness.data.rows import Row, RowSpec, Span
from harness.data.tagging import TagError, sentence_to_text
from harness.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


Record = Mapping[str, Any]

#: Characters that no label may have: they separate entities in the text that a model writes.
_RESERVED: Final = frozenset(":;|\\\n\r")
#: The usual name of the field of tags, as in data sets of the hub.
_TAGS: Final = "ner_tags"


class RowError(Exception):
    """A fault of a record; whoever reads the file adds file and line."""


def parse_row(record: Record, spec: RowSpec, default_id: str) -> Row:
    """The row that a record holds; `default_id` is the id of a record that has none.

    Raises:
        RowError: a value is missing or wrong.
    """
    identity = record.get(spec.fields.get("id", "id"), default_id)
    if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
        raise RowError(f"'id' is {quoted(identity)}; give a text that is not empty")
    if spec.row_type == "pairs":
        row = _parse_pair(record, spec, str(identity))
    elif spec.row_type == "entities" and _has_tokens(record, spec):
        row = _parse_tagged(record, spec, str(identity))
    else:
        text = _required_text(record, spec, "text")
        entities = _parse_entities(record, spec, text) if spec.row_type == "entities" else ()
        row = Row(str(identity), text, entities)
    if spec.score is not None:
        row = replace(row, score=_parse_score(record, spec.score))
    if spec.group is not None:
        row = replace(row, group=_parse_group(record, spec.group))
    return row


def _parse_score(record: Record, name: str) -> float:
    value = _required_value(record, name, name)
    score = math.nan
    # In a table of texts, such as CSV, numbers are texts.
    with suppress(TypeError, ValueError):
        score = math.nan if isinstance(value, bool) else float(value)
    if math.isnan(score):
        raise RowError(f"'{name}' is {quoted(value)}; it should be a number")
    return score


def _parse_group(record: Record, name: str) -> str:
    value = _required_value(record, name, name)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise RowError(f"'{name}' is {quoted(value)}; it should be a name or a whole number")
    return str(value)


def _parse_pair(record: Record, spec: RowSpec, identity: str) -> Row:
    instruction = None
    if spec.fields.get("instruction", "instruction") in record:
        instruction = _required_text(record, spec, "instruction")
    name = spec.fields.get("input", "input")
    # As in instruction tuning: an instruction may need no input.
    text = "" if instruction and record.get(name) == "" else _required_text(record, spec, "input")
    output = _required_text(record, spec, "output")
    return Row(identity, text, output=output, instruction=instruction)


def _has_tokens(record: Record, spec: RowSpec) -> bool:
    return "text" not in spec.fields and (
        "tokens" in spec.fields or ("tokens" in record and "text" not in record)
    )


def _parse_tagged(record: Record, spec: RowSpec, identity: str) -> Row:
    tokens = _required_words(record, spec.fields.get("tokens", "tokens"))
    name = spec.fields.get("tags", _TAGS)
    tags = _required_words(record, name)
    if len(tags) != len(tokens):
        raise RowError(
            f"'{name}' has {len(tags)} tags for {len(tokens)} tokens; give one tag for each token"
        )
    try:
        text, spans = sentence_to_text(tokens, tags)
    except TagError as fault:
        raise RowError(f"'{name}': {fault}") from None
    for span in spans:
        check_label(span.label, spec.labels, f"'{name}'")
    return Row(identity, text, spans)


def _required_words(record: Record, name: str) -> list[str]:
    values = _required_value(record, name, name)
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise RowError(f"'{name}' is {quoted(values)}; it should be a list of words")
    if not values:
        raise RowError(f"'{name}' is empty; leave the row out")
    return list(values)


def _required_value(record: Record, key: str, name: str) -> Any:
    if name not in record:
        mapped = "" if name == key else f" (task.yaml maps {key} to it)"
        raise RowError(f"no '{name}'{mapped}; the row has: {', '.join(record) or 'nothing'}")
    return record[name]


def _required_text(record: Record, spec: RowSpec, key: str) -> str:
    name = spec.fields.get(key, key)
    text = _required_value(record, key, name)
    if not isinstance(text, str):
        raise RowError(f"'{name}' is {quoted(text)}; it should be a text")
    if not text.strip():
        raise RowError(f"'{name}' is empty; leave the row out or give it a text")
    return text


def _parse_entities(record: Record, spec: RowSpec, text: str) -> tuple[Span, ...]:
    name = spec.fields.get("entities", "entities")
    if name not in record:
        raise RowError(f"no '{name}'; a text without any has \"{name}\": []")
    entities = record[name]
    if not isinstance(entities, list | tuple):
        raise RowError(f"'{name}' is {quoted(entities)}; it should be a list")
    spans = [_parse_span(item, text, spec, f"{name}[{k}]") for k, item in enumerate(entities)]
    return tuple(sorted(spans, key=lambda span: (span.start, span.end)))


def _parse_span(item: Any, text: str, spec: RowSpec, location: str) -> Span:
    if not isinstance(item, dict):
        raise RowError(
            f"{location} is {quoted(item)}; it should be an object with start, end, label"
        )
    start, end = _parse_offset(item, "start", location), _parse_offset(item, "end", location)
    label = item.get("label")
    return span_at(text, start, end, label, item.get("text"), spec.labels, location)


def _parse_offset(item: dict[str, Any], key: str, location: str) -> int:
    value = item.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise RowError(f"{location}.{key} is {quoted(value)}; it should be a whole number")
    return value


def span_at(
    text: str,
    start: int,
    end: int,
    label: Any,
    stated: Any,
    labels: Sequence[str] | None,
    location: str,
) -> Span:
    """The entity at offsets of a row's text, checked.

    `stated` is its text according to the file, or None; `labels` are those allowed, or None for
    any; `location` is that of the entity, for messages.

    Raises:
        RowError: offsets, text or label are wrong.
    """
    if not 0 <= start < end <= len(text):
        raise RowError(
            f"{location}: offsets {start}..{end} are outside the text of {len(text)} characters; "
            "0 <= start < end <= length is right"
        )
    surface = text[start:end]
    if stated is not None and stated != surface:
        raise RowError(
            f"{location}: 'text' is {quoted(stated)}, but text[{start}:{end}] is "
            f"{quoted(surface)}; offsets count characters from 0, the end is exclusive"
        )
    if not surface.strip():
        raise RowError(
            f"{location}: text[{start}:{end}] is blank; an entity has visible characters"
        )
    return Span(start, end, check_label(label, labels, location), surface)


def check_label(label: Any, labels: Sequence[str] | None, location: str) -> str:
    """Checks a label and returns it.

    Raises:
        RowError: it is not a name, has a reserved character or is unknown.
    """
    if not isinstance(label, str) or not label.strip() or label != label.strip():
        raise RowError(
            f"{location}.label is {quoted(label)}; it should be a name such as CONDITION"
        )
    if _RESERVED & set(label):
        raise RowError(
            f"{location}.label is {quoted(label)}; a label has no : ; | \\ and no line end"
        )
    if labels is not None and label not in labels:
        raise RowError(f"{location}: unknown label '{label}'; {did_you_mean(label, labels)}")
    return label


def quoted(value: Any) -> str:
    """A value as JSON, truncated to fit a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


@runtime_checkable
class RecordFormat(Protocol):
    """A format whose files hold records, mappings of names to values."""

    def records(self, path: Path) -> Iterator[Record]:
        """All records of a file, unchecked.

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
def with_location(location: str) -> Iterator[None]:
    """Turns a `RowError` into a `UserError` with its location, such as `file:line`.

    Raises:
        UserError: a `RowError` was raised inside.
    """
    try:
        yield
    except RowError as fault:
        raise UserError(f"{location}: {fault}") from fault


def location(path: Path, unit: str, number: int) -> str:
    """The location of a record: `file:line`, or `file: row number`."""
    return f"{path}:{number}" if unit == "line" else f"{path}: {unit} {number}"


def parse_rows(
    path: Path,
    records: Iterable[tuple[int, Callable[[], Record]]],
    spec: RowSpec,
    advice: str,
    unit: str = "line",
) -> tuple[Row, ...]:
    """Parses all records of a file.

    Args:
        path: for messages and for the ids of records without one.
        records: number of the line (or row), and a function that returns the record or raises
            `RowError`.
        spec: what the task requires of its rows.
        advice: what to do about a file without any record.
        unit: what the numbers count: `line`, or `row` where a row may take several lines.

    Raises:
        UserError: a record is faulty, or an id occurs twice; the message is `file:line: fault`.
    """
    rows: list[Row] = []
    numbers: dict[str, int] = {}
    for number, record in records:
        with with_location(location(path, unit, number)):
            row = parse_row(record(), spec, f"{path.stem}{number}")
        if row.id in numbers:
            raise UserError(
                f"{location(path, unit, number)}: id '{row.id}' is already used in {unit} "
                f"{numbers[row.id]}; every row needs a unique id"
            )
        numbers[row.id] = number
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: no rows; {advice}")
    return tuple(rows)


def require_entity_rows(path: Path, spec: RowSpec, name: str) -> None:
    """Checks that a format with entities can hold the rows of a task.

    Raises:
        UserError: the task needs rows other than entities or texts.
    """
    if spec.row_type not in {"entities", "text"}:
        raise UserError(
            f"{path}: {name} holds texts with entities, but the task's kind is {spec.row_type}"
        )
