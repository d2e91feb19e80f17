"""Tests of the section `search`."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import pytest

from harness.report.sections import search

if TYPE_CHECKING:
    from harness.results import StudyResults


@pytest.mark.parametrize("study", ["full", "perplexity"])
def test_the_best_so_far_never_gets_worse(study: str, request: pytest.FixtureRequest) -> None:
    results: StudyResults = request.getfixturevalue(study)
    frame, sign = search.history_table(results), results.objective.sign
    assert (sign * frame["best"]).is_monotonic_increasing
    assert sign * frame["best"].iloc[-1] == (sign * frame["value"]).max()


def test_duplicates_pruned_and_failed_trials_are_not_in_the_history(full: StudyResults) -> None:
    frame = search.history_table(full)
    rows = full.trials[full.trials["stage"] == "search"]
    good = rows[(rows["state"] == "complete") & rows["duplicate_of"].isna()]
    assert list(frame["number"]) == list(good["number"])


def test_top_trials_are_the_best_ones(full: StudyResults) -> None:
    frame = search.top_table(full)
    assert len(frame) == search.TOP
    assert frame["value"].is_monotonic_decreasing
    assert frame["value"].iloc[0] == search.history_table(full)["value"].max()
    assert frame["parameters"].notna().all()


def test_states_add_up_to_all_trials(full: StudyResults) -> None:
    frame = search.state_table(full).set_index("stage")
    assert list(frame.index) == ["search", "tune", "ablate", "confirm"]
    assert int(frame.to_numpy().sum()) == len(full.trials)
    assert (frame.loc["search", "failed"], frame.loc["search", "pruned"]) == (1, 2)


def test_the_rung_correlation_is_told_where_it_is_known(
    full: StudyResults, one: StudyResults
) -> None:
    assert "+0.91" in search.render(full)
    assert "too few trials" in search.render(one)


def test_a_single_trial_draws_no_history(one: StudyResults) -> None:
    assert "there is no history to draw" in search.render(one)
    assert "<svg" not in search.render(one)


def test_importances_are_shown_as_they_were_noted(full: StudyResults) -> None:
    body = {
        "factors": [
            {"factor": "rank", "ped_anova": 0.005, "fanova": 0.19, "forest": 0.3, "low": -0.1}
            | {"high": 0.7},
            {"factor": "dropout", "ped_anova": None, "fanova": None, "forest": 0.0, "low": 0.0}
            | {"high": 0.1},
        ],
        "dependence": [{"factor": "rank", "level": 4, "value": 0.8, "low": 0.7, "high": 0.9}],
    }
    study = dataclasses.replace(full, attributes={**full.attributes, "importance": body})
    page = search.render(study)
    assert "PED-ANOVA" in page
    assert re.search(r"<td[^>]*>19</td>", page)
    assert "no ablation" in page
    assert len(search.importance_table(study)) == 2
    assert search.dependence_table(study)["level"].tolist() == [4]
    assert "begun before this was noted" in search.render(full)
