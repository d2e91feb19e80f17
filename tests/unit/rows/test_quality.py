from __future__ import annotations

import pytest

from harness.data.preparation import answer_key, screen
from harness.data.rows import Row, Span
from harness.tasks.schema import Quality


def kept(rows: list[Row], **bounds: object) -> tuple[list[str], dict[str, int]]:
    found = screen(rows, Quality(**bounds))
    return [row.id for row in found.rows], dict(found.left_out)


def test_without_bounds_every_row_stays() -> None:
    assert kept([Row("a", "x"), Row("b", "x")]) == (["a", "b"], {})


def test_low_scores_go() -> None:
    rows = [Row(name, name, score=score) for name, score in (("a", 3.9), ("b", 4.0), ("c", 5.0))]
    assert kept(rows, min_score=4) == (["b", "c"], {"scored below 4": 1})


def test_of_equal_rows_the_first_stays_and_another_answer_is_no_repetition() -> None:
    rows = [
        Row("a", "How  Are you?", output="Fine."),
        Row("b", "how are you?", output="Fine."),
        Row("c", "how are you?", output="Well."),
        Row("d", "how are you?", output="Fine.", instruction="Reply."),
    ]
    assert kept(rows, drop_duplicates=True) == (["a", "c", "d"], {"repeated": 1})


def test_entities_are_compared_with_their_places_apart_from_white_space() -> None:
    one = Row("a", "gout and gout", (Span(0, 4, "C", "gout"),))
    same = Row("b", "Gout  and gout", (Span(0, 4, "C", "Gout"),))
    other = Row("c", "gout and gout", (Span(9, 13, "C", "gout"),))
    assert answer_key(one) == answer_key(same) != answer_key(other)
    assert kept([one, same, other], drop_duplicates=True)[0] == ["a", "c"]


def test_words_of_the_input_are_counted_or_of_the_instruction_where_there_is_none() -> None:
    rows = [
        Row("short", "one two", instruction="please do it now"),
        Row("right", "one two three"),
        Row("long", "one two three four five"),
        Row("asked", "", output="x", instruction="name three colours"),
    ]
    found = kept(rows, min_words=3, max_words=4)
    assert found == (["right", "asked"], {"under 3 words": 1, "over 4 words": 1})


def test_a_row_that_goes_hides_no_later_one() -> None:
    rows = [Row("a", "x", score=1.0), Row("b", "x", score=5.0)]
    assert kept(rows, min_score=4, drop_duplicates=True)[0] == ["b"]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"min_words": 9, "max_words": 3}, "min_words 9 is above max_words 3"),
        ({"score_field": "rating"}, "score_field: names the score that min_score asks for"),
    ],
)
def test_bounds_that_make_no_sense_are_told(keys: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Quality(**keys)
