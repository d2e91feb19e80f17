"""CoNLL columns: a token per line, an empty line between sentences, the tag in a column.

A row is a sentence, its tokens joined by spaces. `-DOCSTART-` lines separate documents, so that
no document is divided between splits; without them every sentence is its own document.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from harness.data.parsing import check_label, read_text, require_entity_rows, with_location
from harness.data.rows import FORMATS, Options, Row, RowSpec
from harness.data.tagging import Scheme, TagError, detect_scheme, parse_tags, sentence_to_text
from harness.errors import UserError

_DOCUMENT: Final = "-DOCSTART-"


class ConllOptions(Options):
    """How CoNLL files are read.

    Attributes:
        token_column: the column of the tokens, from 0.
        tag_column: the column of the tags; -1 is the last.
        scheme: of the tags; `auto` detects it.
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

    def read(self, path: Path, spec: RowSpec) -> tuple[Row, ...]:
        """All sentences of a file, checked; see `Format.read`."""
        require_entity_rows(path, spec, "CoNLL")
        options = spec.options if isinstance(spec.options, ConllOptions) else ConllOptions()
        sentences = list(_read_sentences(path, options))
        scheme = _sentence_scheme(path, sentences, options)
        rows = []
        for number, sentence in enumerate(sentences, start=1):
            text, spans = _parse_sentence(path, sentence, scheme)
            for span in spans:
                with with_location(f"{path}:{sentence.line + text.count(' ', 0, span.start)}"):
                    check_label(span.label, spec.labels, "the tag")
            prefix = f"{path.stem}{sentence.document}-" if sentence.document else path.stem
            entities = spans if spec.row_type == "entities" else ()
            rows.append(Row(f"{prefix}{number}", text, entities))
        if not rows:
            raise UserError(f"{path}: no sentence; give a token and its tag on each line")
        return tuple(rows)

    def survey(self, path: Path) -> dict[str, Any]:
        """Counts sentences, tokens, tag prefixes and entities by label; detects the scheme."""
        options = ConllOptions()
        sentences = list(_read_sentences(path, options))
        scheme = _sentence_scheme(path, sentences, options)
        spans = [span for s in sentences for span in _parse_sentence(path, s, scheme)[1]]
        tags = [tag for sentence in sentences for tag in sentence.tags]
        first = next((line for line in read_text(path).split("\n") if line.strip()), "")
        return {
            "sentences": len(sentences),
            "tokens": len(tags),
            "columns": len(_columns(first.rstrip("\r"))),
            "tag_prefixes": dict(sorted(Counter(tag.partition("-")[0] for tag in tags).items())),
            "entities": dict(sorted(Counter(span.label for span in spans).items())),
            "scheme": scheme,
        }


def _columns(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else line.split()


def _read_sentences(path: Path, options: ConllOptions) -> Iterator[_Sentence]:
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
                f"{path}:{number}: {len(cells)} columns, but the earlier lines have {width}"
            )
        last = max(options.token_column, options.tag_column)
        if width < 2 or last >= width:
            raise UserError(
                f"{path}:{number}: {width} column{'s' if width > 1 else ''}; a token and its tag "
                "separated by a tab or spaces are needed"
            )
        begins = begins if tokens else number
        tokens.append(cells[options.token_column])
        tags.append(cells[options.tag_column])
    if tokens:
        yield _Sentence(begins, document, tokens, tags)


def _sentence_scheme(path: Path, sentences: list[_Sentence], options: ConllOptions) -> Scheme:
    parsed = []
    for sentence in sentences:
        try:
            parsed.append(parse_tags(sentence.tags))
        except TagError as fault:
            raise UserError(f"{path}:{sentence.line + fault.index}: {fault.reason}") from fault
    return detect_scheme(parsed) if options.scheme == "auto" else options.scheme


def _parse_sentence(path: Path, sentence: _Sentence, scheme: Scheme) -> Any:
    try:
        return sentence_to_text(sentence.tokens, sentence.tags, scheme)
    except TagError as fault:
        raise UserError(f"{path}:{sentence.line + fault.index}: {fault.reason}") from fault


CONLL = FORMATS.add("conll", Conll())
