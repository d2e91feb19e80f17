"""Tests of the section `errors` on studies without texts; see also integration/test_showing."""

import dataclasses
import html

import pandas as pd
import pytest

from harness.report.sections import errors
from harness.results import ANSWER_COLUMNS, PASSAGE_COLUMNS, StudyResults, Texts


@pytest.mark.parametrize("size", ["full", "perplexity", "summaries", "intents", "searched", "one"])
def test_every_study_is_shown(size: str, request: pytest.FixtureRequest) -> None:
    results = request.getfixturevalue(size)
    assert "A description of these texts, not a test" in errors.render(results)


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
