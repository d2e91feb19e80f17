"""Turns a task's texts into tagged tokens, in windows where a text is long.

Every token of a text is learnt from, parts of words too: it has the tag of the entity that it
shares characters with. Words are read as a whole, unless entities begin and end inside them. Knows
nothing of models.

Windows over a text that is longer than a model may read, each token read off one of them.

Knows numbers of tokens only.

The tags of tokens whose words say one thing each. Knows numbers only.

A word is outside, begins an entity or goes on with one: of these the likeliest is taken, with the
probabilities of all its tokens. So no entity begins or ends inside a word.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from harness.data import tagging
from harness.data.tagging import OUTSIDE, Place
from harness.errors import UserError
from harness.models.base_model import BaseModel, start_token
from harness.models.batches import IGNORED, TokenSequence
from harness.tasks.task import Example, Task

#: Share of a window that it has in common with the next one, at least.
OVERLAP: Final = 1 / 3


class Window(NamedTuple):
    """A part of a text's tokens.

    Attributes:
        start: its first token.
        end: behind its last token.
        first: the first token that is read off this window and no other.
        behind: behind the last such token.
    """

    start: int
    end: int
    first: int
    behind: int


def windows(tokens: int, room: int) -> tuple[Window, ...]:
    """Equally spaced windows over all tokens; one where they fit into it.

    A token that two windows show is read off the one in which it is farther from the edge.

    Args:
        tokens: of the text.
        room: tokens of a window.
    """
    if not tokens:
        return ()
    if tokens <= room:
        return (Window(0, tokens, 0, tokens),)
    step = max(1, room - round(room * OVERLAP))
    count = 1 + -(-(tokens - room) // step)
    starts = [number * (tokens - room) // (count - 1) for number in range(count)]
    # Halfway between a window's start and the end of the one before.
    borders = [(start + before + room + 1) // 2 for before, start in pairwise(starts)]
    edges = [0, *borders, tokens]
    return tuple(
        Window(start, start + room, edges[number], edges[number + 1])
        for number, start in enumerate(starts)
    )


#: With a larger share of entities that begin or end inside words, tokens are read one by one, as
#: they are where words are not set apart, such as in Chinese.
PARTIAL: Final = 0.01


class TaggedText(NamedTuple):
    """A text as tokens.

    Attributes:
        text: the text.
        places: where each token stands in it.
        words: the first token of each run that says one thing: of each word, or every token.
        parts: the text's windows as the model reads them; tags are 0 for tokens that are read off
            a window, else `IGNORED`.
    """

    text: str
    places: tuple[Place, ...]
    words: tuple[int, ...]
    parts: tuple[TokenSequence, ...]


class TaggedTraining(NamedTuple):
    """What is learnt from.

    Attributes:
        sequences: windows of the training texts, tagged.
        notes: what the user should know of them.
    """

    sequences: tuple[TokenSequence, ...]
    notes: tuple[str, ...]


class TextTagger:
    """How one model reads one task's texts.

    Args:
        base: whose tokenizer to use.
        task: whose texts and entities.
        max_length: tokens of a window, the special ones included; None for what the model allows.

    Raises:
        UserError: the tokenizer does not say where its tokens stand.
    """

    def __init__(self, base: BaseModel, task: Task, max_length: int | None) -> None:
        """Finds the special tokens around a text, and the room between them."""
        self._base, self._tokenizer, self._task = base, base.tokenizer, task
        if not self._tokenizer.is_fast:
            raise UserError(
                f"model.name: {base.name}: its tokenizer does not say where tokens stand in a "
                "text; a head that tags tokens needs a fast one (tokenizer.json)"
            )
        self._before, self._behind = self._around()
        lengths = [length for length in (max_length, base.context) if length is not None]
        self.length = min(lengths, default=None)

    def read(self, examples: Sequence[Example]) -> tuple[TaggedText, ...]:
        """The texts of examples as tokens, to be tagged by a model."""
        found = []
        for example, (ids, places) in zip(examples, self._tokens(examples), strict=True):
            parts = [self._part(ids, window, [0] * len(ids)) for window in self._windows(len(ids))]
            words = self._words(example.text, places)
            found.append(TaggedText(example.text, places, words, tuple(parts)))
        return tuple(found)

    def learnt(self, examples: Sequence[Example]) -> TaggedTraining:
        """The texts of examples as tagged tokens.

        A token is learnt in the window that it is read off; where the beginning of its entity is
        out of that window's sight it is not learnt at all, so that no entity is learnt as two.

        Raises:
            UserError: there is no token at all.
        """
        numbers = {tag: number for number, tag in enumerate(self._task.kind.head.labels)}
        sequences: list[TokenSequence] = []
        entities = overlapping = inexact = long = 0
        for example, (ids, places) in zip(examples, self._tokens(examples), strict=True):
            given = () if example.row is None else example.row.entities
            flat = tagging.non_overlapping(given)
            tags = tagging.tags(flat.kept, places)
            told = {span[:3] for span in tagging.spans(tags, places, example.text)}
            entities, overlapping = entities + len(given), overlapping + flat.left_out
            inexact += sum(
                span[:3] not in told
                or (self.by_word and tagging.inside_words([span], example.text) > 0)
                for span in flat.kept
            )
            cut = self._windows(len(ids))
            long += len(cut) > 1
            begins = _begins(tags)
            for window in cut:
                seen = [
                    numbers[tag] if begin >= window.start else IGNORED
                    for tag, begin in zip(tags, begins, strict=True)
                ]
                part = self._part(ids, window, seen)
                if any(tag != IGNORED for tag in part.tags):
                    sequences.append(part)
        if not sequences:
            raise UserError(f"task {self._task.name}: no training text has a token")
        return TaggedTraining(tuple(sequences), self._notes(entities, overlapping, inexact, long))

    def _notes(self, entities: int, overlapping: int, inexact: int, long: int) -> tuple[str, ...]:
        split = 0 if self.by_word else self._split[1]
        inside = "inside a word or a token" if self.by_word else "inside a token"
        notes = {
            f"{overlapping} of {entities} training entities overlap longer ones and are not "
            "learnt, for a token has one tag; every score counts them": overlapping,
            f"{split} of {entities} training entities begin or end inside a word: the parts of "
            "words are read one by one": split,
            f"{inexact} of {entities} training entities begin or end {inside} of this "
            "model: no head can find them exactly": inexact,
            f"{long} training texts were cut into windows of {self.length} tokens, each of which "
            "shares a third with the next": long,
        }
        return tuple(note for note, count in notes.items() if count)

    @cached_property
    def by_word(self) -> bool:
        """Whether the tokens of a word are read together: few training entities split one."""
        given, split = self._split
        return split <= PARTIAL * given

    @cached_property
    def _split(self) -> tuple[int, int]:
        """Training entities, and those of them that begin or end inside a word."""
        rows = [one.row for one in self._task.examples("train") if one.row is not None]
        return (
            sum(len(row.entities) for row in rows),
            sum(tagging.inside_words(row.entities, row.text) for row in rows),
        )

    def _words(self, text: str, places: Sequence[Place]) -> tuple[int, ...]:
        return tuple(tagging.words(places, text) if self.by_word else range(len(places)))

    def _windows(self, tokens: int) -> tuple[Window, ...]:
        if self.length is None:
            return windows(tokens, max(1, tokens))
        return windows(tokens, max(1, self.length - len(self._before) - len(self._behind)))

    def _part(self, ids: Sequence[int], window: Window, tags: Sequence[int]) -> TokenSequence:
        start, end, first, behind = window
        shown = [tags[at] if first <= at < behind else IGNORED for at in range(start, end)]
        return TokenSequence(
            (*self._before, *ids[start:end], *self._behind),
            0,
            tags=(
                *[IGNORED] * len(self._before),
                *shown,
                *[IGNORED] * len(self._behind),
            ),
        )

    def _tokens(self, examples: Sequence[Example]) -> list[tuple[list[int], tuple[Place, ...]]]:
        if not examples:
            return []
        made = self._tokenizer(
            [example.text for example in examples],
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        places = [tuple((int(a), int(b)) for a, b in each) for each in made["offset_mapping"]]
        return list(zip(made["input_ids"], places, strict=True))

    def _around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The special tokens before and behind a text."""
        made = self._tokenizer("a", return_special_tokens_mask=True)
        ids, special = made["input_ids"], made["special_tokens_mask"]
        inside = [place for place, mark in enumerate(special) if not mark]
        before = tuple(ids[: inside[0]]) or start_token(self._base)
        return before, tuple(ids[inside[-1] + 1 :])


def _begins(tags: Sequence[str]) -> list[int]:
    """For each token where its entity begins; for one outside entities, itself."""
    found: list[int] = []
    for place, tag in enumerate(tags):
        found.append(found[-1] if tag.startswith("I-") else place)
    return found


def word_level_tags(said: np.ndarray, words: Sequence[int], labels: Sequence[str]) -> list[str]:
    """One tag a token, the tokens of a word read together.

    A word that begins an entity says `B-` at its first token and `I-` at all others; one that goes
    on says `I-`, one outside `O` at all. A word of one token has its likeliest tag.

    Args:
        said: log-probability of each tag at each token, shape (tokens, tags).
        words: the first token of each word, see `harness.data.tagging.words`.
        labels: what the tags are called; each `B-` has its `I-`.
    """
    if not len(said):
        return []
    starts = np.asarray(words)
    number = {label: place for place, label in enumerate(labels)}
    # What a tag is called behind the first token of a word that it was said of.
    onwards = [number[_onwards(label)] for label in labels]
    said = said.astype(np.float64)
    later = np.add.reduceat(said, starts, axis=0) - said[starts]
    best = (said[starts] + later[:, onwards]).argmax(axis=1)
    found: list[str] = []
    for tag, size in zip(best, np.diff([*words, len(said)]), strict=True):
        found += [labels[tag]] + [_onwards(labels[tag])] * (int(size) - 1)
    return found


def _onwards(label: str) -> str:
    return label if label == OUTSIDE else f"I-{label.partition('-')[2]}"
