"""Writes talks between doctor and patient with their notes: `generate(split, count, seed)`.

Facts are drawn first; talk and note are then two ways of writing them down. What else is said
(small talk, an age, a side or a time that is taken back, an illness of a parent, a drug no longer
taken) is not in the note. Draws come from `random.Random.random` alone, so that equal seeds give
equal rows on every platform and release of Python. Needs nothing but the two files beside it.
"""

from __future__ import annotations

import importlib.util
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


def _beside(name: str) -> Any:
    """A Python file of this folder, which is no package."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"_summary_medical_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


vocabulary = _beside("vocabulary")
phrases = _beside("phrases")

SPLITS = ("train", "validation", "test")
#: Share of the names in validation and test that are drawn from the names held out for that split.
HELD_OUT = 0.6
PART = 0.55  # share of the complaints that are of a part of the body
SINGLE = 0.25  # share of these parts that do not come in pairs
CHAT = 0.2  # share of the talks with a line of small talk
TWO = 0.35  # share of the talks with two questions after the complaint, not one
THANKS = 0.2  # share of the talks that end with the patient's thanks
TAKEN_BACK = 0.35  # share of the talks in which something said is put right, where it can be

_DETAILS = ("worse", "better", "score", "sign")
_BACKGROUND = ("history", "drug", "allergy")
_PLANS = ("test", "treat", "refer", "refer_test")
_ARTICLE = re.compile(r"^(?:a|an|the) ")
_SLOT = re.compile(r"\{(\w+)\}")


class Visit(NamedTuple):
    """A talk, its note, and what the talk says but the note must not.

    Attributes:
        talk: a line for each turn.
        note: one line.
        names: every name of the vocabulary that the note holds, as drawn.
        taken_back: what was put right or belongs to somebody else, as it was said.
    """

    talk: str
    note: str
    names: tuple[str, ...]
    taken_back: tuple[str, ...]


def _pick(rng: random.Random, items: Sequence[T]) -> T:
    return items[int(rng.random() * len(items))]


def _between(rng: random.Random, low: int, high: int) -> int:
    return low + int(rng.random() * (high - low + 1))


def _bare(name: str) -> str:
    """A name as the note has it."""
    return _ARTICLE.sub("", name)


class _Visit:
    """One visit while it is written."""

    def __init__(self, rng: random.Random, split: str) -> None:
        self.rng = rng
        self.lines: Mapping[str, Sequence[str]] = phrases.LINES[split]
        self.split = split
        self.turns: list[str] = []
        self.names: list[str] = []
        self.taken_back: list[str] = []
        self.used: set[str] = set()

    def name(self, parts: Mapping[str, Sequence[str]], noted: bool = True) -> str:
        """A name that this visit does not have yet; in part one held out for its split."""
        held = self.split != "train" and self.rng.random() < HELD_OUT
        names = tuple(parts[self.split if held else "train"])
        while True:
            name = _pick(self.rng, names)
            if name not in self.used:
                self.used.add(name)
                (self.names if noted else self.taken_back).append(name)
                return name

    def drug(self) -> str:
        """A drug with one of its doses."""
        name = self.name(vocabulary.DRUGS)
        doses = next(part[name] for part in vocabulary.DRUGS.values() if name in part)
        return f"{name} {_pick(self.rng, doses)}"

    def span(self) -> str:
        """A number of days, weeks or months."""
        return f"{_between(self.rng, 2, 9)} {_pick(self.rng, vocabulary.UNITS)}"

    def say(self, use: str, **slots: str) -> str:
        """A line of this split with its slots filled."""
        return _SLOT.sub(lambda slot: slots[slot[1]], _pick(self.rng, self.lines[use]))

    def ask(self, use: str, **slots: str) -> None:
        """A question of the doctor's and the answer."""
        asked, answered = self.say(use, **slots).split(" / ")
        self.turns += [f"D: {asked}", f"P: {answered}"]

    def other(self, value: int, low: int, high: int) -> str:
        """A number near by, but another."""
        near = (value - 2, value - 1, value + 1, value + 2)
        return str(_pick(self.rng, [each for each in near if low <= each <= high]))

    def begin(self) -> str:
        """The first two turns; answers who has what and since when, as the note has it."""
        rng = self.rng
        title, who = _pick(rng, vocabulary.TITLES)
        person = f"{title} {_pick(rng, vocabulary.SURNAMES[self.split])}"
        age = _between(rng, 19, 89)
        kind = _pick(rng, ("age", "side", "time")) if rng.random() < TAKEN_BACK else ""
        said = self.other(age, 19, 89) if kind == "age" else str(age)
        self.turns.append(f"D: {self.say('opening', person=person, age=said)}")
        answer = [self.say("wrong" if kind == "age" else "right", age=str(age))]
        if kind == "age":
            self.taken_back.append(said)
        complaint, lines = self._complaint(kind)
        chat = [self._chat(age)] if rng.random() < CHAT else []
        self.turns.append("P: " + " ".join((*answer, *chat, *lines)))
        return f"{age} yo {who}, {complaint}"

    def _chat(self, age: int) -> str:
        rng = self.rng
        return self.say(
            "chat", minutes=str(10 * _between(rng, 1, 5)), other_age=self.other(age, 2, 99)
        )

    def _complaint(self, kind: str) -> tuple[str, list[str]]:
        """The complaint as the note has it, and what the patient says, put right or not."""
        rng = self.rng
        part = kind == "side" or rng.random() < PART
        slots: dict[str, str] = {}
        mended: list[str] = []
        if part:
            does, did, noun = _pick(rng, vocabulary.DOES)
            single = kind != "side" and rng.random() < SINGLE
            where = self.name(vocabulary.SINGLE if single else vocabulary.PAIRED)
            if not single:
                side, wrong = _pick(rng, (("left", "right"), ("right", "left")))
                said = wrong if kind == "side" else side
                slots["where"], where = f"{said} {where}", f"{side} {where}"
            else:
                slots["where"] = where
            if kind == "side":
                self.taken_back.append(slots["where"])
                mended = [self.say("other_side", side=side)]
            slots |= {"does": does, "did": did}
            complaint = f"{where} {noun}"
        else:
            slots["symptom"] = self.name(vocabulary.SYMPTOMS)
            complaint = _bare(slots["symptom"])
        use, time, more = self._time(kind, slots)
        spoken = self.say(f"{'part' if part else 'symptom'}_{use}", **slots)
        return f"{complaint} {time}", [spoken, *mended, *more]

    def _time(self, kind: str, slots: dict[str, str]) -> tuple[str, str, list[str]]:
        """Since when: the way it is said, the note's words, and a line that puts it right."""
        rng = self.rng
        if kind != "time" and rng.random() < 0.3:
            slots["since"] = f"since {_pick(rng, vocabulary.SINCE)}"
            return "since", slots["since"], []
        number, unit = _between(rng, 2, 9), _pick(rng, vocabulary.UNITS)
        right, said, mended = f"{number} {unit}", f"{number} {unit}", []
        if kind == "time":
            said = f"{self.other(number, 2, 9)} {unit}"
            self.taken_back.append(said)
            mended = [self.say("other_time", ago=right)]
        use = _pick(rng, ("since", "ago"))
        slots |= {"since": f"for {said}", "ago": said}
        return use, f"x {right}", mended

    def detail(self, what: str) -> str:
        """A question on the complaint; answers what the note says of it."""
        rng = self.rng
        if what == "worse":
            name = self.name(vocabulary.WORSE)
            self.ask("worse", worse=name)
            return f"worse {name}"
        if what == "better":
            name = self.name(vocabulary.BETTER)
            self.ask("better", better=name)
            return f"better with {_bare(name)}"
        if what == "score":
            score = str(_between(rng, 2, 9))
            self.ask("score", score=score)
            return f"{score}/10"
        way, sign = _pick(rng, ("no", "yes", "one")), self.name(vocabulary.SIGNS)
        absent = self.name(vocabulary.SIGNS) if way == "one" else ""
        self.ask(f"sign_{way}", sign=sign, absent=absent)
        told = {"no": "no {}", "yes": "with {}", "one": "with {}, no {}"}[way]
        return told.format(_bare(sign), _bare(absent))

    def background(self, what: str) -> str:
        """A question on illnesses or drugs; answers a sentence of the note."""
        rng = self.rng
        if what == "history":
            name = self.name(vocabulary.HISTORY)
            if rng.random() < 0.35:
                kin = self.name(vocabulary.HISTORY, noted=False)
                self.ask("history_kin", history=name, kin=kin)
            else:
                self.ask("history", history=name)
            return f"Hx {_bare(name)}."
        if what == "drug":
            drug = self.drug()
            if rng.random() < 0.35:
                old = self.name(vocabulary.DRUGS, noted=False)
                self.ask("drug_new", drug=drug, old=old)
            else:
                self.ask("drug", drug=drug)
            return f"Takes {drug}."
        name = self.name(vocabulary.DRUGS)
        self.ask("allergy", allergy=name)
        return f"Allergic to {name}."

    def plan(self) -> str:
        """The doctor's last turn and perhaps the patient's; answers what the note says of it."""
        rng = self.rng
        kind = _pick(rng, _PLANS)
        slots: dict[str, str] = {}
        if kind == "treat":
            slots = {"treat": self.drug(), "course": self.span()}
            plan = f"{slots['treat']} x {slots['course']}"
        elif kind == "test":
            slots = {"test": self.name(vocabulary.TESTS), "review": self.span()}
            plan = f"{_bare(slots['test'])}, review in {slots['review']}"
        else:
            slots = {"clinic": self.name(vocabulary.CLINICS)}
            plan = f"refer to {_bare(slots['clinic'])}"
            if kind == "refer_test":
                slots["test"] = self.name(vocabulary.TESTS)
                plan = f"{_bare(slots['test'])}, {plan}"
        self.turns.append(f"D: {self.say(kind, **slots)}")
        if rng.random() < THANKS:
            self.turns.append(f"P: {self.say('thanks')}")
        return f"Plan: {plan}."


def visit(rng: random.Random, split: str) -> Visit:
    """One visit of a split."""
    made = _Visit(rng, split)
    head = made.begin()
    topics = [*_DETAILS, *_BACKGROUND]
    told: dict[str, str] = {}
    for _ in range(2 if rng.random() < TWO else 1):
        what = topics.pop(int(rng.random() * len(topics)))
        told[what] = made.detail(what) if what in _DETAILS else made.background(what)
    plan = made.plan()
    # the note has an order of its own, whatever was asked first
    head = ", ".join((head, *(told[each] for each in _DETAILS if each in told)))
    note = " ".join((f"{head}.", *(told[each] for each in _BACKGROUND if each in told), plan))
    return Visit("\n".join(made.turns), note, tuple(made.names), tuple(made.taken_back))


def visits(split: str, count: int, seed: int) -> list[Visit]:
    """Visits of one split, no talk twice; as the splits share no line, they share no talk."""
    rng = random.Random(f"summary_medical {split} {seed}")
    found: dict[str, Visit] = {}
    while len(found) < count:
        one = visit(rng, split)
        found.setdefault(one.talk, one)
    return list(found.values())


def generate(split: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Rows of one split.

    Args:
        split: `train`, `validation` or `test`.
        count: how many.
        seed: equal seeds give equal rows; a smaller count gives the first of a larger.

    Returns:
        Rows `{"id", "input", "output"}`: the talk and its note.
    """
    return [
        {"id": f"{split}-{place}", "input": each.talk, "output": each.note}
        for place, each in enumerate(visits(split, count, seed))
    ]
