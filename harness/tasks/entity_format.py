"""Entities as the text that a model writes, and back.

A line such as ` MEDICATION: Lisinopril; Metformin | DOSAGE: 10 mg | CONDITION: none`: the labels,
or the names given to them, in a fixed order, mentions in the order of the text and as often as
they stand there. A separator inside a mention is written behind a backslash. Knows nothing of
tasks, files or metrics.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

_ESCAPE = "\\"


class Mention(NamedTuple):
    """A label and a surface form; white space in it is collapsed."""

    label: str
    text: str


class Parsed(NamedTuple):
    """What was read from an output.

    Attributes:
        prediction: the mentions that could be read.
        unparsed: whether any part of the line could not be read, or a label is missing. What
            could not be read is not in `prediction`, so its mentions count as missed.
    """

    prediction: tuple[Mention, ...]
    unparsed: bool


@dataclass(frozen=True)
class EntityFormat:
    """How entities are written.

    Attributes:
        labels: in the order of writing.
        after_label: one visible character between a label and its mentions, such as `:`.
        between_items: the same between mentions, such as `;`.
        between_labels: the same between labels, such as `|`.
        empty: the word for no mention.
        names: how a label is written; those left out are written as they are.
    """

    labels: tuple[str, ...]
    after_label: str = ":"
    between_items: str = ";"
    between_labels: str = "|"
    empty: str = "none"
    names: Mapping[str, str] = field(default_factory=dict)

    def write(self, mentions: Iterable[tuple[str, str]]) -> str:
        """The line for these mentions, with a blank in front.

        Raises:
            ValueError: a mention has a label that is none of the layout's, or is blank.
        """
        by_label: dict[str, list[str]] = {label: [] for label in self.labels}
        for label, text in mentions:
            if label not in by_label or not text.strip():
                raise ValueError(f"cannot write {label!r}: {text!r}; labels: {self.labels}")
            by_label[label].append(self._escape(" ".join(text.split())))
        joint = f"{self.between_items} "
        parts = [
            f"{self.names.get(label, label)}{self.after_label} {joint.join(texts) or self.empty}"
            for label, texts in by_label.items()
        ]
        return " " + f" {self.between_labels} ".join(parts)

    def parse(self, output: str) -> Parsed:
        """Reads the first line of an output; never raises."""
        line = output.partition("\n")[0]
        labels = {self.names.get(label, label): label for label in self.labels}
        mentions: list[Mention] = []
        seen_labels: list[str] = []
        faulty = False
        for part in _split_unescaped(line, self.between_labels):
            head, colon, tail = part.partition(self.after_label)
            label = labels.get(head.strip())
            if not colon or label is None:
                faulty = True
                continue
            seen_labels.append(label)
            items = [item.strip() for item in _split_unescaped(tail, self.between_items)]
            if items == [self.empty]:
                continue
            texts = [_unescape(item) for item in items if item not in ("", self.empty)]
            faulty = faulty or len(texts) < len(items)
            mentions += [Mention(label, text) for text in texts]
        return Parsed(tuple(mentions), faulty or sorted(seen_labels) != sorted(self.labels))

    def _escape(self, text: str) -> str:
        if text == self.empty:
            return _ESCAPE + text
        marks = re.escape(_ESCAPE + self.between_items + self.between_labels)
        return re.sub(f"[{marks}]", lambda hit: _ESCAPE + hit.group(), text)


def _split_unescaped(text: str, mark: str) -> list[str]:
    """Cuts at every `mark` that does not stand behind a backslash."""
    parts: list[str] = []
    start = position = 0
    while position < len(text):
        if text[position] == _ESCAPE:
            position += 1
        elif text[position] == mark:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


def _unescape(text: str) -> str:
    return " ".join(re.sub(r"\\(.)", r"\1", text).split())
