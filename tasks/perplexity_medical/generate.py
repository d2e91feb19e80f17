"""Writes reports of operations: `generate(split, count, seed)`.

A report has three lines of heads (operation, diagnosis, anesthesia), one that tells the steps in
their order, and one on what comes after. Draws come from `random.Random.random` alone, so that
equal seeds give equal reports on every platform and release of Python. Needs nothing but the two
files beside it.
"""

from __future__ import annotations

import importlib.util
import math
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


def _beside(name: str) -> Any:
    """A Python file of this folder, which is no package."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"_perplexity_medical_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


vocabulary = _beside("vocabulary")
phrases = _beside("phrases")

SPLITS = ("train", "validation", "test")
#: Share of the names in validation and test that are drawn from the names held out for that split.
HELD_OUT = 0.35
STEPS = (2, 3)  # how many steps of an operation are told
COVERED = 0.75  # share of the reports that name an antibiotic
SIDED = ("bone", "joint")  # families whose operations have a side

#: Sentences by their part of a report, then by split, each a tuple of alternatives.
_BEGINNING = {split: phrases.sentences(phrases.BEGINNING, split) for split in SPLITS}
_ENDING = {split: phrases.sentences(phrases.ENDING, split) for split in SPLITS}
_STEPS = {
    split: {family: phrases.sentences(each, split) for family, each in phrases.STEPS.items()}
    for split in SPLITS
}
_SLOT = re.compile(r"\{(\w+)\}")


class Report(NamedTuple):
    """A report and how much of it was chance.

    Attributes:
        text: five lines.
        names: every name of the vocabulary in it, as drawn.
        nats: minus the log-likelihood of all that was drawn; a reader who knew this generator by
            heart, its held-out names included, would be surprised by so much and no more.
    """

    text: str
    names: tuple[str, ...]
    nats: float


class _Writer:
    """One report while it is written."""

    def __init__(self, rng: random.Random, split: str) -> None:
        self.rng = rng
        self.split = split
        self.names: list[str] = []
        self.nats = 0.0
        self.known: dict[str, str] = {}

    def pick(self, items: Sequence[T]) -> T:
        self.nats += math.log(len(items))
        return items[int(self.rng.random() * len(items))]

    def chance(self, share: float) -> bool:
        happens = self.rng.random() < share
        self.nats -= math.log(share if happens else 1 - share)
        return happens

    def some(self, count: int, items: Sequence[T]) -> list[T]:
        """So many of `items`, in their order."""
        left = list(range(len(items)))
        self.nats += math.log(math.comb(len(items), count))
        while len(left) > count:
            left.pop(int(self.rng.random() * len(left)))
        return [items[place] for place in left]

    def part(self) -> str:
        """From which part of a list to draw: in part the one held out for this split."""
        held = self.split != "train" and self.chance(HELD_OUT)
        return self.split if held else "train"

    def slot(self, name: str) -> str:
        """What stands in a slot; organ, tissue and antibiotic stay the same in a report."""
        if name in self.known:
            return self.known[name]
        if name in vocabulary.NUMBERS:
            low, high, step = vocabulary.NUMBERS[name]
            return str(self.pick(range(low, high + 1, step)))
        found: str = self.pick(vocabulary.LISTS[name][self.part()])
        self.names.append(found)
        return found

    def sentence(self, alternatives: Sequence[str]) -> str:
        """One of these sentences, its slots filled, with a capital."""
        text = _SLOT.sub(lambda slot: self.slot(slot[1]), self.pick(alternatives))
        return text[0].upper() + text[1:]


def report(rng: random.Random, split: str) -> Report:
    """One report of a split."""
    writer = _Writer(rng, split)
    families: Mapping[str, Any] = vocabulary.OPERATIONS
    family = writer.pick(tuple(families))
    operation = writer.pick(families[family][writer.part()])
    diagnosis = writer.pick(operation.diagnoses)
    writer.names += [operation.name, diagnosis]
    writer.known |= {"organ": operation.organ, "tissue": operation.tissue}
    side = f", {writer.pick(('left', 'right'))}" if family in SIDED else ""
    heads = [f"OP: {operation.name}{side}", f"DX: {diagnosis}{side}"]
    covered = ""
    if writer.chance(COVERED):
        writer.known["drug"] = writer.slot("drug")
        covered = f". ABX: {writer.known['drug']}"
    heads.append(f"ANES: {writer.slot('anesthesia')}{covered}")
    told = writer.some(writer.pick(STEPS), _STEPS[split][family])
    body = " ".join(writer.sentence(each) for each in (writer.pick(_BEGINNING[split]), *told))
    end = writer.sentence(writer.pick(_ENDING[split]))
    return Report("\n".join((*heads, body, end)), tuple(writer.names), writer.nats)


def reports(split: str, count: int, seed: int) -> list[Report]:
    """Reports of one split, no text twice; as the splits share no sentence, they share no text."""
    rng = random.Random(f"perplexity_medical {split} {seed}")
    found: dict[str, Report] = {}
    while len(found) < count:
        one = report(rng, split)
        found.setdefault(one.text, one)
    return list(found.values())


def generate(split: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Rows of one split.

    Args:
        split: `train`, `validation` or `test`.
        count: how many.
        seed: equal seeds give equal rows; a smaller count gives the first of a larger.

    Returns:
        Rows `{"id", "text"}`.
    """
    return [
        {"id": f"{split}-{place}", "text": each.text}
        for place, each in enumerate(reports(split, count, seed))
    ]
