"""Random words, filled sentence frames, and the formats of answers.

A base model that has only copied known strings cannot copy a drug name that it has never seen. So
most fillers of the corpus are invented each time, and they look like real words: a third come from
letter trigrams of real words, because words of syllables alone did not transfer.

A `Domain` has sentence frames with named slots, fillers for them and label words; `draw_passage`
fills frames and records the spans. An `AnswerFormat` writes spans as an answer. One format is left
out on purpose, `LABEL: a; b | LABEL: c`: benchmarks use it, and must not score what the base model
has practised.
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

#: Four of nineteen syllables are open.
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


def invent_word(rng: random.Random) -> str:
    """An invented word in lower case."""
    choice = rng.random()
    if choice < 0.38:
        return _from_trigrams(rng)
    if choice < 0.47:
        return "".join(pick(rng, _LETTERS) for _ in range(3 + int(rng.random() * 7)))
    return _from_syllables(rng)


def draw_case_of(rng: random.Random, word: str) -> str:
    """`draw_word` as it is (62 %), Capitalised (28 %) or IN CAPITALS."""
    choice = rng.random()
    if choice < 0.62:
        return word
    return word[:1].upper() + word[1:] if choice < 0.9 else word.upper()


def draw_word(rng: random.Random) -> str:
    """An invented word or an everyday one, in any case."""
    return draw_case_of(rng, invent_word(rng) if rng.random() < 0.6 else pick(rng, COMMON))


def draw_lower_word(rng: random.Random) -> str:
    """An invented word or an everyday one, in lower case."""
    return invent_word(rng) if rng.random() < 0.6 else pick(rng, COMMON)


def draw_phrase(rng: random.Random) -> str:
    """A thing: one to three words, lower case, Title Case or capitals."""
    words = [draw_lower_word(rng) for _ in range(pick(rng, (1, 1, 1, 2, 2, 3)))]
    choice = rng.random()
    if choice < 0.72:
        return " ".join(words)
    if choice < 0.93:
        return " ".join(word[:1].upper() + word[1:] for word in words)
    return " ".join(words).upper()


def draw_name(rng: random.Random) -> str:
    """A proper name of one or two invented words, capitalised."""
    first = invent_word(rng).capitalize()
    return f"{first} {invent_word(rng).capitalize()}" if rng.random() < 0.4 else first


def draw_label(rng: random.Random) -> str:
    """A label word that means nothing: invented, an unrelated word or a short code."""
    choice = rng.random()
    if choice < 0.55:
        return invent_word(rng)
    if choice < 0.85:
        return pick(rng, COMMON)
    if choice < 0.93:
        return pick(rng, "abcdefgkmnprstwx") + pick(rng, "123456789")
    return f"{invent_word(rng)}_{pick(rng, COMMON)}"


def draw_number(rng: random.Random) -> str:
    """A number of one to three digits, or one with a decimal."""
    choice = int(rng.random() * 4)
    if choice == 3:
        return f"{int(rng.random() * 30)}.{pick(rng, '1234567895555')}"
    low = 10**choice
    return str(low + int(rng.random() * 9 * low))


def draw_quantity(rng: random.Random) -> str:
    """A number with a unit."""
    return f"{draw_number(rng)} {pick(rng, UNITS)}"


def draw_money(rng: random.Random) -> str:
    """A sum of money."""
    return f"{draw_number(rng)} {pick(rng, ('dollars', 'euros', 'million', 'thousand'))}"


def draw_strength(rng: random.Random) -> str:
    """A dose of a drug."""
    units = ("mg", "mg", "mg", "mcg", "g", "ml", "mL", "units", "tablets", "puffs", "drops")
    return f"{draw_number(rng)} {pick(rng, units)}"


def draw_date(rng: random.Random) -> str:
    """A day, a weekday or a year."""
    day, year = 1 + int(rng.random() * 28), 2001 + int(rng.random() * 30)
    choice = int(rng.random() * 5)
    if choice == 0:
        return f"{day} {pick(rng, MONTHS)}"
    if choice == 1:
        return f"{1 + int(rng.random() * 12)}/{day}/{year}"
    if choice == 2:
        return f"{year}-{1 + int(rng.random() * 12):02}-{day:02}"
    return pick(rng, WEEKDAYS) if choice == 3 else str(year)


def draw_code(rng: random.Random) -> str:
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
    """A filler of one clinical type: from the list, from a part of the body, or invented."""
    suffixes = endings.split()
    body_part_terms = body_terms(nouns)

    def fill(rng: random.Random) -> str:
        source = rng.random()
        if source < 0.2:
            text = pick(rng, known)
        elif body_part_terms and source < 0.4:
            text = pick(rng, before) + pick(rng, body_part_terms)
        elif source < 0.5:
            text = pick(rng, before) + invent_word(rng) + pick(rng, suffixes)
        elif source < 0.8:
            text = pick(rng, before) + invent_word(rng) + pick(rng, after)
        else:
            text = f"{invent_word(rng)} {draw_lower_word(rng)}"
        choice = rng.random()
        if choice < 0.7:
            return text
        return text[:1].upper() + text[1:] if choice < 0.94 else text.upper()

    return fill


draw_drug = _clinical(
    MEDICATIONS,
    "mab pril statin olol azole mycin sartan ide ine",
    ("",),
    ("", "", "", "", " XR", " acid", " cream"),
)
draw_illness = _clinical(
    CONDITIONS,
    "itis osis emia pathy oma ia",
    ("", "", "", "", "acute ", "chronic ", "mild ", "left ", "recurrent "),
    ("", "", "", "", " disease", " syndrome", " pain", " of the foot", " failure"),
    ILL,
)
draw_examination = _clinical(
    PROCEDURES,
    "ectomy scopy plasty graphy ostomy gram",
    ("", "", "", "", "left ", "right ", "total ", "repeat ", "partial "),
    ("", "", "", "", " repair", " scan", " test", " removal", " of the neck"),
    EXAMINED,
)


def draw_physician(rng: random.Random) -> str:
    """A doctor's name with the title."""
    return f"{pick(rng, ('Dr', 'Dr.', 'Doctor', 'Dr'))} {invent_word(rng).capitalize()}"


_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Domain:
    """Sentence frames, a filler for each of their slots, and the slots' possible labels."""

    name: str
    fillers: Mapping[str, Filler]
    labels: Mapping[str, tuple[str, ...]]
    frames: tuple[str, ...]
    pieces: tuple[tuple[str, ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Splits each frame once: texts at even indices, slot names at odd ones."""
        cut = tuple(tuple(_SLOT.split(frame)) for frame in self.frames)
        object.__setattr__(self, "pieces", cut)
        unknown = {slot for frame in cut for slot in frame[1::2]} - set(self.fillers)
        if unknown:
            raise ValueError(f"{self.name}: frames name slots without a filler: {sorted(unknown)}")


def make_domain(name: str, slots: dict[str, tuple[Filler, str]], frames: str) -> Domain:
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


#: Name of the domains that `draw_domain` makes.
INVENTED = "invented"


class Passage(NamedTuple):
    """Sentences and their fillers: (slot, string as in the text), in order."""

    text: str
    spans: list[tuple[str, str]]


class SentenceCase(NamedTuple):
    """Capitalisation of a document's sentences."""

    upper: bool
    capital: bool


def draw_case(rng: random.Random) -> SentenceCase:
    """Mostly sentence capitals; 6 % everything in capitals, 8 % no sentence capitals."""
    choice = rng.random()
    return SentenceCase(upper=choice < 0.06, capital=choice < 0.92)


def fill_frame(
    rng: random.Random, pieces: tuple[str, ...], domain: Domain, case: SentenceCase
) -> Passage:
    """One frame, filled; the case of the sentence applies to its fillers, too."""
    parts: list[str] = []
    spans: list[tuple[str, str]] = []
    for index, piece in enumerate(pieces):
        text = domain.fillers[piece](rng) if index % 2 else piece
        if case.upper:
            text = text.upper()
        elif case.capital and text and not any(parts):
            text = text[0].upper() + text[1:]
        if index % 2:
            spans.append((piece, text))
        parts.append(text)
    return Passage("".join(parts), spans)


_JOINTS = (", and", ";", ", but", ", then", " -", ",", " and")
_SMALL_WORDS = re.compile(r"\b(?:the|a|an|is|was|are|were|has|had|he|she|we) ")


def draw_passage(rng: random.Random, domain: Domain, count: int, case: SentenceCase) -> Passage:
    """`count` sentences of a domain, no frame twice; each begins with a blank.

    A fifth of the sentences is joined to the one before, and a sixth of the passages leaves out
    function words, as hurried notes do, so that few frames give many sentences.
    """
    frames = rng.sample(domain.pieces, min(count, len(domain.pieces)))
    telegraphic = rng.random() < 0.16
    text = ""
    spans: list[tuple[str, str]] = []
    for pieces in frames:
        joined = text.endswith(".") and rng.random() < 0.2
        if joined:
            text = text[:-1] + pick(rng, _JOINTS)
        if telegraphic:
            pieces = tuple(
                piece if index % 2 else _SMALL_WORDS.sub("", piece)
                for index, piece in enumerate(pieces)
            )
        added, slots = fill_frame(
            rng, pieces, domain, case._replace(capital=False) if joined else case
        )
        text += " " + added
        spans += slots
    return Passage(text, spans)


_FILLERS = (draw_lower_word, draw_word, draw_phrase, draw_name, draw_code, draw_number)


def draw_domain(rng: random.Random) -> Domain:
    """A domain of one document only, whose slots are marked by the words next to them.

    Nothing about it can be known before, so its labels can be learned from the examples alone.
    """
    slots = "abcd"[: 2 + int(rng.random() * 3)]
    shared = pick(rng, _FILLERS)
    same = rng.random() < 0.5
    fillers = {slot: shared if same else pick(rng, _FILLERS) for slot in slots}
    cued: list[str] = []
    for slot in slots:
        for _ in range(1 + int(rng.random() * 2)):
            before = " ".join(draw_lower_word(rng) for _ in range(1 + int(rng.random() * 2)))
            after = draw_lower_word(rng)
            shape = pick(rng, ("{before} {slot}", "{slot} {after}", "{before} {slot} {after}"))
            cued.append(shape.format(before=before, slot=f"{{{slot}}}", after=after))
    frames = [pick(rng, cued) + "." for _ in range(2)]
    frames += [f"{first}, {second}." for first, second in _pairs(rng, cued)]
    frames += [" ".join(draw_lower_word(rng) for _ in range(3)) + "."]
    labels = {slot: (draw_label(rng),) for slot in slots}
    return Domain(INVENTED, fillers, labels, tuple(dict.fromkeys(frames)))


def _pairs(rng: random.Random, cued: list[str]) -> list[tuple[str, str]]:
    return [(pick(rng, cued), pick(rng, cued)) for _ in range(5)]


#: Format reserved for benchmarks: (after the label, between values, between labels).
RESERVED = (":", "; ", " |")

_COLONS = (":", ":", ":", " =", " ->", " -", "", " :")
_JOINS = (", ", "; ", " and ", " / ", " + ", " & ", " | ")
_SEPARATORS = ("\n", "\n", ";;", " ||", " |", " /", ".", ";", "\n -")
_EMPTY = (" none", " none", " nil", " -", " n/a", " None", " (none)", "", " no")
_STYLES = ("table", "table", "table", "table", "inline", "tagged", "lines", "json", "filled")


@dataclass(frozen=True)
class AnswerFormat:
    """A format of answers, the same for all examples of a document."""

    style: str
    colon: str
    join: str
    separator: str
    empty: str

    def write(
        self, spans: Sequence[tuple[str, str]], slots: Sequence[str], labels: Mapping[str, str]
    ) -> str:
        """The spans of `slots` under their labels; starts with a blank or a newline."""
        labelled = [(slot, text) for slot, text in spans if slot in labels]
        if self.style == "inline":
            return ",".join(f" {labels[slot]} {text}" for slot, text in labelled) or self.empty
        if self.style == "tagged":
            return ";".join(f" {text} ({labels[slot]})" for slot, text in labelled) or self.empty
        if self.style == "lines":
            lines = "".join(f"\n {text} is {labels[slot]}" for slot, text in labelled)
            return lines or self.empty
        values = {
            slot: without_duplicates([text for key, text in labelled if key == slot])
            for slot in slots
        }
        if self.style == "json":
            return " " + json.dumps({labels[slot]: values[slot] for slot in slots})
        if self.style == "filled":
            slots = [slot for slot in slots if values[slot]] or [slots[0]]
        return self.separator.join(
            f" {labels[slot]}{self.colon} {self.join.join(values[slot])}"
            if values[slot]
            else f" {labels[slot]}{self.colon}{self.empty}"
            for slot in slots
        )


def without_duplicates(texts: Sequence[str]) -> list[str]:
    """`texts` without repetitions, in order."""
    return list(dict.fromkeys(texts))


def draw_layout(rng: random.Random) -> AnswerFormat:
    """A random format, not the reserved one, and with two different separators."""
    while True:
        answer_format = AnswerFormat(
            pick(rng, _STYLES),
            pick(rng, _COLONS),
            pick(rng, _JOINS),
            pick(rng, _SEPARATORS),
            pick(rng, _EMPTY),
        )
        alike = answer_format.join.strip() == answer_format.separator.strip()
        if (
            answer_format.colon.strip(),
            answer_format.join,
            answer_format.separator,
        ) != RESERVED and not alike:
            return answer_format


def draw_label_case(rng: random.Random) -> str:
    """The case of a document's labels: "lower", "title" or "upper"."""
    return pick(rng, ("lower", "lower", "title", "upper", "upper"))


def apply_case(text: str, case: str) -> str:
    """`text` in this case."""
    if case == "upper":
        return text.upper()
    return text[:1].upper() + text[1:] if case == "title" else text
