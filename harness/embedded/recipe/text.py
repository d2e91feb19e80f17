"""Fills sentence frames: text, and what stands in which slot. Knows nothing of formats.

Invents words, phrases, names and labels that no list holds.

A base model that has only copied strings it knows cannot copy a drug name it has never met. So
most fillers of the corpus are new each time, and they look like real ones: a third come from the
letter trigrams of real words, because words made of syllables alone did not transfer.

Invents what stands in a slot beside words and names: numbers, dates, codes, clinical terms.

What a domain is: sentence frames with named slots, fillers for them, and label words.

The many ways in which a document writes down what was found in a passage.

One way is left out on purpose: `LABEL: a; b | LABEL: c`. A benchmark may use it, and a format
the base model has practised would tell nothing about an adapter.
"""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from harness.embedded.recipe.vocabulary import (
    CODAS,
    COMMON,
    CONDITIONS,
    EXAMINED,
    ILL,
    MEDICATIONS,
    MONTHS,
    ONSETS,
    PROCEDURES,
    SUFFIXES,
    UNITS,
    VOWELS,
    WEEKDAYS,
    body_terms,
)

T = TypeVar("T")
Filler = Callable[[random.Random], str]

#: Four in nineteen syllables are open.
_ENDS = ("", "", "", "", *CODAS)
_LETTERS = "etaoinshrdlucmpgybvkwfxzjq"
_LONGEST = 16


def pick(rng: random.Random, items: Sequence[T]) -> T:
    """One of `items`; three times faster than `rng.choice`, which matters at 20M tokens."""
    return items[int(rng.random() * len(items))]


def _trigrams() -> dict[str, str]:
    """Maps two letters to all letters that follow them in the word lists ("$" ends a word)."""
    table: dict[str, list[str]] = {}
    entities = [word for name in (*MEDICATIONS, *CONDITIONS, *PROCEDURES) for word in name.split()]
    for word in (*COMMON, *entities):
        if not re.fullmatch(r"[A-Za-z]+", word):
            continue
        padded = f"^^{word.lower()}$"
        for start in range(len(padded) - 2):
            table.setdefault(padded[start : start + 2], []).append(padded[start + 2])
    return {pair: "".join(letters) for pair, letters in table.items()}


_FOLLOWERS = _trigrams()


def _from_trigrams(rng: random.Random) -> str:
    word = "^^"
    while len(word) < _LONGEST:
        pair = word[-2:]
        if pair not in _FOLLOWERS:
            break
        letters = _FOLLOWERS[pair]
        if pair != "^^" and rng.random() > 0.85:
            letters = _LETTERS
        letter = pick(rng, letters)
        if letter == "$":
            break
        word += letter
    return word[2:] if len(word) > 4 else word[2:] + "el"


def _from_syllables(rng: random.Random) -> str:
    count = pick(rng, (1, 1, 1, 2, 2, 2, 3))
    word = "".join(pick(rng, ONSETS) + pick(rng, VOWELS) + pick(rng, _ENDS) for _ in range(count))
    return word + pick(rng, SUFFIXES) if rng.random() < 0.3 else word


def novel(rng: random.Random) -> str:
    """An invented word in lower case."""
    kind = rng.random()
    if kind < 0.38:
        return _from_trigrams(rng)
    if kind < 0.47:
        return "".join(pick(rng, _LETTERS) for _ in range(3 + int(rng.random() * 7)))
    return _from_syllables(rng)


def recase(rng: random.Random, word: str) -> str:
    """`word` as it is (62 %), Capitalised (28 %) or IN CAPITALS."""
    kind = rng.random()
    if kind < 0.62:
        return word
    return word[:1].upper() + word[1:] if kind < 0.9 else word.upper()


def word(rng: random.Random) -> str:
    """An invented word or an everyday one, in any case."""
    return recase(rng, novel(rng) if rng.random() < 0.6 else pick(rng, COMMON))


def plain(rng: random.Random) -> str:
    """An invented word or an everyday one, in lower case."""
    return novel(rng) if rng.random() < 0.6 else pick(rng, COMMON)


def phrase(rng: random.Random) -> str:
    """A thing: one to three words, lower case, Title Case or capitals."""
    words = [plain(rng) for _ in range(pick(rng, (1, 1, 1, 2, 2, 3)))]
    kind = rng.random()
    if kind < 0.72:
        return " ".join(words)
    if kind < 0.93:
        return " ".join(one[:1].upper() + one[1:] for one in words)
    return " ".join(words).upper()


def name(rng: random.Random) -> str:
    """A proper name of one or two invented words, capitalised."""
    first = novel(rng).capitalize()
    return f"{first} {novel(rng).capitalize()}" if rng.random() < 0.4 else first


def label(rng: random.Random) -> str:
    """A label word that means nothing: invented, an unrelated word or a short code."""
    kind = rng.random()
    if kind < 0.55:
        return novel(rng)
    if kind < 0.85:
        return pick(rng, COMMON)
    if kind < 0.93:
        return pick(rng, "abcdefgkmnprstwx") + pick(rng, "123456789")
    return f"{novel(rng)}_{pick(rng, COMMON)}"


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


_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Domain:
    """A small world: what can stand in its sentences, and how each slot may be called."""

    name: str
    fillers: Mapping[str, Filler]
    labels: Mapping[str, tuple[str, ...]]
    frames: tuple[str, ...]
    pieces: tuple[tuple[str, ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Cuts each frame once: texts at even places, slot names at odd ones."""
        cut = tuple(tuple(_SLOT.split(frame)) for frame in self.frames)
        object.__setattr__(self, "pieces", cut)
        unknown = {slot for frame in cut for slot in frame[1::2]} - set(self.fillers)
        if unknown:
            raise ValueError(f"{self.name}: frames name slots without a filler: {sorted(unknown)}")


def domain(name: str, slots: dict[str, tuple[Filler, str]], frames: str) -> Domain:
    """A domain from slot -> (filler, "label words apart by blanks") and one frame a line."""
    return Domain(
        name,
        {slot: filler for slot, (filler, _) in slots.items()},
        {slot: tuple(labels.split()) for slot, (_, labels) in slots.items()},
        tuple(line.strip() for line in frames.strip().splitlines()),
    )


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


_FILLERS = (plain, word, phrase, name, code, number)


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
            before = " ".join(plain(rng) for _ in range(1 + int(rng.random() * 2)))
            after = plain(rng)
            shape = pick(rng, ("{before} {slot}", "{slot} {after}", "{before} {slot} {after}"))
            cued.append(shape.format(before=before, slot=f"{{{slot}}}", after=after))
    frames = [pick(rng, cued) + "." for _ in range(2)]
    frames += [f"{first}, {second}." for first, second in _pairs(rng, cued)]
    frames += [" ".join(plain(rng) for _ in range(3)) + "."]
    labels = {slot: (label(rng),) for slot in slots}
    return Domain(INVENTED, fillers, labels, tuple(dict.fromkeys(frames)))


def _pairs(rng: random.Random, cued: list[str]) -> list[tuple[str, str]]:
    return [(pick(rng, cued), pick(rng, cued)) for _ in range(5)]


#: What is kept for benchmarks: (after the label, between values, between labels).
RESERVED = (":", "; ", " |")

_COLONS = (":", ":", ":", " =", " ->", " -", "", " :")
_JOINS = (", ", "; ", " and ", " / ", " + ", " & ", " | ")
_SEPARATORS = ("\n", "\n", ";;", " ||", " |", " /", ".", ";", "\n -")
_EMPTY = (" none", " none", " nil", " -", " n/a", " None", " (none)", "", " no")
_KINDS = ("table", "table", "table", "table", "inline", "tagged", "lines", "json", "filled")


@dataclass(frozen=True)
class Layout:
    """One format, kept through all examples of a document."""

    kind: str
    colon: str
    join: str
    separator: str
    empty: str

    def write(
        self, found: Sequence[tuple[str, str]], slots: Sequence[str], labels: Mapping[str, str]
    ) -> str:
        """What was found for `slots`, under their labels; starts with a blank or a newline."""
        asked = [(slot, text) for slot, text in found if slot in labels]
        if self.kind == "inline":
            return ",".join(f" {labels[slot]} {text}" for slot, text in asked) or self.empty
        if self.kind == "tagged":
            return ";".join(f" {text} ({labels[slot]})" for slot, text in asked) or self.empty
        if self.kind == "lines":
            lines = "".join(f"\n {text} is {labels[slot]}" for slot, text in asked)
            return lines or self.empty
        values = {slot: unique([text for key, text in asked if key == slot]) for slot in slots}
        if self.kind == "json":
            return " " + json.dumps({labels[slot]: values[slot] for slot in slots})
        if self.kind == "filled":
            slots = [slot for slot in slots if values[slot]] or [slots[0]]
        return self.separator.join(
            f" {labels[slot]}{self.colon} {self.join.join(values[slot])}"
            if values[slot]
            else f" {labels[slot]}{self.colon}{self.empty}"
            for slot in slots
        )


def unique(texts: Sequence[str]) -> list[str]:
    """`texts` without repetitions, in order."""
    return list(dict.fromkeys(texts))


def any_layout(rng: random.Random) -> Layout:
    """A random layout that is neither the reserved one nor one whose two separators are alike."""
    while True:
        layout = Layout(
            pick(rng, _KINDS),
            pick(rng, _COLONS),
            pick(rng, _JOINS),
            pick(rng, _SEPARATORS),
            pick(rng, _EMPTY),
        )
        alike = layout.join.strip() == layout.separator.strip()
        if (layout.colon.strip(), layout.join, layout.separator) != RESERVED and not alike:
            return layout


def any_label_case(rng: random.Random) -> str:
    """How a document writes its labels: "lower", "title" or "upper"."""
    return pick(rng, ("lower", "lower", "title", "upper", "upper"))


def in_case(text: str, case: str) -> str:
    """`text` as `case` says."""
    if case == "upper":
        return text.upper()
    return text[:1].upper() + text[1:] if case == "title" else text
