"""Tags of tokens (IOB1, IOB2, IOBES, BILOU) to entities with offsets.

Strict: a tag that its scheme does not allow at its place is a fault, never mended silently. Knows
nothing of files.

Entities as tags of tokens, and back.

BIO: the first token of an entity is tagged `B-LABEL`, its further ones `I-LABEL`, all others `O`.
A token belongs to the entity that it shares characters with, be it a word or a part of one. Knows
offsets and labels, nothing of tokenizers, files or models.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from harness.data.rows import Span
from harness.data.rows import Span as Span_entity_tags

Scheme = Literal["iob1", "iob2", "iobes"]

#: BILOU's letters for what IOBES calls E and S.
_SAME: Final = {"L": "E", "U": "S", "M": "I"}
_PREFIXES: Final = frozenset("BIES")


class TagError(Exception):
    """A tag that cannot stand where it stands.

    Args:
        place: index of the token.
        told: what is wrong.
    """

    def __init__(self, place: int, told: str) -> None:
        super().__init__(f"token {place + 1}: {told}")
        self.place = place
        self.told = told


class Tag(NamedTuple):
    """One tag taken apart: `B`, `I`, `E`, `S` or `O`, and the label (empty for `O`)."""

    prefix: str
    label: str


def parse(tags: Sequence[str]) -> list[Tag]:
    """Takes tags apart; BILOU's L and U become E and S.

    Raises:
        TagError: one is no tag.
    """
    found = []
    for place, tag in enumerate(tags):
        prefix, mark, label = tag.partition("-")
        prefix = _SAME.get(prefix, prefix)
        if tag == "O":
            found.append(Tag("O", ""))
        elif mark and label and prefix in _PREFIXES:
            found.append(Tag(prefix, label))
        else:
            raise TagError(
                place, f"'{tag}' is no tag; O, B-LABEL, I-LABEL, E- or S-LABEL is right"
            )
    return found


def scheme_of(sentences: Iterable[Sequence[Tag]]) -> Scheme:
    """The scheme that these sentences keep to.

    E and S tell IOBES. Of the others, IOB1 begins an entity with I unless one of the same label
    stands right before it; IOB2 always with B.
    """
    begins_with_i = False
    for tags in sentences:
        before = Tag("O", "")
        for tag in tags:
            if tag.prefix in "ES":
                return "iobes"
            begins_with_i |= tag.prefix == "I" and before.label != tag.label
            before = tag
    return "iob1" if begins_with_i else "iob2"


def entities(tags: Sequence[Tag], scheme: Scheme) -> list[tuple[int, int, str]]:
    """Entities as (first token, behind the last token, label).

    Raises:
        TagError: a tag that the scheme does not allow there.
    """
    found: list[tuple[int, int, str]] = []
    start: int | None = None
    for place, tag in enumerate(tags):
        before = tags[place - 1] if place else Tag("O", "")
        follows = start is not None and before.label == tag.label
        _check(place, tag, before, follows, scheme, open_=start is not None)
        goes_on = tag.prefix in "IE" and follows
        if start is not None and not goes_on:
            found.append((start, place, before.label))
            start = None
        if tag.prefix in "BS" or (tag.prefix == "I" and not goes_on):
            start = place
        if tag.prefix in "ES" and start is not None:
            found.append((start, place + 1, tag.label))
            start = None
    if start is not None:
        if scheme == "iobes":
            raise TagError(
                len(tags) - 1,
                f"the sentence ends inside {tags[-1].label}; E-{tags[-1].label} is right",
            )
        found.append((start, len(tags), tags[-1].label))
    return found


def _check(
    place: int, tag: Tag, before: Tag, follows: bool, scheme: Scheme, *, open_: bool
) -> None:
    written = tag.prefix if tag.prefix == "O" else f"{tag.prefix}-{tag.label}"
    after = "O" if before.prefix == "O" else f"{before.prefix}-{before.label}"
    if scheme == "iobes":
        if open_ and not (tag.prefix in "IE" and follows):
            raise TagError(place, f"'{written}' after '{after}'; I- or E-{before.label} is right")
        if tag.prefix in "IE" and not open_:
            raise TagError(place, f"'{written}' begins an entity; B- or S-{tag.label} is right")
    elif tag.prefix in "ES":
        raise TagError(place, f"'{written}' is a tag of IOBES, the file says {scheme.upper()}")
    elif scheme == "iob2" and tag.prefix == "I" and not follows:
        raise TagError(place, f"'{written}' after '{after}' begins an entity; B- is right in IOB2")
    elif scheme == "iob1" and tag.prefix == "B" and not follows:
        raise TagError(
            place,
            f"'{written}' after '{after}', but IOB1 has B- only behind an entity of the same "
            "label, and another entity of the file begins with I-",
        )


def sentence_to_text(
    tokens: Sequence[str], tags: Sequence[str], scheme: Scheme | None = None
) -> tuple[str, tuple[Span, ...]]:
    """Tokens joined by blanks, and the entities in that text.

    Args:
        tokens: of one sentence.
        tags: one a token.
        scheme: None: as the sentence itself shows.

    Raises:
        TagError: a tag is none, or not allowed there.
    """
    parsed = parse(tags)
    starts, position = [], 0
    for token in tokens:
        starts.append(position)
        position += len(token) + 1
    text = " ".join(tokens)
    spans = []
    for first, behind, label in entities(parsed, scheme or scheme_of([parsed])):
        start, end = starts[first], starts[behind - 1] + len(tokens[behind - 1])
        spans.append(Span(start, end, label, text[start:end]))
    return text, tuple(spans)


OUTSIDE: Final = "O"

#: Where a token stands in its text: first character, and behind the last one.
Place = tuple[int, int]


class NonOverlapping(NamedTuple):
    """Entities of which none shares a character with another.

    Attributes:
        kept: in the order of the text.
        left_out: how many had to go.
    """

    kept: tuple[Span_entity_tags, ...]
    left_out: int


def tags_of(labels: Iterable[str]) -> tuple[str, ...]:
    """All tags for these labels, `O` first."""
    return (OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in "BI"))


def non_overlapping(entities: Sequence[Span_entity_tags]) -> NonOverlapping:
    """Keeps of entities that overlap the longest, and of equally long ones the first.

    A token has one tag: of an entity inside another only the outer one can be said.
    """
    kept: list[Span_entity_tags] = []
    for one in sorted(entities, key=lambda span: (span.start - span.end, span.start)):
        if all(one.end <= other.start or other.end <= one.start for other in kept):
            kept.append(one)
    return NonOverlapping(tuple(sorted(kept)), len(entities) - len(kept))


def tags(entities: Sequence[Span_entity_tags], places: Sequence[Place]) -> list[str]:
    """One tag a token.

    A token that reaches into two entities is tagged for the one that it shares more with.

    Args:
        entities: in the order of the text, none overlapping another; see `non_overlapping`.
        places: of the tokens, in the order of the text.
    """
    ends = [one.end for one in entities]
    found: list[str] = []
    before: int | None = None
    for start, end in places:
        index = bisect_right(ends, start)
        best: int | None = None
        while index < len(entities) and entities[index].start < end:
            if best is None or _shared(entities[index], start, end) > _shared(
                entities[best], start, end
            ):
                best = index
            index += 1
        if best is None:
            found.append(OUTSIDE)
        else:
            found.append(f"{'I' if best == before else 'B'}-{entities[best].label}")
        before = best
    return found


def _shared(entity: Span_entity_tags, start: int, end: int) -> int:
    return min(entity.end, end) - max(entity.start, start)


def spans(
    tagged: Sequence[str], places: Sequence[Place], text: str
) -> tuple[Span_entity_tags, ...]:
    """The entities that tags say, with their offsets; `text[start:end]` is the surface.

    Any sequence of tags is read as conlleval and seqeval's default mode do: `B-` always begins an
    entity, and so does an `I-` that follows `O` or another label. White space at either end, which
    some tokenizers count to a token, is left out.

    Args:
        tagged: one tag a token.
        places: of the tokens.
        text: where they stand.
    """
    found: list[Span_entity_tags] = []
    for first, behind, label in _runs(tagged):
        # Tokens may be parts of one character: an entity never begins inside another.
        start = max(places[first][0], found[-1].end if found else 0)
        surface = text[start : places[behind - 1][1]]
        stripped = surface.strip()
        if stripped:
            start += len(surface) - len(surface.lstrip())
            found.append(Span_entity_tags(start, start + len(stripped), label, stripped))
    return tuple(found)


def words(places: Sequence[Place], text: str) -> list[int]:
    """The first token of each word, a token of anything else being a word of its own.

    A word is a run of letters and digits: of 15,471 entities in MACCROBAT and the NCBI disease
    corpus 13 begin or end inside such a word, where white space alone ended words a third would.
    Tokens that are parts of one character are never apart.

    Args:
        places: of the tokens, in the order of the text.
        text: where they stand.
    """
    found: list[int] = []
    behind = 0
    for number, (start, end) in enumerate(places):
        if not number or not (start < behind or _inside(text, start)):
            found.append(number)
        behind = max(behind, end)
    return found


def inside_words(entities: Iterable[Span_entity_tags], text: str) -> int:
    """How many entities begin or end inside a word, as `words` has it."""
    return sum(_inside(text, one.start) or _inside(text, one.end) for one in entities)


def _inside(text: str, place: int) -> bool:
    """Whether the characters around a place belong to one word."""
    return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()


def _runs(tagged: Sequence[str]) -> list[tuple[int, int, str]]:
    """(first token, behind the last token, label) of each entity."""
    found: list[tuple[int, int, str]] = []
    for place, tag in enumerate(tagged):
        if tag == OUTSIDE:
            continue
        prefix, _, label = tag.partition("-")
        first, behind, last = found[-1] if found else (0, -1, "")
        if prefix == "I" and behind == place and last == label:
            found[-1] = (first, place + 1, label)
        else:
            found.append((place, place + 1, label))
    return found
