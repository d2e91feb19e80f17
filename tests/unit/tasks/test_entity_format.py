from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.tasks.entity_format import EntityFormat, Mention

LAYOUT = EntityFormat(("MEDICATION", "DOSAGE", "CONDITION"))
LINE = " MEDICATION: heparin; Lasix | DOSAGE: 20 mg | CONDITION: none"
MENTIONS = (
    Mention("MEDICATION", "heparin"),
    Mention("MEDICATION", "Lasix"),
    Mention("DOSAGE", "20 mg"),
)

surface = st.one_of(
    st.text(min_size=1), st.text(alphabet="ab;|\\: \nnone", min_size=1), st.just("none")
).filter(str.strip)
mentions = st.lists(st.builds(Mention, st.sampled_from(LAYOUT.labels), surface), max_size=8)


def test_labels_stand_in_their_order_and_mentions_in_that_of_the_text() -> None:
    assert LAYOUT.write([MENTIONS[2], *MENTIONS[:2]]) == LINE


def test_labels_are_written_and_read_by_the_names_given_to_them() -> None:
    short = replace(LAYOUT, names={"MEDICATION": "MED", "CONDITION": "C"})
    line = short.write(MENTIONS)
    assert line == " MED: heparin; Lasix | DOSAGE: 20 mg | C: none"
    assert short.parse(line) == (tuple(MENTIONS), False)
    # A label's own word is no name any more.
    assert short.parse(line.replace("MED", "MEDICATION")) == ((MENTIONS[2],), True)


def test_a_repeated_mention_is_written_repeatedly() -> None:
    line = LAYOUT.write([Mention("CONDITION", "gout"), Mention("CONDITION", "gout")])
    assert line == " MEDICATION: none | DOSAGE: none | CONDITION: gout; gout"


@given(mentions)
def test_what_was_written_is_read_back(given_mentions: list[Mention]) -> None:
    line = LAYOUT.write(given_mentions)
    assert "\n" not in line
    found = LAYOUT.parse(line)
    assert not found.unparsed
    for label in LAYOUT.labels:
        wanted = [" ".join(text.split()) for name, text in given_mentions if name == label]
        assert [text for name, text in found.prediction if name == label] == wanted


@given(st.text())
def test_any_output_can_be_read(output: str) -> None:
    found = LAYOUT.parse(output)
    assert all(label in LAYOUT.labels and text.strip() for label, text in found.prediction)


@given(st.lists(st.sampled_from(["DOSAGE", "CONDITION", ":", ";", "|", "\\", " ", "x"])))
def test_any_near_miss_can_be_read(pieces: list[str]) -> None:
    found = LAYOUT.parse("".join(pieces))
    assert all(label in LAYOUT.labels for label, _ in found.prediction)


def test_only_the_first_line_is_read() -> None:
    assert LAYOUT.parse(LINE + "\nCONDITION: gout") == (MENTIONS, False)


def test_blanks_around_the_marks_do_not_matter() -> None:
    assert LAYOUT.parse(
        "MEDICATION:heparin ;Lasix|DOSAGE : 20  mg|CONDITION:none "
    ).prediction == (MENTIONS)


def test_an_escaped_none_is_a_mention() -> None:
    line = LAYOUT.write([Mention("CONDITION", "none")])
    assert line.endswith(r"CONDITION: \none")
    assert LAYOUT.parse(line) == ((Mention("CONDITION", "none"),), False)


@pytest.mark.parametrize(
    ("output", "kept"),
    [
        ("", ()),
        ("The patient takes heparin.", ()),
        ("\n" + LINE, ()),
        (LINE.replace("DOSAGE", "DOSE"), MENTIONS[:2]),
        (LINE.replace("DOSAGE", "dosage"), MENTIONS[:2]),
        (LINE + " | PROCEDURE: none", MENTIONS),
        (" MEDICATION: heparin; Lasix | DOSAGE: 20 mg", MENTIONS),
        (" MEDICATION: heparin; Lasix | DOSAGE: 20 mg | COND", MENTIONS),
        (LINE.replace("Lasix", "Lasix; "), MENTIONS),
        (LINE.replace("Lasix", "Lasix; none"), MENTIONS),
        (LINE + " | CONDITION: none", MENTIONS),
    ],
)
def test_a_fault_keeps_what_can_be_read_and_is_marked(
    output: str, kept: tuple[Mention, ...]
) -> None:
    assert LAYOUT.parse(output) == (kept, True)


@pytest.mark.parametrize("mention", [Mention("DRUG", "heparin"), Mention("DOSAGE", " ")])
def test_what_cannot_be_written_is_refused(mention: Mention) -> None:
    with pytest.raises(ValueError, match="cannot write"):
        LAYOUT.write([mention])
