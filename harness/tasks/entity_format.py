"""Entities as the line of text that a model generates, and back.

A line such as ` MEDICATION: Lisinopril; Metformin | DOSAGE: 10 mg | CONDITION: none`: the labels
(or their names in task.yaml) in a fixed order, each with its mentions in the order of the text,
repeated ones included. A backslash escapes a separator inside a mention.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_ESCAPE = "\\"


class Mention(NamedTuple):
    """A label and a surface form, with white space collapsed."""

    label: str
    text: str


class Parsed(NamedTuple):
    """A parsed output.

    Attributes:
        prediction: as the task type's metrics take it.
        unparsed: whether any part of the output could not be parsed, or a label is missing. Such
            parts are not in `prediction`, so their mentions count as missed.
    """

    prediction: Any
    unparsed: bool


@dataclass(frozen=True)
class EntityFormat:
    """How entities are written.

    Attributes:
        labels: in the order of writing.
        after_label: a visible character between a label and its mentions, such as `:`.
        between_items: between mentions, such as `;`.
        between_labels: between labels, such as `|`.
        empty: the word for no mention.
        names: how labels are written, where not as they are.
    """

    labels: tuple[str, ...]
    after_label: str = ":"
    between_items: str = ";"
    between_labels: str = "|"
    empty: str = "none"
    names: Mapping[str, str] = field(default_factory=dict)

    def write(self, mentions: Iterable[tuple[str, str]]) -> str:
        """The line of these mentions, with a leading space.

        Raises:
            ValueError: a mention has an unknown label, or is blank.
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
        """Parses the first line of an output; never raises."""
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
    """Splits at every `mark` that is not escaped by a backslash."""
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
