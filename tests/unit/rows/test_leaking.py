from __future__ import annotations

from harness.data.preparation import told, without
from harness.data.rows import Row, leaks

ROWS = {
    "train": (Row("a", "one"), Row("b", "two"), Row("c", "three"), Row("d", "four")),
    "validation": (Row("e", "TWO"), Row("f", "five"), Row("g", "six")),
    "test": (Row("h", "three"), Row("i", "two"), Row("j", "Five ")),
}


def test_counts_places_and_two_examples_are_told() -> None:
    assert told(leaks(ROWS)) == (
        "4 inputs stand in more than one split (1 of validation in train, 2 of test in train, "
        "1 of test in validation), such as e (validation) and b (train), h (test) and c (train)"
    )
    one = {"train": ROWS["train"], "test": ROWS["test"][:1]}
    assert told(leaks(one)).startswith(
        "1 input stands in more than one split (1 of test in train)"
    )


def test_rows_of_the_earlier_split_go_and_the_test_split_stays_whole() -> None:
    kept = without(ROWS)
    assert {split: [row.id for row in rows] for split, rows in kept.items()} == {
        "train": ["a", "d"],
        "validation": ["g"],
        "test": ["h", "i", "j"],
    }
    assert list(kept) == list(ROWS)
    assert leaks(kept) == ()
