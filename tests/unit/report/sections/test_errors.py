"""Tests of the section `errors` on studies without texts; see also integration/test_showing.

A text with what was asked for marked by who found it.
"""

import dataclasses
import html
import re

import pandas as pd
import pytest

from harness.report.sections import errors
from harness.report.sections.errors import Piece, cut, highlight, highlight_spans, spurious
from harness.results import ANSWER_COLUMNS, PASSAGE_COLUMNS, StudyResults, Texts


@pytest.mark.parametrize("size", ["full", "perplexity", "summaries", "intents", "searched", "one"])
def test_every_study_is_shown(size: str, request: pytest.FixtureRequest) -> None:
    results = request.getfixturevalue(size)
    assert "Descriptive only: no confidence intervals here" in errors.render(results)


def test_an_empty_study_says_so(empty: StudyResults) -> None:
    assert "Nothing has been scored yet" in errors.render(empty)
    assert all(frame.empty for frame in errors.tables(empty).values())


def test_texts_that_were_written_stand_beside_what_was_wanted(summaries: StudyResults) -> None:
    names = sorted(summaries.examples.query("split == 'test'")["example"].astype(str).unique())
    rows = [(name, 2, f"input <{name}>", f"wanted {name}") for name in names]
    passages = pd.DataFrame(rows, columns=list(PASSAGE_COLUMNS))
    texts = Texts("test", passages, pd.DataFrame(columns=list(ANSWER_COLUMNS)))
    examples = summaries.examples.assign(prediction="written <b>so</b>")
    page = errors.render(dataclasses.replace(summaries, texts=texts, examples=examples))
    shown = errors.differences_table(summaries)["example"].iloc[0]
    assert html.escape(f"input <{shown}>") in page
    assert f"wanted {shown}" in page
    assert "written &lt;b&gt;so&lt;/b&gt;" in page
    assert "<b>so</b>" not in page


TEXT = "Give <b>aspirin</b> 5 mg & watch."


def answers() -> pd.DataFrame:
    rows = [
        ("a", 1, "x", "DRUG", "aspirin", 8, "found", "", True),
        ("a", 2, "x", "DRUG", "aspirin", 8, "missed", "DOSE", True),
        ("b", 1, "x", "DRUG", "aspirin", 8, "missed", "", True),
        ("a", 1, "x", "DOSE", "5 mg", 20, "found", "", False),
        ("a", 2, "x", "DOSE", "5 mg", 20, "found", "", False),
        ("b", 1, "x", "DOSE", "5 mg", 20, "missed", "", False),
        ("a", 2, "x", "DOSE", "aspirin", -1, "spurious", "", pd.NA),
        ("a", 2, "x", "DRUG", "watch", -1, "spurious", "", pd.NA),
        ("a", 1, "x", "DRUG", "watch", -1, "spurious", "", pd.NA),
    ]
    return pd.DataFrame(rows, columns=list(ANSWER_COLUMNS))


def test_each_entity_counts_who_found_it() -> None:
    assert highlight_spans(answers(), ("a", "b")) == [
        Piece(8, "aspirin", "DRUG", (1, 0), (2, 1)),
        Piece(20, "5 mg", "DOSE", (2, 0), (2, 1)),
    ]


def test_marks_say_found_in_some_and_in_none_and_all_text_is_escaped() -> None:
    shown = str(highlight(TEXT, highlight_spans(answers(), ("a", "b"))))
    assert '<mark class="partly">aspirin<small> DRUG 1/2 · 0/1</small></mark>' in shown
    assert '<mark class="found">5 mg<small> DOSE 2/2 · 0/1</small></mark>' in shown
    assert "&lt;b&gt;" in shown
    assert "&amp; watch." in shown
    plain = re.sub(r"<small>.*?</small>|<[^>]+>", "", shown)
    assert plain == "Give &lt;b&gt;aspirin&lt;/b&gt; 5 mg &amp; watch."
    other = str(highlight(TEXT, highlight_spans(answers(), ("b", "a"))))
    assert other.count('class="missed"') == 2


def test_what_overlaps_is_marked_once() -> None:
    inner = Piece(8, "aspirin", "DRUG", (1,), (1,))
    outer = Piece(5, "<b>aspirin", "DRUG", (1,), (1,))
    assert str(highlight(TEXT, [outer, inner])).count("<mark") == 1


def test_what_nobody_asked_for_is_counted_by_seeds() -> None:
    assert spurious(answers(), "a", 5) == ["watch as DRUG 2/5", "aspirin as DOSE 1/5"]
    assert spurious(answers(), "b", 5) == []


def test_a_long_text_is_cut_around_its_first_entity() -> None:
    text = "word " * 300 + "aspirin " + "word " * 300
    piece = Piece(1500, "aspirin", "DRUG", (1,), (1,))
    shown = str(highlight(text, [piece]))
    assert shown.startswith("&hellip;")
    assert shown.endswith("&hellip;")
    assert "<mark" in shown
    assert len(shown) < 800
    assert cut("short") == "short"
    assert len(cut(text)) < 610


@pytest.mark.parametrize("text", ["", "no entity here"])
def test_without_entities_it_is_the_text(text: str) -> None:
    assert str(highlight(text, [])) == text
