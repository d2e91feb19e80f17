"""BRAT: a folder with a `.txt` for each document and an `.ann` with the same stem.

T lines are entities; relations, events, attributes, equivalences and notes (R, E, A, M, N, *, #)
are ignored. `BratOptions` says how discontinuous and nested entities are read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from harness.data.parsing import check_label, read_text, require_entity_rows, with_location
from harness.data.rows import FORMATS, Options, Row, RowSpec, Span
from harness.data.tagging import non_overlapping
from harness.errors import UserError

#: First characters of the annotation lines other than T (text-bound entities).
_IGNORED_LINES: Final = frozenset("REAMN*#")
_ENTITY: Final = re.compile(r"(\S+) (\d+ \d+(?:;\d+ \d+)*)$")


class BratOptions(Options):
    """What a row is, and how entities are read that flat, contiguous spans cannot express.

    Attributes:
        passages: `document`: a row for each document; `line`: a row for each non-blank line.
        discontinuous: an entity in several pieces: `cover` spans from its first character to its
            last, `pieces` makes each piece an entity, `drop` ignores it.
        nested: entities that overlap: `keep` keeps all, `outermost` only the longest, `innermost`
            only the shortest.
    """

    passages: Literal["document", "line"] = "document"
    discontinuous: Literal["cover", "pieces", "drop"] = "cover"
    nested: Literal["keep", "outermost", "innermost"] = "keep"


class _Entity(NamedTuple):
    line: int
    label: str
    pieces: tuple[tuple[int, int], ...]


class Brat:
    """The format `brat`."""

    name = "brat"
    suffixes: tuple[str, ...] = ()
    options = BratOptions

    def read(self, path: Path, spec: RowSpec) -> tuple[Row, ...]:
        """All documents of a folder, checked; see `Format.read`."""
        require_entity_rows(path, spec, "BRAT")
        options = spec.options if isinstance(spec.options, BratOptions) else BratOptions()
        rows: list[Row] = []
        for text_file in _text_files(path):
            text, notes = read_text(text_file), text_file.with_suffix(".ann")
            if not text.strip():
                raise UserError(f"{text_file}: empty; remove the document or give it a text")
            spans: list[Span] = []
            for entity in _read_entities(notes, text, Counter()):
                with with_location(f"{notes}:{entity.line}"):
                    check_label(entity.label, spec.labels, "the entity")
                spans += _entity_spans(entity, text, options)
            spans = sorted(set(spans)) if spec.row_type == "entities" else []
            if options.nested != "keep":
                spans = list(non_overlapping(spans, options.nested == "outermost").entities)
            if options.passages == "document":
                rows.append(Row(text_file.stem, text, tuple(spans)))
            else:
                rows += _line_rows(text_file, text, spans)
        return tuple(rows)

    def survey(self, path: Path) -> dict[str, Any]:
        """Counts documents, lines by first letter, entities by label, discontinuous entities."""
        lines: Counter[str] = Counter()
        labels: Counter[str] = Counter()
        texts, discontinuous = _text_files(path), 0
        for text_file in texts:
            notes = text_file.with_suffix(".ann")
            for entity in _read_entities(notes, read_text(text_file), lines):
                labels[entity.label] += 1
                discontinuous += len(entity.pieces) > 1
        return {
            "docs": len(texts),
            "line_kinds": dict(sorted(lines.items())),
            "discontinuous": discontinuous,
            "T_labels": dict(sorted(labels.items())),
        }


def _line_rows(path: Path, text: str, spans: list[Span]) -> Iterator[Row]:
    """A row for each line, with the id `document-line`; offsets count from the line's start."""
    start = 0
    for number, line in enumerate(text.split("\n"), start=1):
        end = start + len(line)
        inside = [span for span in spans if start <= span.start < end]
        for span in inside:
            if span.end > end:
                surface = " ".join(span.text.split())[:40]
                raise UserError(
                    f"{path}:{number}: {span.label} '{surface}' crosses the end of the line; "
                    "data.options: {passages: document} in task.yaml keeps documents whole"
                )
        shifted = tuple(Span(s.start - start, s.end - start, s.label, s.text) for s in inside)
        if line.strip():
            yield Row(f"{path.stem}-{number}", line.rstrip("\r"), shifted)
        start = end + 1


def _text_files(path: Path) -> list[Path]:
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; it should hold .txt and .ann files")
    texts = sorted(path.glob("*.txt"))
    annotated = {file.stem for file in path.glob("*.ann")}
    for file in texts:
        if file.stem not in annotated:
            raise UserError(f"{file.with_suffix('.ann')}: no such file, but {file.name} exists")
    unmatched = sorted(annotated - {file.stem for file in texts})
    if unmatched:
        raise UserError(f"{path / unmatched[0]}.txt: no such file, but {unmatched[0]}.ann exists")
    if not texts:
        raise UserError(
            f"{path}: no .txt file; every document is a .txt and an .ann with the same stem"
        )
    return texts


def _read_entities(path: Path, text: str, line_counts: Counter[str]) -> Iterator[_Entity]:
    """T lines of a file, checked against the text; adds to the counts of lines by first letter."""
    lines_by_id: dict[str, int] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.rstrip("\r")
        if not line.strip():
            continue
        line_counts[line[0]] += 1
        if line[0] in _IGNORED_LINES:
            continue
        cells = line.split("\t")
        match = _ENTITY.match(cells[1]) if len(cells) == 3 else None
        if line[0] != "T" or match is None:
            raise UserError(
                f"{path}:{number}: '{line[:60]}' is not a BRAT annotation; "
                "'T1<tab>LABEL START END<tab>TEXT' is right"
            )
        if cells[0] in lines_by_id:
            raise UserError(
                f"{path}:{number}: {cells[0]} is already used in line {lines_by_id[cells[0]]}"
            )
        lines_by_id[cells[0]] = number
        offsets = [piece.split() for piece in match[2].split(";")]
        pieces = tuple((int(start), int(end)) for start, end in offsets)
        _check_offsets(f"{path}:{number}", pieces, text, cells[2])
        yield _Entity(number, match[1], pieces)


def _check_offsets(
    location: str, pieces: Iterable[tuple[int, int]], text: str, stated: str
) -> None:
    for start, end in pieces:
        if not 0 <= start < end <= len(text):
            raise UserError(
                f"{location}: offsets {start}..{end} are outside the text of {len(text)} "
                "characters; 0 <= start < end <= length is right"
            )
    at_offsets = " ".join(text[start:end] for start, end in pieces)
    # BRAT replaces a line end inside an entity by a space.
    if at_offsets.split() != stated.split():
        raise UserError(
            f"{location}: the text is '{stated[:60]}', but at its offsets stands "
            f"'{at_offsets[:60]}'; offsets count characters from 0, the end is exclusive"
        )


def _entity_spans(entity: _Entity, text: str, options: BratOptions) -> list[Span]:
    pieces = entity.pieces
    if len(pieces) > 1 and options.discontinuous == "drop":
        return []
    if options.discontinuous == "cover":
        pieces = ((min(pieces)[0], max(end for _, end in pieces)),)
    return [Span(start, end, entity.label, text[start:end]) for start, end in pieces]


BRAT = FORMATS.add("brat", Brat())
