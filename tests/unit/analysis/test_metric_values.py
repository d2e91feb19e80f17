"""All metrics of a task: whose, on which split, with which interval."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from harness.analysis.estimates import estimates
from harness.analysis.metric_tables import SHOWN, metric_values, metrics_of, over_seeds
from harness.analysis.scores import complete
from harness.results import StudyResults
from tests import studies


@pytest.fixture(scope="module")
def full() -> StudyResults:
    return studies.make_results()


def test_the_interval_is_students_over_the_seeds() -> None:
    values = [0.81, 0.84, 0.80, 0.87]
    found = over_seeds(values, "share")
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found == pytest.approx((np.mean(values), low, high))


def test_an_interval_keeps_to_what_the_metric_can_be() -> None:
    assert over_seeds([0.2, 0.99], "share")[1:] == (0.0, 1.0)
    assert over_seeds([1.1, 3.0], "perplexity").low == 1.0
    assert over_seeds([1.1, 3.0], "mean").low < 0


def test_one_seed_has_no_interval_and_no_seed_no_value() -> None:
    one = over_seeds([0.5, np.nan], "share")
    assert one.value == 0.5
    assert np.isnan(one.low)
    assert np.isnan(one.high)
    assert np.isnan(over_seeds([], "share")).all()


def test_finalists_stand_on_test_the_best_first_then_the_baselines(full: StudyResults) -> None:
    found = metric_values(full)
    assert (found.stage, found.split) == ("confirm", "test")
    assert [one.name for one in found.metrics] == ["entity_f1", "exact_match"]
    own = found.frame[found.frame["metric"] == "entity_f1"]
    trained = own[own["baseline"] == ""]
    wanted = estimates(full, "confirm", "test").set_index("key")
    assert set(trained["key"]) == set(wanted.index)
    assert trained["value"].is_monotonic_decreasing
    for row in trained.to_dict("records"):
        expected = wanted.loc[row["key"], ["value", "low", "high", "seeds"]].tolist()
        assert [row[name] for name in ("value", "low", "high", "seeds")] == expected
    names = own["baseline"].tolist()[len(trained) :]
    assert names == ["base_0_shot", "base_5_shot", "dictionary"]


def test_another_metric_is_the_mean_over_the_trials_that_count(full: StudyResults) -> None:
    found = metric_values(full).frame
    trials = complete(full, "confirm")
    for row in found[(found["metric"] == "exact_match") & (found["baseline"] == "")].to_dict(
        "records"
    ):
        # As the simulation has it, the other metric is the objective's square.
        squares = trials.loc[trials["key"] == row["key"], "test"].to_numpy(dtype=float) ** 2
        assert row["value"] == pytest.approx(squares.mean())
        assert row["low"] < row["value"] < row["high"]
        assert row["seeds"] == len(squares)


def test_a_baseline_has_values_and_no_interval(full: StudyResults) -> None:
    found = metric_values(full).frame
    rows = found[found["baseline"] == "dictionary"].set_index("metric")
    assert rows.loc["exact_match", "value"] == pytest.approx(rows.loc["entity_f1", "value"] ** 2)
    assert rows[["low", "high"]].isna().all(axis=None)


def test_where_less_is_better_the_lowest_comes_first() -> None:
    results = studies.make_results(objective=studies.PERPLEXITY)
    found = metric_values(results)
    own = found.frame[(found.frame["metric"] == "perplexity") & (found.frame["baseline"] == "")]
    assert own["value"].is_monotonic_increasing
    assert [one.direction for one in found.metrics] == ["minimize", "minimize"]


@pytest.mark.parametrize("stages", [("search",), ("search", "ablate")])
def test_without_finalists_the_best_so_far_stand_on_validation(stages: tuple[str, ...]) -> None:
    results = studies.make_results(stages=stages)
    found = metric_values(results)
    assert (found.stage, found.split) == (stages[-1], "validation")
    own = found.frame[(found.frame["metric"] == "entity_f1") & (found.frame["baseline"] == "")]
    assert len(own) == SHOWN
    assert own["value"].is_monotonic_decreasing
    best = complete(results, stages[-1]).groupby("key")["value"].mean().max()
    assert own["value"].iloc[0] == pytest.approx(best, abs=1e-6)
    assert own["low"].isna().all() == (stages == ("search",))


def test_a_study_that_noted_no_metrics_has_its_objective(full: StudyResults) -> None:
    old = dataclasses.replace(full, attributes={}, metrics=studies.empty_results().metrics)
    assert [one.name for one in metrics_of(old)] == ["entity_f1"]
    found = metric_values(old).frame
    assert set(found["metric"]) == {"entity_f1"}
    assert found["value"].notna().all()


def test_an_empty_study_has_no_row() -> None:
    found = metric_values(studies.empty_results())
    assert (found.stage, len(found.frame)) == ("", 0)
