from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from harness.report import formatting
from harness.report.baselines import baseline_table, reached, share_of_full

if TYPE_CHECKING:
    from harness.results import StudyResults


def test_the_baselines_are_scored_again_from_their_statistics(full: StudyResults) -> None:
    frame = baseline_table(full).set_index("name")
    rows = full.baselines[
        (full.baselines["name"] == "dictionary") & (full.baselines["split"] == "test")
    ]
    sums = rows[list(full.objective.columns)].to_numpy(dtype=float).sum(axis=0)
    assert frame.loc["dictionary", "value"] == pytest.approx(float(full.objective.value(sums)))
    assert frame.loc["dictionary", "examples"] == rows["example"].nunique()


@pytest.mark.parametrize("study", ["full", "perplexity"])
def test_all_of_them_stand_in_one_sentence(study: str, request: pytest.FixtureRequest) -> None:
    results: StudyResults = request.getfixturevalue(study)
    told = reached(results)
    scale = formatting.scale(results.objective)
    assert told.startswith("Without an adapter, on the test split: bare base ")
    assert told.endswith(f" {scale.unit}.")
    for row in baseline_table(results).to_dict("records"):
        assert f"{formatting.baseline(row['name'])} {scale.show(row['value'])}" in told


def test_where_nothing_was_scored_nothing_is_said(full: StudyResults) -> None:
    bare = dataclasses.replace(full, baselines=full.baselines.head(0))
    assert reached(bare) == ""


@pytest.mark.parametrize("study", ["intents", "likelihoods"])
def test_a_score_is_a_share_of_full_fine_tuning(
    study: str, request: pytest.FixtureRequest
) -> None:
    results: StudyResults = request.getfixturevalue(study)
    found = share_of_full(results, 0.8 if results.objective.sign > 0 else 4.0)
    assert found is not None
    trials = results.trials.query("stage == 'full' and state == 'complete'")
    scores = [
        float(
            results.objective.value(
                results.statistics(number, "test").to_numpy(dtype=float).sum(axis=0)
            )
        )
        for number in trials["number"]
    ]
    whole = sum(scores) / len(scores)
    bare = 0.0
    if results.objective.sign < 0:
        frame = baseline_table(results).set_index("name")["value"]
        bare = min(value for name, value in frame.items() if str(name).startswith("base"))
    value = 0.8 if results.objective.sign > 0 else 4.0
    assert found["value"] == f"{formatting.number(100 * (value - bare) / (whole - bare), 1)} %"
    assert formatting.scale(results.objective).show(whole) in found["note"]
    assert f"{len(scores)} seed" in found["note"]


def test_without_full_fine_tuning_there_is_no_share(full: StudyResults) -> None:
    assert share_of_full(full, 0.8) is None
