from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from harness.data.preparation import (
    answer_key,
    count_duplicates,
    drop_leaks,
    filter_rows,
    find_contradictions,
    find_near_duplicates,
    group_rows,
    leak_message,
    split_off,
)
from harness.data.rows import Row, Span, find_leaks
from harness.tasks.schema import Quality


def rows_of(classes: str, by: int = 1) -> list[Row]:
    """Rows with one letter as their class, `by` of them to a document."""
    return [Row(f"d{n // by}-{n}", f"text {n}", output=one) for n, one in enumerate(classes)]


def output(row: Row) -> tuple[str, ...]:
    return (str(row.output),)


def present(row: Row) -> set[str]:
    return {span.label for span in row.entities}


def test_no_document_falls_into_both_parts_and_equal_seeds_give_equal_parts() -> None:
    rows = rows_of("a" * 60, by=3)
    cut = split_off(rows, 4, 7, "document")
    assert (cut.groups, len(cut.taken)) == (4, 12)
    assert not {r.document for r in cut.remaining} & {r.document for r in cut.taken}
    assert sorted([*cut.remaining, *cut.taken], key=lambda row: int(row.id.split("-")[1])) == rows
    assert split_off(rows, 4, 7, "document") == cut
    assert len({split_off(rows, 4, seed, "document").taken for seed in range(5)}) == 5


def test_a_document_more_moves_no_other() -> None:
    rows = rows_of("a" * 60, by=3)
    more = [*rows, Row("new-0", "text")]
    before = {row.document for row in split_off(rows, 4, 7, "document").taken}
    assert len(before - {row.document for row in split_off(more, 4, 7, "document").taken}) <= 1


def test_rows_with_the_same_input_stay_together() -> None:
    rows = [Row(str(n), f"Text  {n // 2}" if n % 2 else f"text {n // 2}") for n in range(40)]
    cut = split_off(rows, 5, 0, "row")
    assert len(cut.taken) == 10
    assert not {r.text.split()[1] for r in cut.remaining} & {r.text.split()[1] for r in cut.taken}


def test_groups_may_be_what_a_field_says() -> None:
    rows = [Row(f"r{n}", f"text {n}", group=f"patient {n % 5}") for n in range(30)]
    assert {len(own) for own in group_rows(rows, "patient").values()} == {6}
    cut = split_off(rows, 2, 0, "patient")
    assert not {r.group for r in cut.remaining} & {r.group for r in cut.taken}


def test_one_group_cannot_be_cut_and_one_stays() -> None:
    with pytest.raises(ValueError, match="one group only"):
        split_off([Row("a-1", "x"), Row("a-2", "y")], 1, 0, "document")
    assert len(split_off(rows_of("ab"), 2, 0, "document").remaining) == 1


@pytest.mark.parametrize("seed", range(3))
def test_classes_of_single_rows_keep_their_proportions_to_the_row(seed: int) -> None:
    rows = rows_of("a" * 100 + "b" * 40 + "c" * 12 + "d" * 2)
    cut = split_off(rows, 0.2 * len(rows), seed, "document", output)
    assert Counter(row.output for row in cut.taken) == {"a": 20, "b": 8, "c": 2}
    plain = split_off(rows, 0.2 * len(rows), seed, "document")
    assert Counter(r.output for r in plain.taken) != Counter(r.output for r in cut.taken)


def test_classes_keep_their_proportions_nearly_where_groups_are_large() -> None:
    rows = rows_of("aaab" * 60 + "aacc" * 30, by=4)
    cut = split_off(rows, 0.2 * len(rows), 0, "document", output)
    counts, whole = (Counter(r.output for r in part) for part in (cut.taken, rows))
    # no nearer than one document
    assert {name: pytest.approx(0.2 * number, abs=4) for name, number in whole.items()} == counts


def test_labels_of_texts_keep_their_proportions_nearly() -> None:
    rows = []
    for n in range(300):
        labels = [name for name, step in (("A", 2), ("B", 5), ("C", 25)) if n % step == 0]
        spans = tuple(Span(0, 1, label, "t") for label in labels)
        rows.append(Row(f"r{n}", f"text {n}", spans))
    cut = split_off(rows, 60, 1, "document", present)
    counts = Counter(label for row in cut.taken for label in present(row) or {"none"})
    assert counts["A"] == pytest.approx(30, abs=2)
    assert counts["B"] == pytest.approx(12, abs=2)
    assert counts["C"] == pytest.approx(2.4, abs=1)
    assert len(cut.taken) == pytest.approx(60, abs=5)


def test_no_class_loses_its_last_group() -> None:
    rare = [Row("rare-0", "x", output="z"), Row("rare-1", "y", output="z")]
    rows = [*rows_of("a" * 8, by=2), *rare]
    for seed in range(20):
        cut = split_off(rows, 9, seed, "document", output)
        assert {row.output for row in cut.remaining} == {"a", "z"}


WORDS = [f"w{n}" for n in range(40)]


def text(*changes: tuple[int, str], words: int = 40) -> str:
    """So many words, some of them others."""
    found = list(WORDS[:words])
    for place, word in changes:
        found[place] = word
    return " ".join(found)


def found(**splits: list[Row]) -> set[tuple[str, str, str, str]]:
    return {tuple(one) for one in find_near_duplicates(splits)}


def test_seventy_percent_of_the_word_8_grams_is_the_border() -> None:
    # 17 words have ten 8-grams; the first 14 words hold seven of them, the first 13 six.
    train = [Row("t", text(words=17))]
    seven = Row("seven", " ".join([*WORDS[:14], "x", "y", "z"]))
    six = Row("six", " ".join([*WORDS[:13], "x", "y", "z", "a"]))
    assert found(train=train, test=[seven]) == {("test", "seven", "train", "t")}
    assert found(train=train, test=[six]) == set()


def test_a_part_of_a_longer_text_is_one_and_the_longer_text_is_none() -> None:
    whole, part = Row("whole", text()), Row("part", text(words=20))
    assert found(train=[whole], test=[part]) == {("test", "part", "train", "whole")}
    assert found(train=[part], test=[whole]) == set()
    assert found(train=[part, whole]) == {("train", "part", "train", "whole")}


def test_equal_inputs_are_not_counted_here() -> None:
    assert found(train=[Row("a", text())], test=[Row("b", text().upper())]) == set()


def test_punctuation_makes_a_text_near_but_not_equal() -> None:
    assert found(train=[Row("a", "Takes Xarel, daily.")], test=[Row("b", "takes xarel daily")])


def test_short_texts_need_all_their_words() -> None:
    train = [Row("a", "one two three four"), Row("number", "5.")]
    texts = {"b": "one two three", "c": "one two three four!", "d": "5 %.", "e": "!"}
    rows = [Row(name, value) for name, value in texts.items()]
    assert found(train=train, test=rows) == {("test", "c", "train", "a")}


def test_one_is_named_for_each_earlier_split_and_for_its_own() -> None:
    rows = {
        "train": [Row("a", text((39, "x"))), Row("b", text((39, "y")))],
        "validation": [Row("c", text((39, "z")))],
        "test": [Row("d", text((0, "u"))), Row("e", text((0, "v")))],
    }
    counts = [(one.split, one.other_split) for one in find_near_duplicates(rows)]
    assert sorted(counts) == sorted(
        [
            ("train", "train"),
            ("validation", "train"),
            *2 * [("test", "train"), ("test", "validation")],
            ("test", "test"),
        ]
    )


def test_an_instruction_is_compared_only_where_there_is_no_input() -> None:
    ask = " ".join(f"i{n}" for n in range(30))
    rows = [Row("a", "alpha beta gamma", instruction=ask), Row("b", "delta eps", instruction=ask)]
    assert found(train=rows) == set()
    empty = [Row("a", "", instruction=ask), Row("b", "", instruction=f"{ask} more")]
    assert found(train=empty) == {("train", "a", "train", "b")}


def grams(row: Row) -> set[tuple[str, ...]]:
    words = row.text.split()
    return {tuple(words[k : k + 8]) for k in range(max(1, len(words) - 7))}


def test_it_finds_what_comparing_all_with_all_finds() -> None:
    rng = random.Random(3)
    rows: list[Row] = []
    for n in range(300):
        words = rng.sample(WORDS, 30) if n % 9 == 0 else rows[rng.randrange(n)].text.split()
        for _ in range(rng.randrange(3)):
            words[rng.randrange(len(words))] = f"x{rng.randrange(5)}"
        rows.append(Row(str(n), " ".join(words[: rng.randrange(10, 31)])))
    train, test = rows[:200], rows[200:]
    across = {
        row.id
        for row in test
        for other in train
        if row.text != other.text and len(grams(row) & grams(other)) >= 0.7 * len(grams(row))
    }
    told = find_near_duplicates({"train": train, "test": test})
    assert {one.id for one in told if one.split != one.other_split} == across
    assert 5 < len(across) < 90
    texts = {row.id: row for row in rows}
    for one in told:
        own, other = grams(texts[one.id]), grams(texts[one.other_id])
        assert len(own & other) >= 0.7 * len(own)


ROWS = {
    "train": (Row("a", "one"), Row("b", "two"), Row("c", "three"), Row("d", "four")),
    "validation": (Row("e", "TWO"), Row("f", "five"), Row("g", "six")),
    "test": (Row("h", "three"), Row("i", "two"), Row("j", "Five ")),
}


def test_counts_places_and_two_examples_are_told() -> None:
    assert leak_message(find_leaks(ROWS)) == (
        "4 inputs occur in more than one split (1 of validation in train, 2 of test in train, "
        "1 of test in validation), such as e (validation) and b (train), h (test) and c (train)"
    )
    one = {"train": ROWS["train"], "test": ROWS["test"][:1]}
    assert leak_message(find_leaks(one)).startswith(
        "1 input occurs in more than one split (1 of test in train)"
    )


def test_rows_of_the_earlier_split_go_and_the_test_split_stays_whole() -> None:
    kept = drop_leaks(ROWS)
    assert {split: [row.id for row in rows] for split, rows in kept.items()} == {
        "train": ["a", "d"],
        "validation": ["g"],
        "test": ["h", "i", "j"],
    }
    assert list(kept) == list(ROWS)
    assert find_leaks(kept) == ()


def kept(rows: list[Row], **bounds: Any) -> tuple[list[str], dict[str, int]]:
    rows_kept, left_out = filter_rows(rows, **bounds)
    return [row.id for row in rows_kept], left_out


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


LONG = " ".join(f"w{n}" for n in range(30))


def test_each_split_is_held_against_itself_and_those_before() -> None:
    rows = {
        "train": [Row("a", "Same"), Row("b", " same "), Row("c", LONG), Row("d", "own")],
        "validation": [Row("e", "SAME")],
        "test": [Row("f", "same"), Row("g", LONG.replace("w29", "x"))],
    }
    found = {(one.split, one.other_split): one[2:] for one in count_duplicates(rows)}
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
    assert [tuple(one) for one in find_contradictions(pairs)] == [("test", "d", "a (train)")]
    span = Span(0, 4, "C", "gout")
    notes = {"train": [Row("a", "gout", (span,)), Row("b", "gout")]}
    assert [one.id for one in find_contradictions(notes)] == ["b"]
    assert find_contradictions({"train": [Row("a", "text"), Row("b", "text")]}) == ()
