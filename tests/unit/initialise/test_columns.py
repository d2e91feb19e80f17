from __future__ import annotations

from typing import Any

import pytest

from harness.tasks.infer import Column, columns

ROWS = [
    {
        "id": n,
        "text": f"text number {n}",
        "label": "ab"[n % 2],
        "score": 0.5,
        "both": "x" if n else 1,
    }
    for n in range(6)
]


def column(values: list[Any]) -> Column:
    (found,) = columns([{"c": value} for value in values])
    return found


def test_columns_come_in_order_with_what_they_hold() -> None:
    assert [(one.name, one.holds, one.values) for one in columns(ROWS)] == [
        ("id", "number", 6),
        ("text", "text", 6),
        ("label", "text", 2),
        ("score", "number", 1),
        ("both", "other", 0),
    ]


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (["a", "b"], "words"),
        ([{"start": 0, "end": 1, "label": "X"}], "spans"),
        ([{"start": 0, "end": 1}], "other"),
        ({"a": 1}, "other"),
        (True, "other"),
        ([1, 2], "other"),
    ],
)
def test_lists_and_the_like(value: object, holds: str) -> None:
    assert column([value, value]).holds == holds


def test_rows_with_and_without_entities_hold_spans() -> None:
    assert column([[], [{"start": 0, "end": 1, "label": "X"}], []]).holds == "spans"


def test_nothing_is_counted_and_left_out_of_the_values() -> None:
    found = column(["a", "", None, "a"])
    assert (found.rows, found.empty, found.values, found.rarest) == (4, 2, 1, 2)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["yes", "no"] * 3, True),
        (["yes", "no", "maybe"] * 2, False),  # each twice only
        (["yes"] * 6, False),  # nothing to choose
        (["a text\nof two lines", "b"] * 3, False),
        (["long " * 20, "short"] * 3, False),
        ([1, 2] * 3, False),
    ],
)
def test_classes_are_few_short_and_stand_several_times(values: list[Any], classes: bool) -> None:
    assert column(values).classes is classes


def test_words_length_and_lines_of_texts() -> None:
    found = column(["one two three", "one\ntwo"])
    assert (found.words, found.longest, found.lines, found.unique) == (2.5, 13, True, True)
    assert not column(["a", "a"]).unique
