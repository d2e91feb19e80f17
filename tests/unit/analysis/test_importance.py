import dataclasses

import pytest

from harness.analysis.importance import rung_correlation
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
