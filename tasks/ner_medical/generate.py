"""Writes clinical notes with their entities: `generate(split, count, seed)`.

Each note is a sentence, some with a second one that has no entity. Draws come from
`random.Random.random` alone, so that equal seeds give equal notes on every platform and release of
Python. Needs nothing but the two files beside it.
"""

from __future__ import annotations

import importlib.util
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def _beside(name: str) -> Any:
    """A Python file of this folder, which is no package."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"_ner_medical_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


vocabulary = _beside("vocabulary")
frames = _beside("frames")

SPLITS = ("train", "validation", "test")
LABELS = {"M": "MEDICATION", "D": "DOSAGE", "E": "DOSAGE", "C": "CONDITION", "P": "PROCEDURE"}
#: Share of the names in validation and test that are drawn from the names held out for that split.
HELD_OUT = 0.68
LONGER = 0.15  # share of notes that go on with a second sentence, one without an entity
TERSE = 0.35  # share of notes in telegraphic style
QUIET = 0.15  # share of notes whose first sentence has no entity
TIGHT = 0.3  # share of the terse notes that write "10mg" for "10 mg"

_SLOT = re.compile(r"\{(\w+)\}")
_OFTEN = (
    "daily", "twice daily", "BID", "at bedtime", "every 8 hours", "every morning", "TID", "weekly",
    "once a day", "three times a day", "in the evening", "every other day", "q6h", "with meals",
)  # fmt: skip
_WHEN = (
    "today", "yesterday", "last week", "last month", "this morning", "in March", "on Monday",
    "in the spring", "overnight", "two weeks ago",
)  # fmt: skip
_DOCTORS = (
    "Dr. Lee", "Dr. Patel", "Dr. Morgan", "Dr. Okafor", "Dr. Silva", "Dr. Novak", "cardiology",
    "the surgeon", "the nurse practitioner", "Dr. Haddad",
)  # fmt: skip
_PLAIN = {"often": _OFTEN, "when": _WHEN, "doctor": _DOCTORS}
_DECIMAL = {"decimal": (1, 6), "temperature": (36, 38)}
_WHOLE = {
    "age": (19, 92), "few": (2, 9), "glucose": (72, 240), "sodium": (128, 145), "pulse": (52, 110),
    "systolic": (98, 178), "diastolic": (56, 98), "percent": (91, 99), "year": (1998, 2024),
}  # fmt: skip


def _pick(rng: random.Random, items: Sequence[T]) -> T:
    return items[int(rng.random() * len(items))]


def _between(rng: random.Random, low: int, high: int) -> int:
    return low + int(rng.random() * (high - low + 1))


class _Note:
    """One note while it is written."""

    def __init__(self, rng: random.Random, split: str) -> None:
        self.rng = rng
        self.split = split
        self.text = ""
        self.entities: list[dict[str, Any]] = []
        self.terse = rng.random() < TERSE
        self.tight = self.terse and rng.random() < TIGHT
        self.who = _pick(rng, ("patient", "man", "woman", "gentleman", "lady"))
        self.used: set[str] = set()

    def name(self, parts: dict[str, Sequence[str]]) -> str:
        """A name that this note does not have yet; in part one held out for its split."""
        held = self.split != "train" and self.rng.random() < HELD_OUT
        names = tuple(parts[self.split if held else "train"])
        while True:
            name = _pick(self.rng, names)
            if name not in self.used:
                self.used.add(name)
                return name

    def sentence(self, frame: str) -> None:
        """Appends a frame with its slots filled."""
        if self.text:
            self.text += " "
        filled: dict[str, str] = {}
        pieces = _SLOT.split(frame)
        start = len(self.text)
        for place, piece in enumerate(pieces):
            if place % 2 == 0:
                self.text += piece
                continue
            if piece[0] not in LABELS:
                value = self._plain(piece)
            elif piece in filled:
                value = filled[piece]
            else:
                value = self._fill(piece, filled)
            if len(self.text) == start:
                value = value[0].upper() + value[1:]
            if piece[0] in LABELS:
                self._entity(LABELS[piece[0]], value)
            self.text += value

    def _entity(self, label: str, value: str) -> None:
        start = len(self.text)
        self.entities.append(
            {"start": start, "end": start + len(value), "label": label, "text": value}
        )

    def _fill(self, slot: str, filled: dict[str, str]) -> str:
        """Draws what an entity's slot holds; a drug is drawn together with its doses."""
        kind, number = slot[0], slot[1:]
        if kind in "MDE":
            name = self.name(vocabulary.MEDICATIONS)
            doses = next(part[name] for part in vocabulary.MEDICATIONS.values() if name in part)
            chosen = _pick(self.rng, doses)
            others = [dose for dose in doses if dose != chosen] or list(doses)
            filled[f"M{number}"] = name
            filled[f"D{number}"] = self._dose(chosen)
            filled[f"E{number}"] = self._dose(_pick(self.rng, others))
        elif kind == "C":
            filled[slot] = self.name(vocabulary.CONDITIONS)
        else:
            filled[slot] = self.name(vocabulary.PROCEDURES)
        return filled[slot]

    def _dose(self, dose: str) -> str:
        return dose.replace(" ", "") if self.tight else dose

    def _plain(self, slot: str) -> str:
        """A value that is no entity."""
        rng = self.rng
        if slot == "who":
            return self.who
        if slot in _PLAIN:
            return _pick(rng, _PLAIN[slot])
        if slot == "date":
            return f"{_between(rng, 1, 12)}/{_between(rng, 1, 28)}/20{_between(rng, 10, 25)}"
        if slot in _DECIMAL:
            return f"{_between(rng, *_DECIMAL[slot])}.{_between(rng, 0, 9)}"
        return str(_between(rng, *_WHOLE[slot]))


def _note(rng: random.Random, split: str) -> _Note:
    note = _Note(rng, split)
    said, quiet = ("terse", "quiet_terse") if note.terse else ("full", "quiet")
    first = _pick(rng, frames.FRAMES[split][quiet if rng.random() < QUIET else said])
    note.sentence(first)
    if rng.random() < LONGER:
        others = [frame for frame in frames.FRAMES[split][quiet] if frame != first]
        note.sentence(_pick(rng, others))
    return note


def generate(split: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Notes of one split, no text twice; as the splits share no frame, they share no text.

    Args:
        split: `train`, `validation` or `test`.
        count: how many.
        seed: equal seeds give equal notes; a smaller count gives the first of a larger.

    Returns:
        Rows `{"id", "text", "entities": [{"start", "end", "label", "text"}]}`, offsets in code
        points, entities in the order of the text.
    """
    rng = random.Random(f"ner_medical {split} {seed}")
    rows: list[dict[str, Any]] = []
    texts: set[str] = set()
    while len(rows) < count:
        note = _note(rng, split)
        if note.text not in texts:
            texts.add(note.text)
            rows.append(
                {"id": f"{split}-{len(rows)}", "text": note.text, "entities": note.entities}
            )
    return rows
