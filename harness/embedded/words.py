"""Invents words, phrases, names and labels that no list holds.

A base model that has only copied strings it knows cannot copy a drug name it has never met. So
most fillers of the corpus are new each time, and they look like real ones: a third come from the
letter trigrams of real words, because words made of syllables alone did not transfer.
"""

import random
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from harness.embedded.vocabulary import (
    CODAS,
    COMMON,
    CONDITIONS,
    MEDICATIONS,
    ONSETS,
    PROCEDURES,
    SUFFIXES,
    VOWELS,
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
