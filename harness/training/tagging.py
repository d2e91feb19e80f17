"""Turns a task's texts into tagged tokens, in windows where a text is long.

Every token of a text is learnt from, parts of words too: it has the tag of the entity that it
shares characters with. Words are read as a whole, unless entities begin and end inside them. Knows
nothing of models.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Final, NamedTuple

from harness import entity_tags
from harness.entity_tags import Place
from harness.errors import UserError
from harness.models.base_model import BaseModel
from harness.models.tokens import IGNORED, TokenSequence
from harness.task import Example, Task
from harness.training.prompting import start_token
from harness.training.windows import Window, windows

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


class Learnt(NamedTuple):
    """What is learnt from.

    Attributes:
        sequences: windows of the training texts, tagged.
        notes: what the user should know of them.
    """

    sequences: tuple[TokenSequence, ...]
    notes: tuple[str, ...]


class Tagging:
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

    def learnt(self, examples: Sequence[Example]) -> Learnt:
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
            flat = entity_tags.flat(given)
            tags = entity_tags.tags(flat.kept, places)
            told = {span[:3] for span in entity_tags.spans(tags, places, example.text)}
            entities, overlapping = entities + len(given), overlapping + flat.left_out
            inexact += sum(
                span[:3] not in told
                or (self.by_word and entity_tags.inside_words([span], example.text) > 0)
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
        return Learnt(tuple(sequences), self._notes(entities, overlapping, inexact, long))

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
            sum(entity_tags.inside_words(row.entities, row.text) for row in rows),
        )

    def _words(self, text: str, places: Sequence[Place]) -> tuple[int, ...]:
        return tuple(entity_tags.words(places, text) if self.by_word else range(len(places)))

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
