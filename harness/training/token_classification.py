"""Texts as tagged tokens, in overlapping windows where they are long, and predicted tags of words.

In training every token has the tag of the entity with which it shares characters. Each word gets
one prediction from the probabilities of all its tokens, so that no entity begins or ends inside a
word, unless the training entities do so.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from harness.data import tagging
from harness.data.tagging import OUTSIDE, Offsets
from harness.errors import UserError
from harness.models.base_model import BaseModel, start_token
from harness.models.batches import IGNORED, TokenSequence
from harness.tasks.task import Example, Task

#: Smallest share of a window that overlaps with the next one.
OVERLAP: Final = 1 / 3


class Window(NamedTuple):
    """A range of a text's tokens.

    Attributes:
        start: first token of the window.
        end: one past its last token.
        read_start: first token whose tag is read from this window; each token has one window.
        read_end: one past the last such token.
    """

    start: int
    end: int
    read_start: int
    read_end: int


def windows(tokens: int, room: int) -> tuple[Window, ...]:
    """Equally spaced windows over all tokens; a single one where they fit into it.

    A token in two windows is read from the one in which it is farther from the edge.

    Args:
        tokens: number of tokens of the text.
        room: tokens of a window.
    """
    if not tokens:
        return ()
    if tokens <= room:
        return (Window(0, tokens, 0, tokens),)
    step = max(1, room - round(room * OVERLAP))
    count = 1 + -(-(tokens - room) // step)
    starts = [number * (tokens - room) // (count - 1) for number in range(count)]
    # Halfway between a window's start and the end of its predecessor.
    borders = [(start + before + room + 1) // 2 for before, start in pairwise(starts)]
    edges = [0, *borders, tokens]
    return tuple(
        Window(start, start + room, edges[number], edges[number + 1])
        for number, start in enumerate(starts)
    )


#: With a larger share of entities that begin or end inside words, each token is predicted by
#: itself, as in languages that do not separate words, such as Chinese.
MAX_PARTIAL_SHARE: Final = 0.01


class TaggedText(NamedTuple):
    """A text as tokens.

    Attributes:
        text: the text.
        offsets: start and end of each token in the text, in characters.
        words: first token of each word, or every token where tokens are predicted by themselves.
        parts: the text's windows as token sequences; tags are 0 for tokens that are read from a
            window, else `IGNORED`.
    """

    text: str
    offsets: tuple[Offsets, ...]
    words: tuple[int, ...]
    parts: tuple[TokenSequence, ...]


class TextTagger:
    """Tokenizes one task's texts for one model's token classification.

    Args:
        base: the model whose tokenizer to use.
        task: the task with texts and entities.
        max_length: most tokens of a window, special ones included; None for the model's context.

    Raises:
        UserError: the tokenizer does not report the offsets of its tokens.
    """

    def __init__(self, base: BaseModel, task: Task, max_length: int | None) -> None:
        self._base, self._tokenizer, self._task = base, base.tokenizer, task
        if not self._tokenizer.is_fast:
            raise UserError(
                f"model.name: {base.name}: its tokenizer does not report the offsets of tokens; "
                "token classification needs a fast one (tokenizer.json)"
            )
        self._before, self._after = self._special_tokens()
        lengths = [length for length in (max_length, base.context) if length is not None]
        self.length = min(lengths, default=None)

    def tokenize(self, examples: Sequence[Example]) -> tuple[TaggedText, ...]:
        """The texts of examples as tokens for a model to tag."""
        texts = []
        for example, (ids, offsets) in zip(examples, self._encode(examples), strict=True):
            no_tags = [0] * len(ids)
            spans = self._windows(len(ids))
            parts = [self._window_sequence(ids, window, no_tags) for window in spans]
            words = self._words(example.text, offsets)
            texts.append(TaggedText(example.text, offsets, words, tuple(parts)))
        return tuple(texts)

    def tokenize_training(
        self, examples: Sequence[Example]
    ) -> tuple[tuple[TokenSequence, ...], tuple[str, ...]]:
        """The texts of examples as tagged windows, and messages for the user.

        A token has a loss in the window from which it is read; not if its entity begins before
        that window, or a part of an entity would be learned as an entity.

        Raises:
            UserError: the texts have no token.
        """
        numbers = {tag: number for number, tag in enumerate(self._task.type.head.labels)}
        sequences: list[TokenSequence] = []
        entities = overlapping = inexact = long = 0
        for example, (ids, offsets) in zip(examples, self._encode(examples), strict=True):
            entities_of_text = () if example.row is None else example.row.entities
            flattened = tagging.non_overlapping(entities_of_text)
            tags = tagging.spans_to_tags(flattened.entities, offsets)
            recovered = {span[:3] for span in tagging.tags_to_spans(tags, offsets, example.text)}
            entities += len(entities_of_text)
            overlapping += flattened.dropped
            inexact += sum(
                span[:3] not in recovered
                or (self.by_word and tagging.count_inside_words([span], example.text) > 0)
                for span in flattened.entities
            )
            text_windows = self._windows(len(ids))
            long += len(text_windows) > 1
            begins = _entity_starts(tags)
            for window in text_windows:
                window_tags = [
                    numbers[tag] if begin >= window.start else IGNORED
                    for tag, begin in zip(tags, begins, strict=True)
                ]
                part = self._window_sequence(ids, window, window_tags)
                if any(tag != IGNORED for tag in part.tags):
                    sequences.append(part)
        if not sequences:
            raise UserError(f"task {self._task.name}: no training text has a token")
        return tuple(sequences), self._notes(entities, overlapping, inexact, long)

    def _notes(self, entities: int, overlapping: int, inexact: int, long: int) -> tuple[str, ...]:
        split = 0 if self.by_word else self._words_split[1]
        inside = "inside a word or a token" if self.by_word else "inside a token"
        notes = {
            f"{overlapping} of {entities} training entities overlap longer ones and are not "
            "learned, since a token has one tag; scores count them": overlapping,
            f"{split} of {entities} training entities begin or end inside a word: each token is "
            "predicted by itself": split,
            f"{inexact} of {entities} training entities begin or end {inside} of this "
            "model: no head can predict them exactly": inexact,
            f"{long} training texts were cut into windows of {self.length} tokens, each of which "
            "shares a third with the next": long,
        }
        return tuple(note for note, count in notes.items() if count)

    @cached_property
    def by_word(self) -> bool:
        """Whether the tokens of a word get one prediction: few training entities split a word."""
        entities, split = self._words_split
        return split <= MAX_PARTIAL_SHARE * entities

    @cached_property
    def _words_split(self) -> tuple[int, int]:
        """Number of training entities, and of those that begin or end inside a word."""
        rows = [example.row for example in self._task.examples("train") if example.row is not None]
        return (
            sum(len(row.entities) for row in rows),
            sum(tagging.count_inside_words(row.entities, row.text) for row in rows),
        )

    def _words(self, text: str, offsets: Sequence[Offsets]) -> tuple[int, ...]:
        return tuple(tagging.word_starts(offsets, text) if self.by_word else range(len(offsets)))

    def _windows(self, tokens: int) -> tuple[Window, ...]:
        if self.length is None:
            return windows(tokens, max(1, tokens))
        return windows(tokens, max(1, self.length - len(self._before) - len(self._after)))

    def _window_sequence(
        self, ids: Sequence[int], window: Window, tags: Sequence[int]
    ) -> TokenSequence:
        start, end, first, last = window
        before, after = self._before, self._after
        read = [tags[index] if first <= index < last else IGNORED for index in range(start, end)]
        all_tags = (*[IGNORED] * len(before), *read, *[IGNORED] * len(after))
        return TokenSequence((*before, *ids[start:end], *after), 0, tags=all_tags)

    def _encode(self, examples: Sequence[Example]) -> list[tuple[list[int], tuple[Offsets, ...]]]:
        if not examples:
            return []
        encoded = self._tokenizer(
            [example.text for example in examples],
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        mapping = encoded["offset_mapping"]
        offsets = [tuple((int(start), int(end)) for start, end in pairs) for pairs in mapping]
        return list(zip(encoded["input_ids"], offsets, strict=True))

    def _special_tokens(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The special tokens before and after a text."""
        encoded = self._tokenizer("a", return_special_tokens_mask=True)
        ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
        inside = [index for index, mark in enumerate(special) if not mark]
        before = tuple(ids[: inside[0]]) or start_token(self._base)
        return before, tuple(ids[inside[-1] + 1 :])


def _entity_starts(tags: Sequence[str]) -> list[int]:
    """For each token the first token of its entity; for one outside entities, itself."""
    begins: list[int] = []
    for index, tag in enumerate(tags):
        begins.append(begins[-1] if tag.startswith("I-") else index)
    return begins


def word_level_tags(
    log_probabilities: np.ndarray, words: Sequence[int], labels: Sequence[str]
) -> list[str]:
    """One tag for each token, chosen for each word from the probabilities of all its tokens.

    A word that begins an entity has `B-` at its first token and `I-` at the others; one that
    continues an entity has `I-` and one outside `O` at all tokens.

    Args:
        log_probabilities: log-probability of each tag at each token, shape (tokens, tags).
        words: the first token of each word, see `harness.data.tagging.word_starts`.
        labels: names of the tags; each `B-` has its `I-`.
    """
    if not len(log_probabilities):
        return []
    starts = np.asarray(words)
    tag_index = {label: index for index, label in enumerate(labels)}
    # The tag that each tag has from the second token of a word on.
    onwards = [tag_index[_continuation_tag(label)] for label in labels]
    log_probabilities = log_probabilities.astype(np.float64)
    continuation = np.add.reduceat(log_probabilities, starts, axis=0) - log_probabilities[starts]
    best = (log_probabilities[starts] + continuation[:, onwards]).argmax(axis=1)
    tags: list[str] = []
    for tag, size in zip(best, np.diff([*words, len(log_probabilities)]), strict=True):
        tags += [labels[tag]] + [_continuation_tag(labels[tag])] * (int(size) - 1)
    return tags


def _continuation_tag(label: str) -> str:
    return label if label == OUTSIDE else f"I-{label.partition('-')[2]}"
