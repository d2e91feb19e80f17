"""Baselines without a model: a dictionary of training entities, copied text, the usual class.

A model that is not clearly better than the dictionary has learned the names of the training set
and not extraction; a summary should be better than the first sentence of the text.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harness.data.rows import Span
from harness.tasks.entity_format import Mention

# A number with its decimals is one token, so that "5 mg" is not found in "2.5 mg".
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s]|_")

# A full stop or the like before white space and a capital or digit; a line end always ends one.
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])|\n+")
_ABBREVIATED = re.compile(r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|vs|e\.g|i\.e|approx|No)|\b[A-Z])\.$")


def copy_input(text: str) -> str:
    """The input itself, on one line."""
    return " ".join(text.split())


def first_sentence(text: str) -> str:
    """The first sentence of a text, or its first line if that ends sooner; on one line.

    A title such as `Dr.` or a single capital ends no sentence.
    """
    text = text.strip()
    for end in _SENTENCE_END.finditer(text):
        head = text[: end.end()].strip()
        if "\n" in end.group() or not _ABBREVIATED.search(head):
            return copy_input(head)
    return copy_input(text)


def most_frequent(classes: Iterable[str]) -> str:
    """The most frequent class of the training split; the first of equally frequent ones.

    Raises:
        ValueError: there are no classes.
    """
    counts = Counter(classes)
    if not counts:
        raise ValueError("no class to choose from")
    return counts.most_common(1)[0][0]


_Form = tuple[str, ...]  # the words of a surface form, case-folded


class _Token(NamedTuple):
    text: str  # case-folded
    start: int
    end: int


def _tokens(text: str) -> list[_Token]:
    return [_Token(hit.group().casefold(), *hit.span()) for hit in _TOKEN.finditer(text)]


def _form_of(text: str) -> _Form:
    return tuple(token.text for token in _tokens(text))


class EntityDictionary:
    """Finds the entities of the training split: longest match, whole words, in any case.

    A form that was an entity at less than half of its occurrences in the training texts is not
    searched for: `WAS`, short for a syndrome, is a verb in most texts.

    Args:
        notes: texts of the training split, each with its mentions; a form with several labels
            gets its most frequent one, the first of equally frequent ones.
    """

    def __init__(self, notes: Iterable[tuple[str, Sequence[Mention]]]) -> None:
        notes = tuple(notes)
        counts: dict[_Form, Counter[str]] = defaultdict(Counter)
        for _, mentions in notes:
            for label, text in mentions:
                if words := _form_of(text):
                    counts[words][label] += 1
        self._labels = {words: labels.most_common(1)[0][0] for words, labels in counts.items()}
        self._index_forms(self._labels)
        self._index_forms(self._labels.keys() - self._mostly_wrong(notes))

    def _index_forms(self, forms: Iterable[_Form]) -> None:
        """Makes `find_spans` search for these forms only."""
        self._forms = frozenset(forms)
        lengths: dict[str, set[int]] = defaultdict(set)
        for words in self._forms:
            lengths[words[0]].add(len(words))
        self._lengths = {word: sorted(counts, reverse=True) for word, counts in lengths.items()}

    def _mostly_wrong(self, notes: Iterable[tuple[str, Sequence[Mention]]]) -> set[_Form]:
        """Forms that are wrong more often than right in these texts."""
        balance: Counter[_Form] = Counter()
        for text, mentions in notes:
            expected = Counter((label, _form_of(surface)) for label, surface in mentions)
            for label, surface in self.find(text):
                words = _form_of(surface)
                balance[words] += 1 if expected[label, words] > 0 else -1
                expected[label, words] -= 1
        return {words for words, value in balance.items() if value < 0}

    def __contains__(self, text: object) -> bool:
        """Whether that surface form, in any case, was an entity in training."""
        return isinstance(text, str) and _form_of(text) in self._labels

    def find(self, text: str) -> tuple[Mention, ...]:
        """All entries in a text, from left to right, none inside another."""
        spans = self.find_spans(text)
        return tuple(Mention(span.label, " ".join(span.text.split())) for span in spans)

    def find_spans(self, text: str) -> tuple[Span, ...]:
        """The same with offsets."""
        tokens = _tokens(text)
        entries: list[Span] = []
        index = 0
        while index < len(tokens):
            step = 1
            for length in self._lengths.get(tokens[index].text, ()):
                window = tokens[index : index + length]
                words = tuple(token.text for token in window)
                if words in self._forms:
                    start, end = window[0].start, window[-1].end
                    entries.append(Span(start, end, self._labels[words], text[start:end]))
                    step = len(words)
                    break
            index += step
        return tuple(entries)
