"""The many ways in which a document writes down what was found in a passage.

One way is left out on purpose: `LABEL: a; b | LABEL: c`. A benchmark may use it, and a format
the base model has practised would tell nothing about an adapter.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.embedded.words import pick

#: What is kept for benchmarks: (after the label, between values, between labels).
RESERVED = (":", "; ", " |")

_COLONS = (":", ":", ":", " =", " ->", " -", "", " :")
_JOINS = (", ", "; ", " and ", " / ", " + ", " & ", " | ")
_SEPARATORS = ("\n", "\n", ";;", " ||", " |", " /", ".", ";", "\n -")
_EMPTY = (" none", " none", " nil", " -", " n/a", " None", " (none)", "", " no")
_KINDS = ("table", "table", "table", "table", "inline", "tagged", "lines", "json", "filled")


@dataclass(frozen=True)
class Layout:
    """One format, kept through all examples of a document."""

    kind: str
    colon: str
    join: str
    separator: str
    empty: str

    def write(
        self, found: Sequence[tuple[str, str]], slots: Sequence[str], labels: Mapping[str, str]
    ) -> str:
        """What was found for `slots`, under their labels; starts with a blank or a newline."""
        asked = [(slot, text) for slot, text in found if slot in labels]
        if self.kind == "inline":
            return ",".join(f" {labels[slot]} {text}" for slot, text in asked) or self.empty
        if self.kind == "tagged":
            return ";".join(f" {text} ({labels[slot]})" for slot, text in asked) or self.empty
        if self.kind == "lines":
            lines = "".join(f"\n {text} is {labels[slot]}" for slot, text in asked)
            return lines or self.empty
        values = {slot: unique([text for key, text in asked if key == slot]) for slot in slots}
        if self.kind == "json":
            return " " + json.dumps({labels[slot]: values[slot] for slot in slots})
        if self.kind == "filled":
            slots = [slot for slot in slots if values[slot]] or [slots[0]]
        return self.separator.join(
            f" {labels[slot]}{self.colon} {self.join.join(values[slot])}"
            if values[slot]
            else f" {labels[slot]}{self.colon}{self.empty}"
            for slot in slots
        )


def unique(texts: Sequence[str]) -> list[str]:
    """`texts` without repetitions, in order."""
    return list(dict.fromkeys(texts))


def any_layout(rng: random.Random) -> Layout:
    """A random layout that is neither the reserved one nor one whose two separators are alike."""
    while True:
        layout = Layout(
            pick(rng, _KINDS),
            pick(rng, _COLONS),
            pick(rng, _JOINS),
            pick(rng, _SEPARATORS),
            pick(rng, _EMPTY),
        )
        alike = layout.join.strip() == layout.separator.strip()
        if (layout.colon.strip(), layout.join, layout.separator) != RESERVED and not alike:
            return layout


def any_label_case(rng: random.Random) -> str:
    """How a document writes its labels: "lower", "title" or "upper"."""
    return pick(rng, ("lower", "lower", "title", "upper", "upper"))


def in_case(text: str, case: str) -> str:
    """`text` as `case` says."""
    if case == "upper":
        return text.upper()
    return text[:1].upper() + text[1:] if case == "title" else text
