"""PubTator: `id|t|title`, `id|a|abstract`, then one tab-separated line for each mention.

A row's text is title, one space, abstract, as the offsets count it. Relations are ignored.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.parsing import read_text, require_entity_rows, span_at, with_location
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
        return " ".join(part for part in (self.title, self.abstract) if part is not None)


class Pubtator:
    """The format `pubtator`."""

    name = "pubtator"
    suffixes = (".txt", ".pubtator")
    options = Options

    def read(self, path: Path, spec: RowSpec) -> tuple[Row, ...]:
        """All documents of a file, checked; see `Format.read`."""
        require_entity_rows(path, spec, "PubTator")
        rows = []
        for document in _read_documents(path):
            spans = [_mention_span(path, document, mention, spec) for mention in document.mentions]
            spans.sort(key=lambda span: (span.start, span.end))
            entities = tuple(spans) if spec.row_type == "entities" else ()
            rows.append(Row(document.id, document.text, entities))
        if not rows:
            raise UserError(f"{path}: no document; a line 'id|t|title' begins one")
        return tuple(rows)

    def survey(self, path: Path) -> dict[str, Any]:
        """Counts documents, and mentions by label."""
        documents = _read_documents(path)
        labels = Counter(cells[4] for document in documents for _, cells in document.mentions)
        return {"docs": len(documents), "mentions": dict(labels)}


def _read_documents(path: Path) -> list[_Document]:
    documents: dict[str, _Document] = {}
    current: _Document | None = None
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.rstrip("\r")
        if not line.strip():
            current = None
            continue
        head = line.split("|", 2)
        if len(head) == 3 and head[1] in {"t", "a"} and "\t" not in head[0]:
            current = _add_text(path, number, head, documents, current)
            continue
        cells = line.split("\t")
        if current is None or cells[0] != current.id:
            expected = f"of '{current.id}'" if current else "of no document"
            raise UserError(
                f"{path}:{number}: a line of '{cells[0][:40]}' among those {expected}; "
                "'id|t|title' begins a document"
            )
        if len(cells) in {5, 6} or (len(cells) > 6 and cells[1].isdigit()):
            current.mentions.append((number, cells))
        elif len(cells) != 4:  # id, type, first, second: a relation
            raise UserError(
                f"{path}:{number}: {len(cells)} columns; id, start, end, text and label, "
                "separated by tabs, are needed"
            )
    for document in documents.values():
        if document.title is None:
            raise UserError(
                f"{path}:{document.line}: document '{document.id}' has no title (id|t|...)"
            )
    return list(documents.values())


def _add_text(
    path: Path,
    number: int,
    head: list[str],
    documents: dict[str, _Document],
    document: _Document | None,
) -> _Document:
    identity, part, text = head
    if document is None or document.id != identity:
        if identity in documents:
            raise UserError(
                f"{path}:{number}: document '{identity}' already begins in line "
                f"{documents[identity].line}; every document needs a unique id"
            )
        document = documents[identity] = _Document(identity, number)
    name = "title" if part == "t" else "abstract"
    if getattr(document, name) is not None:
        raise UserError(f"{path}:{number}: document '{identity}' has a second {name}")
    setattr(document, name, text)
    return document


def _mention_span(
    path: Path, document: _Document, mention: tuple[int, list[str]], spec: RowSpec
) -> Span:
    number, (_, first, last, text, label, *_) = mention
    if not (first.isdigit() and last.isdigit()):
        raise UserError(f"{path}:{number}: offsets '{first}' and '{last}' are not whole numbers")
    start, end, name = int(first), int(last), f"'{text[:40]}'"
    with with_location(f"{path}:{number}"):
        return span_at(document.text, start, end, label, text, spec.labels, name)


PUBTATOR = FORMATS.add("pubtator", Pubtator())
