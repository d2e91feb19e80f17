from __future__ import annotations

import pytest

from harness.tasks.baselines import EntityDictionary, copy_input, first_sentence, most_frequent
from harness.tasks.entity_format import Mention


def listed(*mentions: Mention) -> EntityDictionary:
    """A dictionary of mentions that each stand alone in a text of their own."""
    return EntityDictionary((one.text, [one]) for one in mentions)


DICTIONARY = listed(
    Mention("CONDITION", "asthma"),
    Mention("CONDITION", "Crohn's disease"),
    Mention("MEDICATION", "insulin"),
    Mention("MEDICATION", "insulin glargine"),
    Mention("DOSAGE", "5 mg"),
    Mention("PROCEDURE", "X-ray"),
    Mention("PROCEDURE", "block"),
    Mention("CONDITION", "block"),
    Mention("CONDITION", "block"),
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
    once = listed(Mention("B", "x"), Mention("A", "x"))
    assert once.find("x") == (Mention("B", "x"),)


@pytest.mark.parametrize(
    ("verbs", "found"), [(0, True), (1, True), (2, False)], ids=lambda value: str(value)
)
def test_a_form_that_is_mostly_no_entity_is_known_and_not_looked_for(
    verbs: int, found: bool
) -> None:
    notes = [("WAS is rare.", [Mention("CONDITION", "WAS")]), *[("He was well.", ())] * verbs]
    trained = EntityDictionary(notes)
    assert "was" in trained
    assert bool(trained.find("It was WAS.")) is found


def test_a_form_counts_as_often_as_it_stands_there_and_where_it_is_found() -> None:
    twice = EntityDictionary([("block, block, block", [Mention("CONDITION", "block")])])
    assert twice.find("block") == ()
    # what stands inside a longer one is not found there, and so not held against the shorter
    longer = [Mention("CONDITION", "heart block"), Mention("CONDITION", "heart block")]
    inside = EntityDictionary(
        [("heart block, heart block", longer), ("block", [Mention("PROCEDURE", "block")])]
    )
    assert inside.find("block") == (Mention("PROCEDURE", "block"),)


def test_a_form_of_two_labels_is_right_under_its_own_only() -> None:
    label = {"A": Mention("A", "x"), "B": Mention("B", "x"), "C": Mention("C", "x")}
    assert listed(label["A"], label["B"]).find("x") == (label["A"],)
    assert listed(*label.values()).find("x") == ()


def test_without_a_doubtful_form_the_shorter_one_in_it_is_found() -> None:
    fever = Mention("CONDITION", "fever")
    notes = [("no fever", [Mention("CONDITION", "no fever")]), *[("no fever", [fever])] * 2]
    assert EntityDictionary(notes).find("There was no fever.") == (fever,)


def test_an_empty_dictionary_finds_nothing() -> None:
    assert EntityDictionary([]).find("asthma") == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Asthma since 2001. Takes insulin.", "Asthma since 2001."),
        ("  Doctor: How are you?\nPatient: Well.", "Doctor: How are you?"),
        ("Seen by Dr. Miller today. Well.", "Seen by Dr. Miller today."),
        ("Seen by J. Miller! Well.", "Seen by J. Miller!"),
        ("He takes 2.5 mg a day. Then rests.", "He takes 2.5 mg a day."),
        ('He said "it hurts." Then he left.', 'He said "it hurts."'),
        ("no end at all", "no end at all"),
        ("one\ttwo  three", "one two three"),
        ("", ""),
    ],
)
def test_the_first_sentence_of_a_text(text: str, found: str) -> None:
    assert first_sentence(text) == found


def test_a_copy_stands_on_one_line() -> None:
    assert copy_input(" Doctor: Hello.\n\nPatient:  Hi. ") == "Doctor: Hello. Patient: Hi."


def test_the_most_frequent_class_and_among_equals_the_first() -> None:
    assert most_frequent(["b", "a", "a", "b", "c"]) == "b"
    assert most_frequent(["a", "b", "b"]) == "b"
    with pytest.raises(ValueError, match="no class"):
        most_frequent([])
