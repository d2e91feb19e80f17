"""Tests of `harness.report.findings`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.analysis import ablation, estimates
from harness.analysis.recommendation import recommend
from harness.report import findings
from tests import studies

if TYPE_CHECKING:
    import pytest


def test_it_says_what_the_analysis_says_and_says_it_once() -> None:
    results = studies.one_trial_results()
    found = findings.recommendation(results)
    assert (found.outcome, found.evidence) == (
        recommend(results).outcome,
        recommend(results).evidence,
    )
    assert findings.recommendation(results) is found
    assert findings.recommendation(studies.one_trial_results()) is not found


def test_ablation_tables_of_all_factors_read_the_examples_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = 0
    panel = ablation.score_array

    def counted(*given: object) -> object:
        nonlocal count
        count += 1
        return panel(*given)  # type: ignore[arg-type]

    for module in (ablation, estimates):
        monkeypatch.setattr(module, "score_array", counted)
    tables = findings.ablation(studies.make_results(), ("rank", "variant", "dropout"))
    assert all(len(table) > 1 for table in tables.values())
    assert count == 1
