"""The dictionary of training entities: what a lookup without any model would find.

A model that is not clearly better than this has learnt the training set's names, not extraction.
Knows mentions and texts; nothing of tasks, files or metrics.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from harness.entity_text import Mention

# a number with its decimals is one token, so that "5 mg" is not found in "2.5 mg"
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s]|_")


class _Token(NamedTuple):
    text: str  # case-folded
    start: int
    end: int


def _tokens(text: str) -> list[_Token]:
    return [_Token(hit.group().casefold(), *hit.span()) for hit in _TOKEN.finditer(text)]


def _words(text: str) -> tuple[str, ...]:
    return tuple(token.text for token in _tokens(text))


class EntityDictionary:
    """Finds again, longest match first, whole words, in any case, what stood in training.

    Args:
        mentions: of the training split; a form with several labels gets its most frequent one,
            among equals the one met first.
    """

    def __init__(self, mentions: Iterable[Mention]) -> None:
        """Builds the index."""
        counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for label, text in mentions:
            words = _words(text)
            if words:
                counts[words][label] += 1
        self._labels = {words: seen.most_common(1)[0][0] for words, seen in counts.items()}
        lengths: dict[str, set[int]] = defaultdict(set)
        for words in self._labels:
            lengths[words[0]].add(len(words))
        self._lengths = {word: sorted(found, reverse=True) for word, found in lengths.items()}

    def __contains__(self, text: object) -> bool:
        """Whether that surface form, in any case, was an entity in training."""
        return isinstance(text, str) and _words(text) in self._labels

    def find(self, text: str) -> tuple[Mention, ...]:
        """All entries in a text, from left to right, none inside another."""
        tokens = _tokens(text)
        found: list[Mention] = []
        place = 0
        while place < len(tokens):
            step = 1
            for length in self._lengths.get(tokens[place].text, ()):
                window = tokens[place : place + length]
                label = self._labels.get(tuple(token.text for token in window))
                if label is not None:
                    surface = text[window[0].start : window[-1].end]
                    found.append(Mention(label, " ".join(surface.split())))
                    step = length
                    break
            place += step
        return tuple(found)
