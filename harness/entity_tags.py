"""Entities as tags of tokens, and back.

BIO: the first token of an entity is tagged `B-LABEL`, its further ones `I-LABEL`, all others `O`.
A token belongs to the entity that it shares characters with, be it a word or a part of one. Knows
offsets and labels, nothing of tokenizers, files or models.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from harness.formats import Span

OUTSIDE: Final = "O"

#: Where a token stands in its text: first character, and behind the last one.
Place = tuple[int, int]


class Flat(NamedTuple):
    """Entities of which none shares a character with another.

    Attributes:
        kept: in the order of the text.
        left_out: how many had to go.
    """

    kept: tuple[Span, ...]
    left_out: int


def tags_of(labels: Iterable[str]) -> tuple[str, ...]:
    """All tags for these labels, `O` first."""
    return (OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in "BI"))


def flat(entities: Sequence[Span]) -> Flat:
    """Keeps of entities that overlap the longest, and of equally long ones the first.

    A token has one tag: of an entity inside another only the outer one can be said.
    """
    kept: list[Span] = []
    for one in sorted(entities, key=lambda span: (span.start - span.end, span.start)):
        if all(one.end <= other.start or other.end <= one.start for other in kept):
            kept.append(one)
    return Flat(tuple(sorted(kept)), len(entities) - len(kept))


def tags(entities: Sequence[Span], places: Sequence[Place]) -> list[str]:
    """One tag a token.

    A token that reaches into two entities is tagged for the one that it shares more with.

    Args:
        entities: in the order of the text, none overlapping another; see `flat`.
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


def _shared(entity: Span, start: int, end: int) -> int:
    return min(entity.end, end) - max(entity.start, start)


def spans(tagged: Sequence[str], places: Sequence[Place], text: str) -> tuple[Span, ...]:
    """The entities that tags say, with their offsets; `text[start:end]` is the surface.

    Any sequence of tags is read as conlleval and seqeval's default mode do: `B-` always begins an
    entity, and so does an `I-` that follows `O` or another label. White space at either end, which
    some tokenizers count to a token, is left out.

    Args:
        tagged: one tag a token.
        places: of the tokens.
        text: where they stand.
    """
    found: list[Span] = []
    for first, behind, label in _runs(tagged):
        # Tokens may be parts of one character: an entity never begins inside another.
        start = max(places[first][0], found[-1].end if found else 0)
        surface = text[start : places[behind - 1][1]]
        stripped = surface.strip()
        if stripped:
            start += len(surface) - len(surface.lstrip())
            found.append(Span(start, start + len(stripped), label, stripped))
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


def inside_words(entities: Iterable[Span], text: str) -> int:
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
