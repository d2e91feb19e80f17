"""A data card is read at 80 columns, on a terminal and in a pipe."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest

from harness.cli.card import print_card
from harness.data.preparation import Place, Repeated
from harness.tasks.data_card import ClassCount, Count, DataCard, Floor, Given, Length, Limits

LONG = "balance_not_updated_after_cheque_or_cash_deposit"
CARD = DataCard(
    counts=(Count("train", 900, 40, 800), Count("validation", 9, 3, 9), Count("test", 90, 4, 90)),
    classes=(ClassCount(LONG, (900, 9, 90)), ClassCount("B", (30, 1, 3))),
    lengths=(Length("train", "prompt", 41.5, 90.4, 300, 0.125),),
    repeated=(Repeated("validation", "train", 1, 17, f"{LONG}-1 = {LONG}-2"),),
    contradictions=(Place("test", "a", "b (train)"),),
    empty=(),
    overlong=(),
    too_long=(),
    floors=(Floor("dictionary", 41.25, "points of F1"),),
    given=Given({"scored below 4": 12}, 40),
    limits=Limits(256, 100, 2, 400),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(card: DataCard, stream: io.StringIO) -> list[str]:
    print_card(card, stream)
    return stream.getvalue().splitlines()


def test_every_table_and_warning_is_there_as_plain_text() -> None:
    lines = printed(CARD, io.StringIO())
    assert lines[:5] == [
        "Rows",
        "split       rows  documents  with a label",
        "train        900         40           800",
        "validation     9          3             9",
        "test          90          4            90",
    ]
    text = "\n".join(lines)
    for part in (
        "left out: scored below 4    12",
        "added by task.py            40",
        "prompt  train      42    90      300        12.5",
        "validation  train        1      17  balance_not_updated",
        "dictionary   41.2  points of F1",
        "warning: 1 row of validation has an input that stands in train",
        "warning: under 30 test examples: B (3)",
    ):
        assert part in text, part


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_no_line_is_wider_than_eighty_columns(
    stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in printed(CARD, stream())]
    assert len(lines) > 30
    assert [line for line in lines if len(line) > 80] == []


def test_what_says_nothing_is_left_out() -> None:
    counts = (Count("train", 9, 9, None), Count("test", 40, 1, None))
    card = dataclasses.replace(
        CARD, counts=counts, classes=(), floors=(), given=Given({}, 0), repeated=()
    )
    text = "\n".join(printed(card, io.StringIO()))
    assert text.startswith("Rows\nsplit  rows\ntrain     9\n")
    for title in ("Done to", "by class", "Without training", "documents", "with a label"):
        assert title not in text


def test_of_many_classes_the_largest_and_smallest_are_shown_and_the_rest_summed() -> None:
    classes = tuple(ClassCount(f"class{n:02}", (100 - n, 10, 50)) for n in range(77))
    lines = printed(dataclasses.replace(CARD, classes=classes), io.StringIO())
    start = lines.index("Rows by class, 77 classes")
    shown = [line.split() for line in lines[start + 2 : start + 15]]
    assert [row[0] for row in shown[:4]] == ["class00", "class01", "class02", "class03"]
    assert shown[4] == ["(65", "more)", str(sum(100 - n for n in range(4, 69))), "650", "3250"]
    assert [row[0] for row in shown[5:]] == [f"class{n}" for n in range(69, 77)]
