from __future__ import annotations

import pytest

from harness.baselines import EntityDictionary
from harness.entity_text import Mention

DICTIONARY = EntityDictionary(
    [
        Mention("CONDITION", "asthma"),
        Mention("CONDITION", "Crohn's disease"),
        Mention("MEDICATION", "insulin"),
        Mention("MEDICATION", "insulin glargine"),
        Mention("DOSAGE", "5 mg"),
        Mention("PROCEDURE", "X-ray"),
        Mention("PROCEDURE", "block"),
        Mention("CONDITION", "block"),
        Mention("CONDITION", "block"),
    ]
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Asthma, crohn's  disease.", [("CONDITION", "Asthma"), ("CONDITION", "crohn's disease")]),
        ("insulin glargine 5 mg", [("MEDICATION", "insulin glargine"), ("DOSAGE", "5 mg")]),
        ("insulin lispro 5mg", [("MEDICATION", "insulin"), ("DOSAGE", "5mg")]),
        ("2.5 mg, 15 mg and 5 mgs", []),
        ("asthmatic", []),
        ("An x-ray showed a block", [("PROCEDURE", "x-ray"), ("CONDITION", "block")]),
        ("asthma asthma", [("CONDITION", "asthma"), ("CONDITION", "asthma")]),
        ("", []),
    ],
)
def test_whole_words_longest_first_in_any_case(text: str, found: list[tuple[str, str]]) -> None:
    assert list(DICTIONARY.find(text)) == found


def test_a_form_is_known_in_any_case_and_spacing() -> None:
    assert "CROHN'S  disease" in DICTIONARY
    assert "5MG" in DICTIONARY
    assert "Crohn" not in DICTIONARY
    assert 5 not in DICTIONARY


def test_among_equals_the_label_met_first_wins() -> None:
    once = EntityDictionary([Mention("B", "x"), Mention("A", "x")])
    assert once.find("x") == (Mention("B", "x"),)


def test_an_empty_dictionary_finds_nothing() -> None:
    assert EntityDictionary([]).find("asthma") == ()
