from __future__ import annotations

import dataclasses

import pytest

from harness.data.preparation import Place, Repeated
from harness.tasks.data_card import ClassCount, Count, DataCard, Given, Length, Limits, warnings

SOUND = DataCard(
    counts=(
        Count("train", 90, 90, 90),
        Count("validation", 30, 30, 30),
        Count("test", 60, 60, 60),
    ),
    classes=(ClassCount("A", (60, 20, 40)), ClassCount("B", (30, 10, 30))),
    lengths=(Length("train", "prompt", 9, 9, 9, 0.0), Length("test", "answer", 9, 9, 9, 0.0)),
    repeated=(Repeated("train", "train", 0, 3, "x ~ y"), Repeated("test", "train", 0, 0, "")),
    contradictions=(),
    empty=(),
    overlong=(),
    too_long=(),
    floors=(),
    given=Given({}, 0),
    limits=Limits(256, 100, 2, 400),
)


def test_sound_data_have_none_and_near_repetitions_in_training_are_no_fault() -> None:
    assert warnings(SOUND) == ()


CASES = {
    "an exact leak": (
        {"repeated": (Repeated("test", "train", 2, 1, "a = b"),)},
        "2 rows of test have an input that stands in train, such as a = b (1 more nearly): scores "
        "on them are too good",
    ),
    "a near leak": (
        {"repeated": (Repeated("test", "validation", 0, 1, "a ~ b"),)},
        "1 row of test stands nearly word for word in validation, such as a ~ b: scores on them "
        "may be too good",
    ),
    "repeated training rows": (
        {"repeated": (Repeated("train", "train", 1, 0, "a = b"),)},
        "1 row of train repeats an input of an earlier one, such as a = b: these weigh double in "
        "training; quality: {drop_duplicates: true} leaves them out",
    ),
    "repeated test rows": (
        {"repeated": (Repeated("test", "test", 3, 0, "a = b"),)},
        "3 rows of test repeat an input of an earlier one, such as a = b: these count twice in "
        "its score",
    ),
    "two answers": (
        {"contradictions": (Place("test", "a", "b (train)"),)},
        "1 row has an input that stands with another answer elsewhere, such as a (test) and b "
        "(train): no model can get both right",
    ),
    "blank answers": (
        {"empty": (Place("train", "a"), Place("test", "b"))},
        "2 rows have a blank answer: a (train), b (test)",
    ),
    "long answers": (
        {"overlong": tuple(Place("train", f"t{n}") for n in range(6))},
        "6 rows have an answer of more than max_new_tokens: 100, which cannot be written whole: "
        "t0 (train), t1 (train), t2 (train), t3 (train) and 2 more",
    ),
    "answers that fill an example": (
        {"too_long": (Place("train", "a"),)},
        "1 row of train has an answer that alone fills training.max_length: 256, and is not "
        "trained on: a (train)",
    ),
    "cut prompts": (
        {"lengths": (Length("train", "prompt", 9, 9, 300, 0.125),)},
        "12.5 % of the prompts of train are cut to fit training.max_length: 256",
    ),
    "few cut prompts": (
        {"lengths": (Length("train", "prompt", 9, 9, 300, 0.0001),)},
        "under 0.1 % of the prompts of train are cut to fit training.max_length: 256",
    ),
    "prompts beyond the context": (
        {"lengths": (Length("test", "prompt", 9, 9, 500, 0.5),)},
        "50.0 % of the prompts of test are cut to fit the 400 tokens that the model's context "
        "leaves them",
    ),
    "texts in pieces": (
        {"lengths": (Length("train", "text", 9, 9, 300, 0.5),)},
        "50.0 % of the texts of train are cut into pieces to fit training.max_length: 256",
    ),
    "a rare class": (
        {"classes": (ClassCount("A", (1, 1, 40)), ClassCount("B", (9, 9, 29)))},
        "under 30 test examples: B (29): the score of such a class cannot rank anything",
    ),
    "many rare classes": (
        {"classes": tuple(ClassCount(name, (9, 9, n + 25)) for n, name in enumerate("CDEFGH"))},
        "under 30 test examples: C (25), D (26), E (27), F (28) and 1 more: the score of such a "
        "class cannot rank anything",
    ),
    "rare classes alone": (
        {"classes": (ClassCount("A", (1, 1, 2)), ClassCount("B", (1, 1, 3)))},
        "no class has 30 test examples (at most 3): the scores of single classes cannot rank "
        "anything",
    ),
    "a small test split": (
        {"counts": (Count("train", 9, 9, None), Count("test", 7, 7, None))},
        "test has 7 rows: its scores cannot rank anything",
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_what_is_wrong_is_said_in_one_sentence(what: str) -> None:
    change, sentence = CASES[what]
    card = dataclasses.replace(SOUND, **{"classes": (), **change})
    assert warnings(card) == (sentence,)
