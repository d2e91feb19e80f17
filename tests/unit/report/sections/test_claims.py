"""Tests of the section `claims`."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import pytest

from harness.analysis.claim_tests import comparison_text, evaluate_claims
from harness.report.sections import claims

if TYPE_CHECKING:
    from harness.results import StudyResults


@pytest.mark.parametrize("study", ["full", "perplexity", "intents"])
def test_all_numbers_of_the_findings_are_shown(study: str, request: pytest.FixtureRequest) -> None:
    results: StudyResults = request.getfixturevalue(study)
    page = html.unescape(claims.render(results))
    found = evaluate_claims(results)
    shown = [comparison_text(results, one) for each in found for one in each.comparisons]
    assert len(shown) > 3
    assert all(told in page for told in shown)
    for verdict in ("supported", "contradicted", "not decided"):
        count = sum(each.verdict == verdict for each in found)
        assert f"{count} {verdict}" in page


def test_the_command_that_trains_what_is_missing_is_there(full: StudyResults) -> None:
    assert "python -m harness sweep made_up --claims" in claims.render(full)


def test_without_an_ablation_no_table_is_drawn(searched: StudyResults) -> None:
    page = claims.render(searched)
    assert "<table" not in page
    assert "claims need an ablation" in page
