from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from harness.data.preparation import DuplicateCount, RowReference
from harness.data.rows import Row, Span
from harness.tasks import data_card
from harness.tasks.data_card import (
    BaselineScore,
    ClassCount,
    DataCard,
    LengthSummary,
    PreparationCounts,
    RowTexts,
    SplitCount,
    TokenLimits,
    warnings,
)


def words(texts: Sequence[str]) -> list[int]:
    """A tokenizer that has a token a word."""
    return [len(text.split()) for text in texts]


def tagged(name: str, *labels: str) -> Row:
    return Row(name, f"text {name}", tuple(Span(0, 4, label, "text") for label in labels))


def labels_of(row: Row) -> list[str]:
    return [span.label for span in row.entities]


ROWS = {
    "train": [tagged("a-0", "A", "A"), tagged("a-1", "A", "B"), tagged("b-0", "A")],
    "validation": [tagged("c-0")],
    "test": [tagged("d-0", "C"), tagged("d-1", "B")],
}
TEXTS = {
    "train": [RowTexts("p " * n, "a " * m) for n, m in ((10, 1), (20, 2), (90, 30))],
    "validation": [RowTexts("p " * 10, "a")],
    "test": [RowTexts("p " * 50, ""), RowTexts("p " * 5, "a " * 7)],
}


LIMITS = TokenLimits(40, 5, 2, 45)


def made(limits: TokenLimits = LIMITS) -> DataCard:
    return data_card.make_data_card(
        ROWS,
        TEXTS,
        words,
        limits,
        labels_of,
        PreparationCounts({"duplicates": 2}, 7),
        (BaselineScore("dictionary", 41.25, "points of F1"),),
    )


def test_rows_documents_and_labelled_rows_are_counted() -> None:
    assert [tuple(one) for one in made().counts] == [
        ("train", 3, 2, 3),
        ("validation", 1, 1, 0),
        ("test", 2, 1, 2),
    ]


def test_a_class_counts_the_rows_that_have_it_the_most_frequent_first() -> None:
    assert [tuple(one) for one in made().classes] == [
        ("A", (3, 0, 0)),
        ("B", (1, 0, 1)),
        ("C", (0, 0, 1)),
    ]


def test_lengths_are_those_of_the_tokenizer_with_the_share_that_does_not_fit() -> None:
    found = {(one.split, one.what): one[2:] for one in made().lengths}
    assert set(found) == {(s, w) for s in ROWS for w in ("prompt", "answer")}
    median, high, most, cut = found["train", "prompt"]
    assert (median, most, round(cut, 3)) == (20, 90, 0.333)
    assert 20 < high < 90
    # 10 + 1 + 2 marks fit into 40 tokens, 20 + 2 + 2 too, 90 + 30 + 2 do not
    assert found["train", "answer"][3] == 1 / 3
    assert found["test", "prompt"][3] == 0.5  # 50 of 45
    assert found["test", "answer"][2:] == (7, 0.5)


def test_an_example_that_just_fits_is_not_cut() -> None:
    texts = {"train": [RowTexts("p " * 33, "a " * 5), RowTexts("p " * 34, "a " * 5)]}
    rows = {"train": ROWS["train"][:2]}
    card = data_card.make_data_card(
        rows, texts, words, TokenLimits(40, 5, 2), None, PreparationCounts({}, 0)
    )
    assert card.lengths[0].cut_share == 0.5
    assert card.counts[0].labelled is None
    assert card.classes == ()


def test_rows_whose_answers_are_blank_or_too_long_are_named() -> None:
    card = made()
    assert card.empty == (RowReference("test", "d-0"),)
    assert card.overlong == (RowReference("train", "b-0"), RowReference("test", "d-1"))
    assert card.too_long == ()
    assert made(TokenLimits(32, 5, 2)).too_long == (RowReference("train", "b-0"),)
    assert made(TokenLimits(33, 5, 2)).too_long == ()


def test_texts_alone_have_no_prompt_and_are_never_overlong() -> None:
    rows = {"train": [Row("a", "x")], "test": [Row("b", "y")]}
    texts = {"train": [RowTexts("", "w " * 50)], "test": [RowTexts("", "w " * 50)]}
    card = data_card.make_data_card(
        rows, texts, words, TokenLimits(40, None, 2), None, PreparationCounts({}, 0)
    )
    assert [(one.split, one.what, one.longest, one.cut_share) for one in card.lengths] == [
        ("train", "text", 50, 1.0),
        ("test", "text", 50, 0.0),
    ]
    assert card.overlong == card.too_long == ()


def test_what_was_done_before_and_the_floors_are_kept() -> None:
    card = made()
    assert card.preparation == ({"duplicates": 2}, 7)
    assert card.baselines[0].value == 41.25


SOUND = DataCard(
    counts=(
        SplitCount("train", 90, 90, 90),
        SplitCount("validation", 30, 30, 30),
        SplitCount("test", 60, 60, 60),
    ),
    classes=(ClassCount("A", (60, 20, 40)), ClassCount("B", (30, 10, 30))),
    lengths=(
        LengthSummary("train", "prompt", 9, 9, 9, 0.0),
        LengthSummary("test", "answer", 9, 9, 9, 0.0),
    ),
    duplicates=(
        DuplicateCount("train", "train", 0, 3, "x ~ y"),
        DuplicateCount("test", "train", 0, 0, ""),
    ),
    contradictions=(),
    empty=(),
    overlong=(),
    too_long=(),
    baselines=(),
    preparation=PreparationCounts({}, 0),
    limits=TokenLimits(256, 100, 2, 400),
)


def test_sound_data_have_none_and_near_repetitions_in_training_are_no_fault() -> None:
    assert warnings(SOUND) == ()


CASES = {
    "an exact leak": (
        {"duplicates": (DuplicateCount("test", "train", 2, 1, "a = b"),)},
        "2 rows of test have the same input as a row of train, such as a = b (1 more nearly): "
        "scores on them are inflated",
    ),
    "a near leak": (
        {"duplicates": (DuplicateCount("test", "validation", 0, 1, "a ~ b"),)},
        "1 row of test is a near duplicate of a row of validation, such as a ~ b: scores on them "
        "may be inflated",
    ),
    "repeated training rows": (
        {"duplicates": (DuplicateCount("train", "train", 1, 0, "a = b"),)},
        "1 row of train repeats the input of an earlier row, such as a = b: training weights it "
        "twice; quality: {drop_duplicates: true} drops duplicates",
    ),
    "repeated test rows": (
        {"duplicates": (DuplicateCount("test", "test", 3, 0, "a = b"),)},
        "3 rows of test repeat the input of an earlier row, such as a = b: the score counts it "
        "twice",
    ),
    "two answers": (
        {"contradictions": (RowReference("test", "a", "b (train)"),)},
        "1 row has the same input as an earlier row but another answer, such as a (test) and b "
        "(train): no model can get both right",
    ),
    "blank answers": (
        {"empty": (RowReference("train", "a"), RowReference("test", "b"))},
        "2 rows have a blank answer: a (train), b (test)",
    ),
    "long answers": (
        {"overlong": tuple(RowReference("train", f"t{n}") for n in range(6))},
        "6 rows have an answer longer than max_new_tokens: 100, which no model can complete: "
        "t0 (train), t1 (train), t2 (train), t3 (train) and 2 more",
    ),
    "answers that fill an example": (
        {"too_long": (RowReference("train", "a"),)},
        "1 row of train has an answer that alone fills training.max_length: 256, and is not "
        "trained on: a (train)",
    ),
    "cut prompts": (
        {"lengths": (LengthSummary("train", "prompt", 9, 9, 300, 0.125),)},
        "12.5 % of the prompts of train are truncated to fit training.max_length: 256",
    ),
    "few cut prompts": (
        {"lengths": (LengthSummary("train", "prompt", 9, 9, 300, 0.0001),)},
        "under 0.1 % of the prompts of train are truncated to fit training.max_length: 256",
    ),
    "prompts beyond the context": (
        {"lengths": (LengthSummary("test", "prompt", 9, 9, 500, 0.5),)},
        "50.0 % of the prompts of test are truncated to fit the 400 tokens that the model's "
        "context leaves them",
    ),
    "texts in pieces": (
        {"lengths": (LengthSummary("train", "text", 9, 9, 300, 0.5),)},
        "50.0 % of the texts of train are split into pieces to fit training.max_length: 256",
    ),
    "a rare class": (
        {"classes": (ClassCount("A", (1, 1, 40)), ClassCount("B", (9, 9, 29)))},
        "fewer than 30 test examples: B (29): the score of such a class is too noisy to rank "
        "anything",
    ),
    "many rare classes": (
        {"classes": tuple(ClassCount(name, (9, 9, n + 25)) for n, name in enumerate("CDEFGH"))},
        "fewer than 30 test examples: C (25), D (26), E (27), F (28) and 1 more: the score of "
        "such a class is too noisy to rank anything",
    ),
    "rare classes alone": (
        {"classes": (ClassCount("A", (1, 1, 2)), ClassCount("B", (1, 1, 3)))},
        "no class has 30 test examples (at most 3): scores of single classes are too noisy to "
        "rank anything",
    ),
    "a small test split": (
        {"counts": (SplitCount("train", 9, 9, None), SplitCount("test", 7, 7, None))},
        "test has 7 rows: its scores are too noisy to rank anything",
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_what_is_wrong_is_said_in_one_sentence(what: str) -> None:
    change, sentence = CASES[what]
    card = dataclasses.replace(SOUND, **{"classes": (), **change})
    assert warnings(card) == (sentence,)
