"""One text with what was asked for in it marked, and who found it, as HTML.

Knows answers as `harness.results.Texts` has them, nothing of studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup, escape

from harness.report import display

if TYPE_CHECKING:
    import pandas as pd

#: Longer texts are cut, around what is marked in them.
_LONGEST = 600
_LABEL = 30  # glyphs of a label


class Piece(NamedTuple):
    """An entity of the text.

    Attributes:
        start: where it stands.
        surface: its form.
        label: what it is.
        found: for each of those who are looked at, in how many of their seeds.
        seeds: for each of them, how many seeds there are.
    """

    start: int
    surface: str
    label: str
    found: tuple[int, ...]
    seeds: tuple[int, ...]


def pieces(answers: pd.DataFrame, names: Sequence[str]) -> list[Piece]:
    """The entities of one text, in their order.

    Args:
        answers: rows of `Texts.answers` of one example.
        names: who is looked at.
    """
    gold = answers[answers["outcome"] != "spurious"]
    found = []
    for place in gold[["start", "surface", "label"]].drop_duplicates().to_dict("records"):
        here = (gold["start"] == place["start"]) & (gold["label"] == place["label"])
        rows = gold[here & (gold["surface"] == place["surface"])]
        own = [rows[rows["who"] == name] for name in names]
        right = tuple(int((each["outcome"] == "found").sum()) for each in own)
        seeds = tuple(len(each) for each in own)
        who = (int(place["start"]), str(place["surface"]), str(place["label"]))
        found.append(Piece(*who, right, seeds))
    return sorted(found)


def spurious(answers: pd.DataFrame, name: str, seeds: int) -> list[str]:
    """What one of them said that nobody asked for: `aspirin as DOSAGE 2/5`, most frequent first.

    Args:
        answers: rows of `Texts.answers` of one example.
        name: who said it.
        seeds: how many of its seeds were read.
    """
    rows = answers[(answers["who"] == name) & (answers["outcome"] == "spurious")]
    counts = rows.groupby(["surface", "label"])["seed"].nunique().reset_index(name="count")
    order = counts.sort_values(["count", "surface", "label"], ascending=[False, True, True])
    return [
        f"{display.short(row['surface'])} as {display.cut(row['label'], _LABEL)} "
        f"{_of(row['count'], seeds)}"
        for row in order.to_dict("records")
    ]


def marked(text: str, found: Sequence[Piece]) -> Markup:
    """A text with its entities marked.

    An entity is marked by how often the first of those who are looked at found it: in all seeds,
    in some, in none; behind it stand its label and the counts of all.

    Args:
        text: as it was given to the model.
        found: from `pieces`; those that overlap an earlier one are left unmarked.
    """
    parts: list[Markup] = []
    begin, end = _window(text, found)
    if begin:
        parts.append(Markup("&hellip; "))
    at = begin
    for piece in found:
        stop = piece.start + len(piece.surface)
        if piece.start < at or stop > end:
            continue
        parts.append(escape(text[at : piece.start]))
        counts = " · ".join(map(_of, piece.found, piece.seeds))
        parts.append(
            Markup('<mark class="{}">{}<small> {} {}</small></mark>').format(
                _kind(piece), text[piece.start : stop], display.cut(piece.label, _LABEL), counts
            )
        )
        at = stop
    parts.append(escape(text[at:end]))
    if end < len(text):
        parts.append(Markup(" &hellip;"))
    return Markup("").join(parts)


def _window(text: str, found: Sequence[Piece]) -> tuple[int, int]:
    """The part of a long text to show: from a little before its first entity on."""
    if len(text) <= _LONGEST:
        return 0, len(text)
    first = max(0, min((piece.start for piece in found), default=0) - _LONGEST // 6)
    return first, min(len(text), first + _LONGEST)


def _kind(piece: Piece) -> str:
    if piece.found[0] == 0:
        return "missed"
    return "found" if piece.found[0] == piece.seeds[0] else "partly"


def _of(count: int, seeds: int) -> str:
    return f"{count}/{seeds}" if seeds else "0"


def cut(text: str) -> str:
    """A text's beginning, if it is long."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
