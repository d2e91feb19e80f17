import dataclasses
import json

import pytest

from harness.analysis.importance import importances, recordable_importances, rung_correlation
from tests.studies import PERPLEXITY, empty_results, make_results


@pytest.fixture(scope="module")
def study():
    return make_results(sizes={"validation": 40, "test": 5}, trials=16, stages=("search",))


def with_readings(study, reading):
    """The study with the reading at half of the steps put in place of the simulated one."""
    rows = study.measurements.copy()
    last = rows.groupby("trial")["step"].transform("max")
    values = rows["trial"].map(study.trials.set_index("number")["value"])
    early = rows["step"] <= last / 2
    rows.loc[early, "value"] = reading(values[early])
    return dataclasses.replace(study, measurements=rows)


def test_readings_that_rank_as_the_end_does_correlate_fully(study):
    assert rung_correlation(with_readings(study, lambda end: end / 2), 0.5) == pytest.approx(1)
    assert rung_correlation(with_readings(study, lambda end: -end), 0.5) == pytest.approx(-1)


def test_no_spread_is_no_correlation(study):
    assert rung_correlation(with_readings(study, lambda end: 0 * end), 0.5) is None


def test_a_share_before_the_first_reading_takes_the_first(study):
    assert rung_correlation(study, 0.01) == rung_correlation(study, 0.25)


def test_a_third_of_the_steps_says_much_in_the_simulation(study):
    assert rung_correlation(study, 0.33) > 0.8
    minimised = make_results(
        objective=PERPLEXITY, sizes={"validation": 40, "test": 5}, trials=16, stages=("search",)
    )
    assert rung_correlation(minimised, 0.33) > 0.8


def test_fewer_than_eight_trials_say_nothing():
    few = make_results(sizes={"validation": 5, "test": 5}, trials=8, stages=("search",))
    assert rung_correlation(few, 0.33) is None
    assert rung_correlation(empty_results(), 0.33) is None


@pytest.fixture(scope="module")
def long():
    """A search long enough that a forest sees something."""
    return make_results(trials=60, stages=("search",), sizes={"validation": 200, "test": 5})


def test_what_matters_in_the_simulation_is_found(long):
    frame, dependence = importances(long)
    assert set(frame["factor"]) == {
        *("variant", "rank", "alpha_ratio", "target_modules", "dropout", "learning_rate")
    }
    # q alone costs 15 points, a rate ten times off 12, rank 1 18; dropout and alpha nothing.
    first = set(frame["factor"][:3])
    assert first == {"target_modules", "learning_rate", "rank"}
    assert (frame["low"] <= frame["forest"]).all()
    assert (frame["forest"] <= frame["high"]).all()
    assert frame["ped_anova"].sum() == pytest.approx(1)
    assert frame["fanova"].sum() == pytest.approx(1)
    at = dependence.set_index(["factor", "level"])["value"]
    assert at["target_modules", "q"] < at["target_modules", "all_linear"]
    assert at["rank", 1] < at["rank", 16]


def test_equal_studies_have_equal_importances(long):
    for one, other in zip(importances(long), importances(long), strict=True):
        assert one.equals(other)


def test_less_is_better_finds_the_same():
    made = make_results(
        objective=PERPLEXITY, trials=60, stages=("search",), sizes={"validation": 40, "test": 5}
    )
    frame, dependence = importances(made)
    assert "target_modules" in set(frame["factor"][:3])
    at = dependence.set_index(["factor", "level"])["value"]
    assert at["target_modules", "q"] > at["target_modules", "all_linear"]


def test_what_is_noted_is_plain(long):
    body = recordable_importances(long)
    assert json.loads(json.dumps(body, allow_nan=False)) == body
    assert len(body["factors"]) == 6


def test_too_few_trials_or_equal_scores_have_no_importance(study):
    few = make_results(sizes={"validation": 5, "test": 5}, trials=8, stages=("search",))
    flat = dataclasses.replace(study, trials=study.trials.assign(value=0.5))
    for each in (few, flat, empty_results()):
        frame, dependence = importances(each)
        assert frame.empty
        assert dependence.empty
        assert recordable_importances(each) == {"factors": [], "dependence": []}
