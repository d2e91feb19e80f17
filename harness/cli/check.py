"""`check`: everything about a sweep, or a task, that can be known before training."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import typer

from harness.cli.options import Results, SweepOptions, print_table, with_sweep_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.tasks.data_card import ClassCount, DataCard

#: Of more classes than `_MANY` only the largest and the smallest are listed.
_MANY: Final = 20
_LARGEST: Final = 4
_SMALLEST: Final = 8
_WIDTH: Final = 80
#: Characters of a pair of ids in a table.
_IDS: Final = 40


@with_sweep_options
def check(
    name: Annotated[str, typer.Argument(help="name or path of a sweep, or of a task")],
    options: SweepOptions,
    results: Results = Path("results"),
) -> None:
    """Check a sweep, its task, data and model before anything runs.

    Prints the data card, then notes; exit code 2 at the first fault.
    """
    from harness.study import checks
    from harness.tasks.data_card import warnings
    from harness.tasks.task import load_task_for

    sweep = options.sweep(name, or_task=True)
    checks.check_folder(results)
    task = load_task_for(sweep)
    card = checks.data_card_of(sweep, task)
    print_card(card)
    for note in checks.check_sweep(sweep, task):
        print(f"note: {note}")
    for line in checks.summary_lines(sweep, task):
        print(line)
    count = len(list(warnings(card)))
    print(f"{name}: runnable" + (f", {count} warning{'s' * (count > 1)}" if count else ""))


def print_card(card: DataCard, to: TextIO | None = None) -> None:
    """Prints a data card: its tables that have rows, then its warnings."""
    from harness.tasks.data_card import warnings

    stream = sys.stdout if to is None else to
    splits = [count.split for count in card.counts]

    def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        if rows:
            print_table(title, columns, rows, to=stream)
            print(file=stream)

    show("Rows", *_row_counts(card))
    show("Preparation of the training rows", ("what", "rows"), _preparation(card))
    classes = f", {len(card.classes)} classes" if len(card.classes) > _MANY else ""
    show(f"Rows by class{classes}", ("class", *splits), _class_rows(card))
    show(
        "Tokens",
        ("of", "split", "median", "95 %", "longest", "% too long"),
        [
            (
                length.what,
                length.split,
                round(length.median),
                round(length.percentile_95),
                length.longest,
                round(100 * length.cut_share, 1),
            )
            for length in card.lengths
        ],
    )
    show(
        "Duplicate and near-duplicate inputs",
        ("split", "in", "exact", "near", "such as"),
        [
            (pair.split, pair.other_split, pair.exact, pair.near, _shortened(pair.example))
            for pair in card.duplicates
        ],
    )
    show(
        "Baselines without training, on test",
        ("baseline", "score", "unit"),
        [(baseline.name, round(baseline.value, 1), baseline.unit) for baseline in card.baselines],
    )
    wrapper = textwrap.TextWrapper(_WIDTH, subsequent_indent=" " * 9)
    wrapper.break_long_words = wrapper.break_on_hyphens = False
    for sentence in warnings(card):
        print(wrapper.fill(f"warning: {sentence}"), file=stream)


def _row_counts(card: DataCard) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of the first table, without columns that say nothing."""
    counts = card.counts
    columns: dict[str, list[object]] = {
        "split": [count.split for count in counts],
        "rows": [count.rows for count in counts],
    }
    # Where every row is its own document (ids such as `train-7`), the ids name no documents.
    if any(1 < count.documents < count.rows for count in counts):
        columns["documents"] = [count.documents for count in counts]
    if any(count.labelled is not None and count.labelled < count.rows for count in counts):
        columns["with a label"] = [count.labelled or 0 for count in counts]
    return list(columns), list(map(list, zip(*columns.values(), strict=True)))


def _preparation(card: DataCard) -> list[tuple[str, int]]:
    rows = [
        (f"left out: {reason}", number) for reason, number in card.preparation.left_out.items()
    ]
    if card.preparation.augmented:
        rows.append(("added by task.py", card.preparation.augmented))
    return rows


def _class_rows(card: DataCard) -> Sequence[Sequence[object]]:
    """All classes, or the largest, the sum of the others, and the smallest."""

    def row(count: ClassCount) -> Sequence[object]:
        return (count.name, *count.rows)

    if len(card.classes) <= _MANY:
        return [row(count) for count in card.classes]
    middle = card.classes[_LARGEST:-_SMALLEST]
    sums = [sum(count.rows[split] for count in middle) for split in range(len(card.counts))]
    return [
        *(row(count) for count in card.classes[:_LARGEST]),
        (f"({len(middle)} more)", *sums),
        *(row(count) for count in card.classes[-_SMALLEST:]),
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= _IDS else text[: _IDS - 3] + "..."
