from __future__ import annotations

from harness.data.preparation import contradictions, repetitions
from harness.data.rows import Row, Span

LONG = " ".join(f"w{n}" for n in range(30))


def test_each_split_is_held_against_itself_and_those_before() -> None:
    rows = {
        "train": [Row("a", "Same"), Row("b", " same "), Row("c", LONG), Row("d", "own")],
        "validation": [Row("e", "SAME")],
        "test": [Row("f", "same"), Row("g", LONG.replace("w29", "x"))],
    }
    found = {(one.split, one.other): one[2:] for one in repetitions(rows)}
    assert found == {
        ("train", "train"): (1, 0, "b = a"),
        ("validation", "validation"): (0, 0, ""),
        ("validation", "train"): (1, 0, "e = a"),
        ("test", "test"): (0, 0, ""),
        ("test", "train"): (1, 1, "f = a"),
        ("test", "validation"): (1, 0, "f = e"),
    }


def test_the_same_input_with_another_answer_is_a_contradiction() -> None:
    pairs = {
        "train": [
            Row("a", "x", output="1"),
            Row("b", "X", output=" 1 "),
            Row("c", "y", output="1"),
        ],
        "test": [Row("d", "x", output="2")],
    }
    assert [tuple(one) for one in contradictions(pairs)] == [("test", "d", "a (train)")]
    span = Span(0, 4, "C", "gout")
    notes = {"train": [Row("a", "gout", (span,)), Row("b", "gout")]}
    assert [one.id for one in contradictions(notes)] == ["b"]
    assert contradictions({"train": [Row("a", "text"), Row("b", "text")]}) == ()
