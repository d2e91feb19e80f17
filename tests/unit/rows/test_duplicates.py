from __future__ import annotations

import random

from harness.data.preparation import near_duplicates
from harness.data.rows import Row

WORDS = [f"w{n}" for n in range(40)]


def text(*changes: tuple[int, str], words: int = 40) -> str:
    """So many words, some of them others."""
    found = list(WORDS[:words])
    for place, word in changes:
        found[place] = word
    return " ".join(found)


def found(**splits: list[Row]) -> set[tuple[str, str, str, str]]:
    return {tuple(one) for one in near_duplicates(splits)}


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
    counts = [(one.split, one.other_split) for one in near_duplicates(rows)]
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
    told = near_duplicates({"train": train, "test": test})
    assert {one.id for one in told if one.split != one.other_split} == across
    assert 5 < len(across) < 90
    texts = {row.id: row for row in rows}
    for one in told:
        own, other = grams(texts[one.id]), grams(texts[one.other_id])
        assert len(own & other) >= 0.7 * len(own)
