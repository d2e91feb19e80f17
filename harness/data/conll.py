"""CoNLL columns: a token a line, an empty line between sentences, the tag in a column.

Texts are the tokens joined by blanks. `-DOCSTART-` lines begin a document, so that no document
falls into two splits; without them every sentence is one of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from harness.data.parsing import at, check_label, only_entities, read_text
from harness.data.rows import FORMATS, Options, Row, RowSpec
from harness.data.tagging import Scheme, TagError, parse, scheme_of, sentence_to_text
from harness.errors import UserError

_DOCUMENT: Final = "-DOCSTART-"


class ConllOptions(Options):
    """What may be said of CoNLL files.

    Attributes:
        token_column: the column of the tokens, from 0.
        tag_column: the column of the tags; -1 is the last.
        scheme: of the tags; `auto`: as the file shows.
    """

    token_column: int = 0
    tag_column: int = -1
    scheme: Literal["auto", "iob1", "iob2", "iobes"] = "auto"


class _Sentence(NamedTuple):
    line: int  # of the first token
    document: int
    tokens: list[str]
    tags: list[str]


class Conll:
    """The format `conll`."""

    name = "conll"
    suffixes = (".conll", ".tsv", ".txt", ".iob", ".bio")
    options = ConllOptions

    def read(self, path: Path, wanted: RowSpec) -> tuple[Row, ...]:
        """All sentences of a file, checked; see `Format.read`."""
        only_entities(path, wanted, "CoNLL")
        options = _options(wanted)
        found = list(_sentences(path, options))
        scheme = _scheme(path, found, options)
        rows = []
        for number, one in enumerate(found, start=1):
            text, spans = _read(path, one, scheme)
            for span in spans:
                with at(f"{path}:{one.line + text.count(' ', 0, span.start)}"):
                    check_label(span.label, wanted.labels, "the tag")
            head = f"{path.stem}{one.document}-" if one.document else path.stem
            kept = spans if wanted.kind == "entities" else ()
            rows.append(Row(f"{head}{number}", text, kept))
        if not rows:
            raise UserError(f"{path}: no sentence; a token a line with its tag is right")
        return tuple(rows)

    def survey(self, path: Path) -> dict[str, Any]:
        """Sentences, tokens, columns, letters of the tags, entities by label and the scheme."""
        options = ConllOptions()
        found = list(_sentences(path, options))
        scheme = _scheme(path, found, options)
        spans = [span for one in found for span in _read(path, one, scheme)[1]]
        tags = [tag for one in found for tag in one.tags]
        first = next((line for line in read_text(path).split("\n") if line.strip()), "")
        return {
            "sentences": len(found),
            "tokens": len(tags),
            "columns": len(_columns(first.rstrip("\r"))),
            "tag_prefixes": dict(sorted(Counter(tag.partition("-")[0] for tag in tags).items())),
            "entities": dict(sorted(Counter(span.label for span in spans).items())),
            "scheme": scheme,
        }


def _options(wanted: RowSpec) -> ConllOptions:
    return wanted.options if isinstance(wanted.options, ConllOptions) else ConllOptions()


def _columns(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else line.split()


def _sentences(path: Path, options: ConllOptions) -> Iterator[_Sentence]:
    tokens: list[str] = []
    tags: list[str] = []
    document = begins = width = 0
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        cells = _columns(line.rstrip("\r"))
        if not line.strip() or cells[0] == _DOCUMENT:
            if tokens:
                yield _Sentence(begins, document, tokens, tags)
            tokens, tags = [], []
            document += bool(line.strip())
            continue
        width = width or len(cells)
        if len(cells) != width:
            raise UserError(
                f"{path}:{number}: {len(cells)} columns, the lines before have {width}"
            )
        last = max(options.token_column, options.tag_column)
        if width < 2 or last >= width:
            raise UserError(
                f"{path}:{number}: {width} column{'s' if width > 1 else ''}; a token and its tag "
                "with a tab or blanks between them are right"
            )
        begins = begins if tokens else number
        tokens.append(cells[options.token_column])
        tags.append(cells[options.tag_column])
    if tokens:
        yield _Sentence(begins, document, tokens, tags)


def _scheme(path: Path, found: list[_Sentence], options: ConllOptions) -> Scheme:
    parsed = []
    for one in found:
        try:
            parsed.append(parse(one.tags))
        except TagError as fault:
            raise UserError(f"{path}:{one.line + fault.place}: {fault.told}") from fault
    return scheme_of(parsed) if options.scheme == "auto" else options.scheme


def _read(path: Path, one: _Sentence, scheme: Scheme) -> Any:
    try:
        return sentence_to_text(one.tokens, one.tags, scheme)
    except TagError as fault:
        raise UserError(f"{path}:{one.line + fault.place}: {fault.told}") from fault


CONLL = FORMATS.add("conll", Conll())
