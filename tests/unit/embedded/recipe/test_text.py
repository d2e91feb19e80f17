"""Invented strings: seeded, varied, and mostly new."""

import random

from harness.embedded.recipe import text
from harness.embedded.recipe.vocabulary import COMMON, CONDITIONS, MEDICATIONS, PROCEDURES


def test_same_seed_invents_the_same_words() -> None:
    first = [text.invent_word(random.Random(3)) for _ in range(5)]
    second = [text.invent_word(random.Random(3)) for _ in range(5)]
    assert first == second


def test_invented_words_are_new_and_rarely_repeat() -> None:
    rng = random.Random(0)
    words = [text.invent_word(rng) for _ in range(2000)]
    assert all(word.islower() and word.isalpha() for word in words)
    assert len(set(words)) > 1700
    assert len(set(words) & set(COMMON)) < 60


def test_words_come_in_every_case() -> None:
    rng = random.Random(1)
    words = [text.draw_word(rng) for _ in range(300)]
    assert any(word.islower() for word in words)
    assert any(word.istitle() for word in words)
    assert any(word.isupper() and len(word) > 1 for word in words)


def test_clinical_fillers_mix_the_list_with_invented_names() -> None:
    rng = random.Random(2)
    known = {name.lower() for name in (*MEDICATIONS, *CONDITIONS, *PROCEDURES)}
    for filler in (text.draw_drug, text.draw_illness, text.draw_examination):
        are_known = [filler(rng).lower() in known for _ in range(400)]
        assert 0.15 < sum(are_known) / len(are_known) < 0.5


def test_numbers_dates_and_codes_hold_digits() -> None:
    rng = random.Random(4)
    for filler in (
        text.draw_number,
        text.draw_quantity,
        text.draw_strength,
        text.draw_code,
        text.draw_money,
    ):
        assert all(any(letter.isdigit() for letter in filler(rng)) for _ in range(50))
