"""JSON lines: one row a line, UTF-8. Names every fault with its line and says what would be right.

Rows are `{"id", "text", "entities": [{"start", "end", "label", "text"}]}`, or
`{"id", "input", "output"}`, or `{"id", "text"}`; other keys are ignored. A row without an id is
called by the file and its line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from harness.errors import UserError, did_you_mean
from harness.formats.format import FORMATS, Row, Span

#: Characters that no label may have, since written entities are told apart by them.
_RESERVED: Final = frozenset(":;|\\\n\r")


class JsonLines:
    """The format `jsonl`."""

    name = "jsonl"
    suffix = ".jsonl"

    def read(self, path: Path, kind: str, labels: Sequence[str] | None) -> tuple[Row, ...]:
        """All rows of a file, checked; see `Format.read`."""
        try:
            content = path.read_bytes()
        except OSError as fault:
            raise UserError(f"{path}: cannot be read ({fault.strerror})") from fault
        rows: list[Row] = []
        lines: dict[str, int] = {}
        for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                row = _row(_decode(line), kind, labels, f"{path.stem}{number}")
            except _RowError as fault:
                raise UserError(f"{path}:{number}: {fault}") from fault
            if row.id in lines:
                raise UserError(
                    f"{path}:{number}: id '{row.id}' already stands in line {lines[row.id]}; "
                    "every row needs an id of its own"
                )
            lines[row.id] = number
            rows.append(row)
        if not rows:
            raise UserError(f"{path}: no rows; give one JSON object a line")
        return tuple(rows)


class _RowError(Exception):
    """What is wrong with a line; the reader puts file and line before it."""


def _decode(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as fault:
        raise _RowError(f"byte {fault.start + 1} is not UTF-8; save the file as UTF-8") from fault
    except json.JSONDecodeError as fault:
        raise _RowError(
            f"not JSON: {fault.msg} at character {fault.colno}; give one JSON object a line"
        ) from fault
    if not isinstance(value, dict):
        raise _RowError(f"a JSON {type(value).__name__} where an object {{...}} should stand")
    return value


def _row(value: dict[str, Any], kind: str, labels: Sequence[str] | None, default: str) -> Row:
    identity = value.get("id", default)
    if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
        raise _RowError(f"'id' is {_shown(identity)}; give a text that is not empty")
    if kind == "pairs":
        return Row(str(identity), _text(value, "input"), output=_text(value, "output"))
    text = _text(value, "text")
    entities = _entities(value, text, labels) if kind == "entities" else ()
    return Row(str(identity), text, entities)


def _text(value: dict[str, Any], key: str) -> str:
    if key not in value:
        raise _RowError(f"no '{key}'; the row has: {', '.join(value) or 'nothing'}")
    text = value[key]
    if not isinstance(text, str):
        raise _RowError(f"'{key}' is {_shown(text)}; it should be a text")
    if not text.strip():
        raise _RowError(f"'{key}' is empty; leave the row out or give it a text")
    return text


def _entities(value: dict[str, Any], text: str, labels: Sequence[str] | None) -> tuple[Span, ...]:
    if "entities" not in value:
        raise _RowError("no 'entities'; a text without any has \"entities\": []")
    entities = value["entities"]
    if not isinstance(entities, list):
        raise _RowError(f"'entities' is {_shown(entities)}; it should be a list")
    spans = [_span(item, text, labels, f"entities[{k}]") for k, item in enumerate(entities)]
    return tuple(sorted(spans, key=lambda span: (span.start, span.end)))


def _span(item: Any, text: str, labels: Sequence[str] | None, where: str) -> Span:
    if not isinstance(item, dict):
        raise _RowError(
            f"{where} is {_shown(item)}; it should be an object with start, end, label"
        )
    start, end = _offset(item, "start", where), _offset(item, "end", where)
    if not 0 <= start < end <= len(text):
        raise _RowError(
            f"{where}: offsets {start}..{end} do not lie in the text of {len(text)} characters; "
            "0 <= start < end <= length is right"
        )
    inside = text[start:end]
    given = item.get("text", inside)
    if given != inside:
        raise _RowError(
            f"{where}: 'text' is {_shown(given)}, but text[{start}:{end}] is {_shown(inside)}; "
            "offsets count characters from 0, the end is exclusive"
        )
    if not inside.strip():
        raise _RowError(f"{where}: text[{start}:{end}] is blank; an entity has visible characters")
    return Span(start, end, _label(item, labels, where), inside)


def _offset(item: dict[str, Any], key: str, where: str) -> int:
    value = item.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _RowError(f"{where}.{key} is {_shown(value)}; it should be a whole number")
    return value


def _label(item: dict[str, Any], labels: Sequence[str] | None, where: str) -> str:
    label = item.get("label")
    if not isinstance(label, str) or not label.strip() or label != label.strip():
        raise _RowError(f"{where}.label is {_shown(label)}; it should be a name such as CONDITION")
    if _RESERVED & set(label):
        raise _RowError(
            f"{where}.label is {_shown(label)}; a label has no : ; | \\ and no line end"
        )
    if labels is not None and label not in labels:
        raise _RowError(f"{where}: unknown label '{label}'; {did_you_mean(label, labels)}")
    return label


def _shown(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 60 else shown[:57] + "..."


JSONL = FORMATS.add("jsonl", JsonLines())
