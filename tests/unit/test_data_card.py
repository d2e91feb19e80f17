from __future__ import annotations

from collections.abc import Sequence

from harness.data.preparation import Place
from harness.data.rows import Row, Span
from harness.tasks import data_card
from harness.tasks.data_card import DataCard, Floor, Given, Limits, Texts


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
    "train": [Texts("p " * n, "a " * m) for n, m in ((10, 1), (20, 2), (90, 30))],
    "validation": [Texts("p " * 10, "a")],
    "test": [Texts("p " * 50, ""), Texts("p " * 5, "a " * 7)],
}


LIMITS = Limits(40, 5, 2, 45)


def made(limits: Limits = LIMITS) -> DataCard:
    return data_card.make(
        ROWS,
        TEXTS,
        words,
        limits,
        labels_of,
        Given({"repeated": 2}, 7),
        (Floor("dictionary", 41.25, "points of F1"),),
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
    texts = {"train": [Texts("p " * 33, "a " * 5), Texts("p " * 34, "a " * 5)]}
    rows = {"train": ROWS["train"][:2]}
    card = data_card.make(rows, texts, words, Limits(40, 5, 2), None, Given({}, 0))
    assert card.lengths[0].cut == 0.5
    assert card.counts[0].labelled is None
    assert card.classes == ()


def test_rows_whose_answers_are_blank_or_too_long_are_named() -> None:
    card = made()
    assert card.empty == (Place("test", "d-0"),)
    assert card.overlong == (Place("train", "b-0"), Place("test", "d-1"))
    assert card.too_long == ()
    assert made(Limits(32, 5, 2)).too_long == (Place("train", "b-0"),)
    assert made(Limits(33, 5, 2)).too_long == ()


def test_texts_alone_have_no_prompt_and_are_never_overlong() -> None:
    rows = {"train": [Row("a", "x")], "test": [Row("b", "y")]}
    texts = {"train": [Texts("", "w " * 50)], "test": [Texts("", "w " * 50)]}
    card = data_card.make(rows, texts, words, Limits(40, None, 2), None, Given({}, 0))
    assert [(one.split, one.what, one.most, one.cut) for one in card.lengths] == [
        ("train", "text", 50, 1.0),
        ("test", "text", 50, 0.0),
    ]
    assert card.overlong == card.too_long == ()


def test_what_was_done_before_and_the_floors_are_kept() -> None:
    card = made()
    assert card.given == ({"repeated": 2}, 7)
    assert card.floors[0].value == 41.25
