"""Invents what stands in a slot beside words and names: numbers, dates, codes, clinical terms."""

import random

from harness.embedded.vocabulary import (
    CONDITIONS,
    EXAMINED,
    ILL,
    MEDICATIONS,
    MONTHS,
    PROCEDURES,
    UNITS,
    WEEKDAYS,
    body_terms,
)
from harness.embedded.words import Filler, novel, pick, plain


def number(rng: random.Random) -> str:
    """A number of one to three digits, or one with a decimal."""
    kind = int(rng.random() * 4)
    if kind == 3:
        return f"{int(rng.random() * 30)}.{pick(rng, '1234567895555')}"
    low = 10**kind
    return str(low + int(rng.random() * 9 * low))


def quantity(rng: random.Random) -> str:
    """A number with a unit."""
    return f"{number(rng)} {pick(rng, UNITS)}"


def money(rng: random.Random) -> str:
    """A sum of money."""
    return f"{number(rng)} {pick(rng, ('dollars', 'euros', 'million', 'thousand'))}"


def strength(rng: random.Random) -> str:
    """How much of a drug."""
    units = ("mg", "mg", "mg", "mcg", "g", "ml", "mL", "units", "tablets", "puffs", "drops")
    return f"{number(rng)} {pick(rng, units)}"


def date(rng: random.Random) -> str:
    """A day, a weekday or a year."""
    day, year = 1 + int(rng.random() * 28), 2001 + int(rng.random() * 30)
    kind = int(rng.random() * 5)
    if kind == 0:
        return f"{day} {pick(rng, MONTHS)}"
    if kind == 1:
        return f"{1 + int(rng.random() * 12)}/{day}/{year}"
    if kind == 2:
        return f"{year}-{1 + int(rng.random() * 12):02}-{day:02}"
    return pick(rng, WEEKDAYS) if kind == 3 else str(year)


def code(rng: random.Random) -> str:
    """A part number."""
    letters = "".join(pick(rng, "ABCDEFGHKMNPRSTVX") for _ in range(pick(rng, (1, 1, 2, 3))))
    text = f"{letters}{pick(rng, ('', '-', '-'))}{10 + int(rng.random() * 9990)}"
    return text if rng.random() < 0.75 else text.lower()


def _clinical(
    known: tuple[str, ...],
    endings: str,
    before: tuple[str, ...],
    after: tuple[str, ...],
    nouns: tuple[str, ...] = (),
) -> Filler:
    """Fillers of one clinical kind: from the list, of a part of the body, or invented."""
    suffixes = endings.split()
    made = body_terms(nouns)

    def fill(rng: random.Random) -> str:
        source = rng.random()
        if source < 0.2:
            text = pick(rng, known)
        elif made and source < 0.4:
            text = pick(rng, before) + pick(rng, made)
        elif source < 0.5:
            text = pick(rng, before) + novel(rng) + pick(rng, suffixes)
        elif source < 0.8:
            text = pick(rng, before) + novel(rng) + pick(rng, after)
        else:
            text = f"{novel(rng)} {plain(rng)}"
        kind = rng.random()
        if kind < 0.7:
            return text
        return text[:1].upper() + text[1:] if kind < 0.94 else text.upper()

    return fill


drug = _clinical(
    MEDICATIONS,
    "mab pril statin olol azole mycin sartan ide ine",
    ("",),
    ("", "", "", "", " XR", " acid", " cream"),
)
illness = _clinical(
    CONDITIONS,
    "itis osis emia pathy oma ia",
    ("", "", "", "", "acute ", "chronic ", "mild ", "left ", "recurrent "),
    ("", "", "", "", " disease", " syndrome", " pain", " of the foot", " failure"),
    ILL,
)
examination = _clinical(
    PROCEDURES,
    "ectomy scopy plasty graphy ostomy gram",
    ("", "", "", "", "left ", "right ", "total ", "repeat ", "partial "),
    ("", "", "", "", " repair", " scan", " test", " removal", " of the neck"),
    EXAMINED,
)


def physician(rng: random.Random) -> str:
    """A doctor's name with the title."""
    return f"{pick(rng, ('Dr', 'Dr.', 'Doctor', 'Dr'))} {novel(rng).capitalize()}"
