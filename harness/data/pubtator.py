"""PubTator: `id|t|title`, `id|a|abstract`, then one tab-separated line for each mention.

A text is title, one blank, abstract, as the offsets count it. Lines of relations are passed over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.parsing import at, only_entities, read_text, span_at
from harness.data.rows import FORMATS, Options, Row, RowSpec, Span
from harness.errors import UserError


@dataclass
class _Document:
    id: str
    line: int
    title: str | None = None
    abstract: str | None = None
    mentions: list[tuple[int, list[str]]] = field(default_factory=list)

    @property
    def text(self) -> str:
        parts = [part for part in (self.title, self.abstract) if part is not None]
        return " ".join(parts)


class Pubtator:
    """The format `pubtator`."""

    name = "pubtator"
    suffixes = (".txt", ".pubtator")
    options = Options

    def read(self, path: Path, wanted: RowSpec) -> tuple[Row, ...]:
        """All documents of a file, checked; see `Format.read`."""
        only_entities(path, wanted, "PubTator")
        rows = []
        for one in _documents(path):
            spans = [_span(path, one, mention, wanted) for mention in one.mentions]
            spans.sort(key=lambda span: (span.start, span.end))
            kept = tuple(spans) if wanted.kind == "entities" else ()
            rows.append(Row(one.id, one.text, kept))
        if not rows:
            raise UserError(f"{path}: no document; 'id|t|title' begins one")
        return tuple(rows)

    def survey(self, path: Path) -> dict[str, Any]:
        """Documents, and mentions by label."""
        found = _documents(path)
        labels = Counter(cells[4] for one in found for _, cells in one.mentions)
        return {"docs": len(found), "mentions": dict(labels)}


def _documents(path: Path) -> list[_Document]:
    found: dict[str, _Document] = {}
    now: _Document | None = None
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.rstrip("\r")
        if not line.strip():
            now = None
            continue
        head = line.split("|", 2)
        if len(head) == 3 and head[1] in {"t", "a"} and "\t" not in head[0]:
            now = _part(path, number, head, found, now)
            continue
        cells = line.split("\t")
        if now is None or cells[0] != now.id:
            told = f"of '{now.id}'" if now else "of no document"
            raise UserError(
                f"{path}:{number}: a line of '{cells[0][:40]}' among those {told}; "
                "'id|t|title' begins a document"
            )
        if len(cells) in {5, 6} or (len(cells) > 6 and cells[1].isdigit()):
            now.mentions.append((number, cells))
        elif len(cells) != 4:  # id, type, first, second: a relation
            raise UserError(
                f"{path}:{number}: {len(cells)} columns; id, start, end, text and label with tabs "
                "between them are right"
            )
    for one in found.values():
        if one.title is None:
            raise UserError(f"{path}:{one.line}: document '{one.id}' has no title (id|t|...)")
    return list(found.values())


def _part(
    path: Path, number: int, head: list[str], found: dict[str, _Document], now: _Document | None
) -> _Document:
    identity, kind, text = head
    if now is None or now.id != identity:
        if identity in found:
            raise UserError(
                f"{path}:{number}: document '{identity}' already stands in line "
                f"{found[identity].line}; every document needs an id of its own"
            )
        now = found[identity] = _Document(identity, number)
    name = "title" if kind == "t" else "abstract"
    if getattr(now, name) is not None:
        raise UserError(f"{path}:{number}: document '{identity}' has a second {name}")
    setattr(now, name, text)
    return now


def _span(path: Path, one: _Document, mention: tuple[int, list[str]], wanted: RowSpec) -> Span:
    number, (_, first, behind, text, label, *_) = mention
    if not (first.isdigit() and behind.isdigit()):
        raise UserError(f"{path}:{number}: offsets '{first}' and '{behind}' are no whole numbers")
    with at(f"{path}:{number}"):
        return span_at(
            one.text, int(first), int(behind), label, text, wanted.labels, f"'{text[:40]}'"
        )


PUBTATOR = FORMATS.add("pubtator", Pubtator())
