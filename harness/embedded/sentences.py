"""Fills sentence frames: text, and what stands in which slot. Knows nothing of formats."""

import random
import re
from typing import NamedTuple

from harness.embedded import fillers, words
from harness.embedded.frames import Domain
from harness.embedded.words import pick

#: A piece of a document and the weight of its tokens in the loss.
Segment = tuple[str, float]
Document = list[Segment]


#: Name of the domains that `invented_domain` makes.
INVENTED = "invented"


class Passage(NamedTuple):
    """Sentences and what was filled in: (slot, string as it stands in the text), in order."""

    text: str
    found: list[tuple[str, str]]


class Case(NamedTuple):
    """How a document writes its sentences."""

    upper: bool
    capital: bool


def any_case(rng: random.Random) -> Case:
    """Mostly sentence capitals; 6 % everything in capitals, 8 % no sentence capitals."""
    kind = rng.random()
    return Case(upper=kind < 0.06, capital=kind < 0.92)


def sentence(rng: random.Random, pieces: tuple[str, ...], domain: Domain, case: Case) -> Passage:
    """One frame, filled; the case of the sentence holds for its fillers, too."""
    parts: list[str] = []
    found: list[tuple[str, str]] = []
    for place, piece in enumerate(pieces):
        text = domain.fillers[piece](rng) if place % 2 else piece
        if case.upper:
            text = text.upper()
        elif case.capital and text and not any(parts):
            text = text[0].upper() + text[1:]
        if place % 2:
            found.append((piece, text))
        parts.append(text)
    return Passage("".join(parts), found)


_JOINTS = (", and", ";", ", but", ", then", " -", ",", " and")
_SMALL_WORDS = re.compile(r"\b(?:the|a|an|is|was|are|were|has|had|he|she|we) ")


def passage(rng: random.Random, domain: Domain, count: int, case: Case) -> Passage:
    """`count` sentences of a domain, no frame twice; each begins with a blank.

    A fifth of the sentences is joined to the one before; a sixth of the passages leaves out small
    words, as notes in a hurry do: few frames give many sentences.
    """
    frames = rng.sample(domain.pieces, min(count, len(domain.pieces)))
    hurried = rng.random() < 0.16
    text = ""
    found: list[tuple[str, str]] = []
    for pieces in frames:
        joined = text.endswith(".") and rng.random() < 0.2
        if joined:
            text = text[:-1] + pick(rng, _JOINTS)
        if hurried:
            pieces = tuple(
                piece if place % 2 else _SMALL_WORDS.sub("", piece)
                for place, piece in enumerate(pieces)
            )
        added, slots = sentence(
            rng, pieces, domain, case._replace(capital=False) if joined else case
        )
        text += " " + added
        found += slots
    return Passage(text, found)


_FILLERS = (words.plain, words.word, words.phrase, words.name, fillers.code, fillers.number)


def invented_domain(rng: random.Random) -> Domain:
    """A domain that exists in one document only: which words stand beside a slot marks it.

    Nothing about it can be known beforehand, so its labels can be learnt from the examples alone.
    """
    slots = "abcd"[: 2 + int(rng.random() * 3)]
    shared = pick(rng, _FILLERS)
    same = rng.random() < 0.5
    fillers = {slot: shared if same else pick(rng, _FILLERS) for slot in slots}
    cued: list[str] = []
    for slot in slots:
        for _ in range(1 + int(rng.random() * 2)):
            before = " ".join(words.plain(rng) for _ in range(1 + int(rng.random() * 2)))
            after = words.plain(rng)
            shape = pick(rng, ("{before} {slot}", "{slot} {after}", "{before} {slot} {after}"))
            cued.append(shape.format(before=before, slot=f"{{{slot}}}", after=after))
    frames = [pick(rng, cued) + "." for _ in range(2)]
    frames += [f"{first}, {second}." for first, second in _pairs(rng, cued)]
    frames += [" ".join(words.plain(rng) for _ in range(3)) + "."]
    labels = {slot: (words.label(rng),) for slot in slots}
    return Domain(INVENTED, fillers, labels, tuple(dict.fromkeys(frames)))


def _pairs(rng: random.Random, cued: list[str]) -> list[tuple[str, str]]:
    return [(pick(rng, cued), pick(rng, cued)) for _ in range(5)]
