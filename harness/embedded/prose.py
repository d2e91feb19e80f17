"""Prose documents: clinical notes with a line drawn from them, dialogues with one line."""

import random

from harness.embedded import fillers, words
from harness.embedded.clinical import PROSE
from harness.embedded.layouts import unique
from harness.embedded.sentences import Document, any_case, passage
from harness.embedded.words import pick

_SECTIONS = ("HISTORY:", "EXAM:", "COURSE:", "IMPRESSION:", "PLAN:", "History:", "Labs:", "Today:")


def note(rng: random.Random, budget: int) -> Document:
    """Some sentences of a clinical note, often with a line that repeats a part of them."""
    count = 2 + int(rng.random() * (5 if budget > 300 else 3))
    text, found = passage(rng, PROSE, count, any_case(rng))
    if rng.random() < 0.3:
        text = f" {pick(rng, _SECTIONS)}{text}"
    segments: Document = [(text + "\n", 0.6)]

    def values(slot: str) -> list[str]:
        return unique([span for key, span in found if key == slot])

    kind = rng.random()
    if kind < 0.3:
        parts = values("illness")[:2] + values("exam")[:1] + values("drug")[:2]
        segments += [(" In short:", 0.3), (f" {'; '.join(parts) or 'nothing new'}.\n", 1.0)]
    elif kind < 0.5:
        segments += [(" Takes:", 0.3), (f" {' and '.join(values('drug')) or 'nothing'}\n", 1.0)]
    elif kind < 0.65:
        illness = " and ".join(values("illness")) or "nothing"
        segments += [(" ILLS:", 0.3), (f" {illness}\n", 1.0)]
    elif kind < 0.8:
        tokens = text.split()
        start = int(rng.random() * len(tokens))
        quoted = tokens[start : start + 14]
        segments += [(f" Quote: {' '.join(quoted[:2])}", 0.2)]
        segments += [(f" {' '.join(quoted[2:])}\n", 1.0)]
    return segments


def dialogue(rng: random.Random, _budget: int) -> Document:
    """A short talk between two people and one line that says what was agreed."""
    one, two = words.name(rng).split()[0], words.name(rng).split()[0]
    thing, city = words.phrase(rng), words.name(rng)
    day, much = fillers.date(rng), fillers.quantity(rng)
    hello = pick(rng, ("Hi", "Hello", "Good day", "Hey"))
    bye = pick(rng, ("Ok", "Fine", "Sure", "Good"))
    talks = (
        (f"{one}: {hello} {two}, did you get the {thing}?\n {two}: Yes, {much} from {city}.\n "
         f"{one}: {bye}.", f"{two} got {much} of {thing} from {city}."),
        (f"{one}: {hello}, when do you go to {city}?\n {two}: On {day}, with {thing}.\n "
         f"{one}: {bye}, bye.", f"{two} goes to {city} on {day} with {thing}."),
        (f"{one}: {hello} {two}. The {thing} is broken.\n {two}: {bye}, I will come on {day}.\n "
         f"{one}: Thanks.", f"{two} will fix the {thing} of {one} on {day}."),
        (f"{one}: {two}, can you buy {much} of {thing}?\n {two}: No, only in {city}.\n "
         f"{one}: {bye}.", f"{one} wants {much} of {thing}, sold in {city}."),
    )  # fmt: skip
    talk, line = pick(rng, talks)
    head = pick(rng, ("\n Summary:", "\n in one line:", "\n TL;DR:"))
    return [(f" {talk}{head}", 0.15), (f" {line}\n", 1.0)]
