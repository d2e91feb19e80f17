"""The pretraining corpus: an endless, seeded stream of documents, never the same one twice.

A document is a list of (text, loss weight): what cannot be predicted counts little, answers count
fully. Words are preceded by a blank, so that a word has the same tokens wherever it stands; in a
part of the documents lines begin without one, as lines of real text do.
"""

import random
from collections.abc import Callable, Mapping

from harness.embedded import copying, extraction, prose
from harness.embedded.clinical import CLINICAL, PROSE
from harness.embedded.everyday import EVERYDAY
from harness.embedded.sentences import Document

Maker = Callable[[random.Random, int], Document]

#: Every sentence frame of the corpus, so that a benchmark can check that it shares none.
FRAMES: tuple[str, ...] = tuple(
    frame for domain in (*EVERYDAY, CLINICAL, PROSE) for frame in domain.frames
)

MAKERS: Mapping[str, Maker] = {
    "episode": extraction.episode,
    "questions": extraction.questions,
    "dialogue_questions": extraction.dialogue_questions,
    "repeat": copying.repeat,
    "key_values": copying.key_values,
    "lists": copying.lists,
    "marked": copying.marked,
    "convert": copying.convert,
    "recase": copying.recase,
    "note": prose.note,
    "dialogue": prose.dialogue,
}

#: Relative frequency of documents while copying is learnt, and after that.
COPYING_FIRST: Mapping[str, float] = {
    "episode": 3, "questions": 3, "dialogue_questions": 2, "repeat": 42, "key_values": 15,
    "lists": 10, "marked": 14, "convert": 5, "recase": 1, "note": 4, "dialogue": 1,
}  # fmt: skip
MIXED: Mapping[str, float] = {
    "episode": 40, "questions": 18, "dialogue_questions": 7, "repeat": 13, "key_values": 6,
    "lists": 5, "marked": 4, "convert": 4, "recase": 2, "note": 8, "dialogue": 3,
}  # fmt: skip


class Corpus:
    """Draws documents with one random generator."""

    def __init__(self, seed: int) -> None:
        """The same `seed` gives the same documents, whatever the machine."""
        self._rng = random.Random(seed)

    def document(self, budget: int, mix: Mapping[str, float] = MIXED) -> Document:
        """One document of about `budget` letters at most, of a kind drawn from `mix`."""
        kind = self._rng.choices(tuple(mix), tuple(mix.values()))[0]
        segments = MAKERS[kind](self._rng, budget)
        return _unindented(segments) if self._rng.random() < 0.4 else segments


def _unindented(segments: Document) -> Document:
    """The document with no blank at the start of its lines."""
    result: Document = []
    line_start = True
    for text, weight in segments:
        stripped = text.replace("\n ", "\n")
        if line_start:
            stripped = stripped.removeprefix(" ")
        result.append((stripped, weight))
        line_start = stripped.endswith("\n")
    return result


def text_of(document: Document) -> str:
    """The document as one string."""
    return "".join(text for text, _ in document)
