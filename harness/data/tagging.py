"""Tag schemes (IOB1, IOB2, IOBES, BILOU) to entity spans and back.

Tags of data files are read strictly: a tag that its scheme does not allow raises `TagError`.
Tags that a model predicts are read leniently, as conlleval does (`tags_to_spans`). For training,
`spans_to_tags` writes BIO: `B-LABEL` for the first token of an entity, `I-LABEL` for its further
ones, `O` for all others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from harness.data.rows import Span

Scheme = Literal["iob1", "iob2", "iobes"]

#: Prefixes of BILOU and BMEWO by what IOBES calls them.
_BILOU: Final = {"L": "E", "U": "S", "M": "I"}
_PREFIXES: Final = frozenset("BIES")


class TagError(Exception):
    """A tag that its scheme does not allow at its position: index of the token, and reason."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"token {index + 1}: {reason}")
        self.index = index
        self.reason = reason


class Tag(NamedTuple):
    """One tag, split into its prefix (`B`, `I`, `E`, `S` or `O`) and label (empty for `O`)."""

    prefix: str
    label: str


def parse_tags(tags: Sequence[str]) -> list[Tag]:
    """Splits tags into prefix and label; BILOU's L and U become E and S.

    Raises:
        TagError: one is not a tag.
    """
    parsed = []
    for index, tag in enumerate(tags):
        prefix, mark, label = tag.partition("-")
        prefix = _BILOU.get(prefix, prefix)
        if tag == "O":
            parsed.append(Tag("O", ""))
        elif mark and label and prefix in _PREFIXES:
            parsed.append(Tag(prefix, label))
        else:
            reason = f"'{tag}' is not a tag; O, B-LABEL, I-LABEL, E- or S-LABEL is right"
            raise TagError(index, reason)
    return parsed


def detect_scheme(sentences: Iterable[Sequence[Tag]]) -> Scheme:
    """The scheme that these sentences follow.

    Only IOBES has E and S. Of the others, IOB1 begins an entity with I unless it directly follows
    one of the same label; IOB2 always begins with B.
    """
    begins_with_i = False
    for tags in sentences:
        previous = Tag("O", "")
        for tag in tags:
            if tag.prefix in "ES":
                return "iobes"
            begins_with_i |= tag.prefix == "I" and previous.label != tag.label
            previous = tag
    return "iob1" if begins_with_i else "iob2"


def entity_ranges(tags: Sequence[Tag], scheme: Scheme) -> list[tuple[int, int, str]]:
    """Entities as (first token, token after the last, label).

    Raises:
        TagError: the scheme does not allow a tag at its position.
    """
    ranges: list[tuple[int, int, str]] = []
    start: int | None = None
    for index, tag in enumerate(tags):
        previous = tags[index - 1] if index else Tag("O", "")
        follows = start is not None and previous.label == tag.label
        _check_tag(index, tag, previous, follows, scheme, open_=start is not None)
        continues = tag.prefix in "IE" and follows
        if start is not None and not continues:
            ranges.append((start, index, previous.label))
            start = None
        if tag.prefix in "BS" or (tag.prefix == "I" and not continues):
            start = index
        if tag.prefix in "ES" and start is not None:
            ranges.append((start, index + 1, tag.label))
            start = None
    if start is not None:
        label = tags[-1].label
        if scheme == "iobes":
            reason = f"the sentence ends inside {label}; E-{label} is right"
            raise TagError(len(tags) - 1, reason)
        ranges.append((start, len(tags), label))
    return ranges


def _check_tag(
    index: int, tag: Tag, previous: Tag, follows: bool, scheme: Scheme, *, open_: bool
) -> None:
    written = tag.prefix if tag.prefix == "O" else f"{tag.prefix}-{tag.label}"
    after = "O" if previous.prefix == "O" else f"{previous.prefix}-{previous.label}"
    reason = ""
    if scheme == "iobes":
        if open_ and not (tag.prefix in "IE" and follows):
            reason = f"after '{after}'; I- or E-{previous.label} is right"
        elif tag.prefix in "IE" and not open_:
            reason = f"begins an entity; B- or S-{tag.label} is right"
    elif tag.prefix in "ES":
        reason = f"is a tag of IOBES, but the scheme is {scheme.upper()}"
    elif scheme == "iob2" and tag.prefix == "I" and not follows:
        reason = f"after '{after}' begins an entity; B- is right in IOB2"
    elif scheme == "iob1" and tag.prefix == "B" and not follows:
        reason = (
            f"after '{after}', but IOB1 has B- only after an entity of the same "
            "label, and another entity of the file begins with I-"
        )
    if reason:
        raise TagError(index, f"'{written}' {reason}")


def sentence_to_text(
    tokens: Sequence[str], tags: Sequence[str], scheme: Scheme | None = None
) -> tuple[str, tuple[Span, ...]]:
    """Tokens of a sentence joined by spaces, and the entities in that text.

    There is one tag for each token; without a scheme, it is detected from the sentence.

    Raises:
        TagError: a tag is unknown, or not allowed at its position.
    """
    parsed = parse_tags(tags)
    starts = [0, *accumulate(len(token) + 1 for token in tokens)]
    text = " ".join(tokens)
    spans = []
    for first, stop, label in entity_ranges(parsed, scheme or detect_scheme([parsed])):
        start, end = starts[first], starts[stop] - 1
        spans.append(Span(start, end, label, text[start:end]))
    return text, tuple(spans)


OUTSIDE: Final = "O"

#: Of a token in its text: first character, and the one after the last.
Offsets = tuple[int, int]


class NonOverlapping(NamedTuple):
    """Entities that do not overlap.

    Attributes:
        entities: in the order of the text.
        dropped: how many overlapped one of these.
    """

    entities: tuple[Span, ...]
    dropped: int


def all_tags(labels: Iterable[str]) -> tuple[str, ...]:
    """All BIO tags of these labels, `O` first."""
    return (OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in "BI"))


def non_overlapping(entities: Sequence[Span], longest: bool = True) -> NonOverlapping:
    """Keeps the longest (or shortest) of overlapping entities, the first of equally long ones.

    A token has one tag, so tags can express only the outer one of nested entities.
    """
    sign = -1 if longest else 1
    selected: list[Span] = []
    for span in sorted(entities, key=lambda span: (sign * (span.end - span.start), span.start)):
        if all(span.end <= earlier.start or earlier.end <= span.start for earlier in selected):
            selected.append(span)
    return NonOverlapping(tuple(sorted(selected)), len(entities) - len(selected))


def spans_to_tags(entities: Sequence[Span], offsets: Sequence[Offsets]) -> list[str]:
    """One BIO tag for each token.

    A token that overlaps two entities gets the tag of the one with the larger overlap.

    Args:
        entities: in the order of the text, without overlaps; see `non_overlapping`.
        offsets: of the tokens, in the order of the text.
    """
    ends = [entity.end for entity in entities]
    tags: list[str] = []
    previous: int | None = None
    for start, end in offsets:
        index = bisect_right(ends, start)
        overlaps: dict[int, int] = {}
        while index < len(entities) and entities[index].start < end:
            overlaps[index] = min(ends[index], end) - max(entities[index].start, start)
            index += 1
        best = max(overlaps, key=overlaps.__getitem__, default=None)
        if best is None:
            tags.append(OUTSIDE)
        else:
            tags.append(f"{'I' if best == previous else 'B'}-{entities[best].label}")
        previous = best
    return tags


def tags_to_spans(
    tagged: Sequence[str], offsets: Sequence[Offsets], text: str
) -> tuple[Span, ...]:
    """The entities of tags, with offsets; `text[start:end]` is the surface form.

    Any sequence of tags is read, as by conlleval and seqeval's default mode: `B-` always begins an
    entity, and so does an `I-` after `O` or another label. White space at either end, which some
    tokenizers make part of a token, is stripped. There is one tag for each token.
    """
    spans: list[Span] = []
    for first, stop, label in _tag_runs(tagged):
        # Byte-level tokens may be parts of one character: entities must not overlap even then.
        start = max(offsets[first][0], spans[-1].end if spans else 0)
        surface = text[start : offsets[stop - 1][1]]
        stripped = surface.strip()
        if stripped:
            start += len(surface) - len(surface.lstrip())
            spans.append(Span(start, start + len(stripped), label, stripped))
    return tuple(spans)


def word_starts(offsets: Sequence[Offsets], text: str) -> list[int]:
    """Index of the first token of each word; any other token is a word by itself.

    A word is a run of letters and digits. Of 15,471 entities in MACCROBAT and the NCBI disease
    corpus 13 begin or end inside such a word; with words separated by white space alone a third
    would. Tokens that are parts of one character belong to one word.
    """
    starts: list[int] = []
    end_of_word = 0
    for index, (start, end) in enumerate(offsets):
        if not index or not (start < end_of_word or _is_inside_word(text, start)):
            starts.append(index)
        end_of_word = max(end_of_word, end)
    return starts


def count_inside_words(entities: Iterable[Span], text: str) -> int:
    """How many entities begin or end inside a word as `word_starts` defines it."""
    return sum(
        _is_inside_word(text, entity.start) or _is_inside_word(text, entity.end)
        for entity in entities
    )


def _is_inside_word(text: str, position: int) -> bool:
    """Whether the characters around a position belong to one word."""
    return 0 < position < len(text) and text[position - 1].isalnum() and text[position].isalnum()


def _tag_runs(tagged: Sequence[str]) -> list[tuple[int, int, str]]:
    """(first token, token after the last, label) of each entity."""
    runs: list[tuple[int, int, str]] = []
    for index, tag in enumerate(tagged):
        if tag == OUTSIDE:
            continue
        prefix, _, label = tag.partition("-")
        first, stop, last_label = runs[-1] if runs else (0, -1, "")
        if prefix == "I" and stop == index and last_label == label:
            runs[-1] = (first, index + 1, label)
        else:
            runs.append((index, index + 1, label))
    return runs
