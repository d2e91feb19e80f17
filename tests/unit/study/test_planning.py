import math

import pytest

from harness.study.planning import TimeBudget, trial_seconds
from tests.studies import empty_results, make_results


def test_without_a_bound_everything_fits():
    assert math.isinf(TimeBudget().trials_that_fit(0.5, 30.0))


def test_a_bound_is_shared_by_the_workers():
    # Half of 600 seconds less 100 spent, by two workers, at 20 seconds a trial.
    assert TimeBudget(600.0, 100.0, 2).trials_that_fit(0.5, 20.0) == pytest.approx(20.0)


def test_nothing_fits_after_the_share_is_spent():
    assert TimeBudget(600.0, 400.0, 2).trials_that_fit(0.5, 20.0) == 0.0


def test_a_full_trial_is_timed_by_its_median():
    results = make_results()
    full = results.trials[
        (results.trials["state"] == "complete")
        & (results.trials["budget"] == 1.0)
        & (results.trials["stage"] != "confirm")
        & results.trials["duplicate_of"].isna()
    ]
    costs = results.costs.set_index("trial").loc[list(full["number"])]
    expected = (costs["train_seconds"] + costs["score_seconds"]).median()
    assert trial_seconds(results) == expected > 0


def test_an_empty_study_has_no_time():
    assert trial_seconds(empty_results()) == 0.0
