"""Prints a data card: tables first, then what somebody should act on."""

import sys
import textwrap
from collections.abc import Sequence
from typing import Final, TextIO

from harness.cli import tables
from harness.tasks.data_card import ClassCount, DataCard, warnings

#: More classes than these are not all shown.
_MANY: Final = 20
_LARGEST: Final = 4
_SMALLEST: Final = 8
_WIDTH: Final = 80
#: Characters of two ids in a table.
_IDS: Final = 40


def print_card(card: DataCard, to: TextIO | None = None) -> None:
    """Prints all tables that have something to say."""
    stream = sys.stdout if to is None else to
    splits = [one.split for one in card.counts]

    def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        if rows:
            tables.show(title, columns, rows, to=stream)
            print(file=stream)

    show("Rows", *_rows(card))
    show("Done to the training rows", ("what", "rows"), _done(card))
    many = f", {len(card.classes)} classes" if _many(card) else ""
    show(f"Rows by class{many}", ("class", *splits), _classes(card))
    show(
        "Tokens",
        ("of", "split", "median", "95 %", "longest", "% too long"),
        [
            (
                one.what,
                one.split,
                round(one.median),
                round(one.percentile_95),
                one.longest,
                _cut(one.cut_share),
            )
            for one in card.lengths
        ],
    )
    show(
        "Rows whose input stands before",
        ("split", "in", "exactly", "nearly", "such as"),
        [
            (one.split, one.other_split, one.exact, one.near, _short(one.example))
            for one in card.duplicates
        ],
    )
    show(
        "Without training, on test",
        ("answer", "score", "unit"),
        [(one.name, round(one.value, 1), one.unit) for one in card.baselines],
    )
    for sentence in warnings(card):
        lines = textwrap.wrap(
            f"warning: {sentence}",
            width=_WIDTH,
            subsequent_indent=" " * 9,
            break_long_words=False,
            break_on_hyphens=False,
        )
        print("\n".join(lines), file=stream)


def _rows(card: DataCard) -> tuple[list[str], list[list[object]]]:
    columns = ["split", "rows"]
    rows: list[list[object]] = [[one.split, one.rows] for one in card.counts]
    # An id such as `train-7` names no document.
    if any(1 < one.documents < one.rows for one in card.counts):
        columns.append("documents")
        for row, one in zip(rows, card.counts, strict=True):
            row.append(one.documents)
    if any(one.labelled is not None and one.labelled < one.rows for one in card.counts):
        columns.append("with a label")
        for row, one in zip(rows, card.counts, strict=True):
            row.append(one.labelled or 0)
    return columns, rows


def _done(card: DataCard) -> list[tuple[str, int]]:
    done = [
        (f"left out: {reason}", number) for reason, number in card.preparation.left_out.items()
    ]
    if card.preparation.augmented:
        done.append(("added by task.py", card.preparation.augmented))
    return done


def _many(card: DataCard) -> bool:
    return len(card.classes) > _MANY


def _classes(card: DataCard) -> Sequence[Sequence[object]]:
    """All classes, or the largest and the smallest."""

    def row(one: ClassCount) -> Sequence[object]:
        return (one.name, *one.rows)

    if not _many(card):
        return [row(one) for one in card.classes]
    middle = card.classes[_LARGEST:-_SMALLEST]
    sums = [sum(one.rows[place] for one in middle) for place in range(len(card.counts))]
    return [
        *(row(one) for one in card.classes[:_LARGEST]),
        (f"({len(middle)} more)", *sums),
        *(row(one) for one in card.classes[-_SMALLEST:]),
    ]


def _cut(share: float) -> float:
    return round(100 * share, 1)


def _short(text: str) -> str:
    return text if len(text) <= _IDS else text[: _IDS - 3] + "..."
