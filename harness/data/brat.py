"""BRAT: a folder with a `.txt` for each document and an `.ann` beside it.

T lines are entities; relations, events, attributes, equivalences and notes (R, E, A, M, N, *, #)
are passed over. What becomes of entities in several pieces and of those inside others is said by
`BratOptions`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from harness.data.parsing import at, check_label, only_entities, read_text
from harness.data.rows import FORMATS, Options, Row, RowSpec, Span
from harness.errors import UserError

#: First letters of the lines that BRAT knows beside T.
_OTHERS: Final = frozenset("REAMN*#")
_ENTITY: Final = re.compile(r"(\S+) (\d+ \d+(?:;\d+ \d+)*)$")


class BratOptions(Options):
    """What a row is, and what becomes of entities that a list of spans cannot hold as they are.

    Attributes:
        passages: `document`: a row each; `line`: a row for each line of it that is not blank.
        discontinuous: an entity in several pieces: `cover` takes all from its first character to
            its last, `pieces` makes each piece an entity, `drop` leaves it out.
        nested: entities that overlap: `keep` keeps all, `outermost` those that lie in no longer
            one, `innermost` those that hold no shorter one.
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

    def read(self, path: Path, wanted: RowSpec) -> tuple[Row, ...]:
        """All documents of a folder, checked; see `Format.read`."""
        only_entities(path, wanted, "BRAT")
        options = wanted.options if isinstance(wanted.options, BratOptions) else BratOptions()
        rows: list[Row] = []
        for text_file in _texts(path):
            text, notes = read_text(text_file), text_file.with_suffix(".ann")
            if not text.strip():
                raise UserError(f"{text_file}: empty; leave the document out or give it a text")
            found: list[Span] = []
            for entity in _entities(notes, text, Counter()):
                with at(f"{notes}:{entity.line}"):
                    check_label(entity.label, wanted.labels, "the entity")
                found += _spans(entity, text, options)
            kept = _not_nested(sorted(set(found)), options) if wanted.kind == "entities" else []
            if options.passages == "document":
                rows.append(Row(text_file.stem, text, tuple(kept)))
            else:
                rows += _by_line(text_file, text, kept)
        return tuple(rows)

    def survey(self, path: Path) -> dict[str, Any]:
        """Documents, lines by first letter, entities by label, and those in several pieces."""
        lines: Counter[str] = Counter()
        labels: Counter[str] = Counter()
        texts, split = _texts(path), 0
        for text_file in texts:
            text = read_text(text_file)
            for entity in _entities(text_file.with_suffix(".ann"), text, lines):
                labels[entity.label] += 1
                split += len(entity.pieces) > 1
        return {
            "docs": len(texts),
            "line_kinds": dict(sorted(lines.items())),
            "discontinuous": split,
            "T_labels": dict(sorted(labels.items())),
        }


def _by_line(path: Path, text: str, spans: list[Span]) -> Iterator[Row]:
    """A row a line, called by the document and the line's number; offsets count from its start."""
    start = 0
    for number, line in enumerate(text.split("\n"), start=1):
        end = start + len(line)
        mine = [span for span in spans if start <= span.start < end]
        for span in mine:
            if span.end > end:
                told = " ".join(span.text.split())[:40]
                raise UserError(
                    f"{path}:{number}: {span.label} '{told}' goes over the end of the line; "
                    "data.options: {passages: document} in task.yaml keeps documents whole"
                )
        moved = tuple(Span(s.start - start, s.end - start, s.label, s.text) for s in mine)
        if line.strip():
            yield Row(f"{path.stem}-{number}", line.rstrip("\r"), moved)
        start = end + 1


def _texts(path: Path) -> list[Path]:
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; it should hold .txt and .ann files")
    texts = sorted(path.glob("*.txt"))
    notes = {one.stem for one in path.glob("*.ann")}
    for one in texts:
        if one.stem not in notes:
            raise UserError(f"{one.with_suffix('.ann')}: no such file, but {one.name} is there")
    alone = sorted(notes - {one.stem for one in texts})
    if alone:
        raise UserError(f"{path / alone[0]}.txt: no such file, but {alone[0]}.ann is there")
    if not texts:
        raise UserError(f"{path}: no .txt file; every document is a .txt with an .ann beside it")
    return texts


def _entities(path: Path, text: str, kinds: Counter[str]) -> Iterator[_Entity]:
    """T lines of a file, checked against the text; counts all lines by first letter."""
    names: dict[str, int] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.rstrip("\r")
        if not line.strip():
            continue
        kinds[line[0]] += 1
        if line[0] in _OTHERS:
            continue
        cells = line.split("\t")
        match = _ENTITY.match(cells[1]) if len(cells) == 3 else None
        if line[0] != "T" or match is None:
            raise UserError(
                f"{path}:{number}: '{line[:60]}' is no line of BRAT; "
                "'T1<tab>LABEL START END<tab>TEXT' is right"
            )
        if cells[0] in names:
            raise UserError(
                f"{path}:{number}: {cells[0]} already stands in line {names[cells[0]]}"
            )
        names[cells[0]] = number
        ends = [piece.split() for piece in match[2].split(";")]
        pieces = tuple((int(start), int(end)) for start, end in ends)
        yield _checked(path, _Entity(number, match[1], pieces), text, cells[2])


def _checked(path: Path, entity: _Entity, text: str, given: str) -> _Entity:
    for start, end in entity.pieces:
        if not 0 <= start < end <= len(text):
            raise UserError(
                f"{path}:{entity.line}: offsets {start}..{end} do not lie in the text of "
                f"{len(text)} characters; 0 <= start < end <= length is right"
            )
    inside = " ".join(text[start:end] for start, end in entity.pieces)
    # BRAT writes a blank for a line end inside an entity.
    if inside.split() != given.split():
        raise UserError(
            f"{path}:{entity.line}: the text is '{given[:60]}', but at its offsets stands "
            f"'{inside[:60]}'; offsets count characters from 0, the end is exclusive"
        )
    return entity


def _spans(entity: _Entity, text: str, options: BratOptions) -> list[Span]:
    pieces = entity.pieces
    if len(pieces) > 1 and options.discontinuous == "drop":
        return []
    if options.discontinuous == "cover":
        pieces = ((min(start for start, _ in pieces), max(end for _, end in pieces)),)
    return [Span(start, end, entity.label, text[start:end]) for start, end in pieces]


def _not_nested(spans: list[Span], options: BratOptions) -> list[Span]:
    """By length, the longest (`outermost`) or shortest first, what overlaps none taken before."""
    if options.nested == "keep":
        return spans
    sign = -1 if options.nested == "outermost" else 1
    taken: list[Span] = []
    for span in sorted(spans, key=lambda one: (sign * (one.end - one.start), one.start)):
        if all(span.end <= other.start or other.end <= span.start for other in taken):
            taken.append(span)
    return sorted(taken)


BRAT = FORMATS.add("brat", Brat())
