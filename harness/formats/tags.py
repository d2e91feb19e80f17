"""Tags of tokens (IOB1, IOB2, IOBES, BILOU) to entities with offsets.

Strict: a tag that its scheme does not allow at its place is a fault, never mended silently. Knows
nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from harness.formats.format import Span

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
        """Keeps the place, from 0; the message counts tokens from 1."""
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


def sentence(
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
