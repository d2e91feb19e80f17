import gc

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from harness.analysis.bootstrap import Contrasts
from harness.analysis.multiple_comparisons import (
    Pairs,
    against_best,
    all_pairs,
    as_pairs,
    holm,
    joint_intervals,
    p_values,
    pair_matrix,
)


def made(estimate, error, resamples=40_001):
    """Contrasts whose draws are independent standard normals."""
    estimate, error = np.asarray(estimate, float), np.asarray(error, float)
    draws = np.random.default_rng(0).standard_normal((len(estimate), resamples))
    draws[~np.isfinite(error)] = 0
    nothing = np.zeros(len(estimate))
    return Contrasts(estimate, error, nothing, nothing, nothing, draws)


def pairs_of(scores, error, quantile_draws=1.0):
    """Pairs of known scores; the largest draw of each row is `quantile_draws` in every world."""
    gaps = np.subtract.outer(scores, scores)
    draws = np.full((len(scores), len(scores), 10), quantile_draws)
    return Pairs(gaps, np.full_like(gaps, error), -draws)


def test_pair_matrix_and_square_tables_agree():
    scores = np.array([3.0, 1.0, 4.0])
    found = made(pair_matrix(3) @ scores, [1, 1, 1], 5)
    pairs = as_pairs(found, 3)
    assert pairs.difference == pytest.approx(np.subtract.outer(scores, scores))
    assert (pairs.draws == -pairs.draws.transpose(1, 0, 2)).all()


def test_joint_intervals_are_as_wide_as_sidak_says():
    bounds = joint_intervals(made([0, 0, 0, 0, 0], [1, 1, 1, 1, 1]), 0.95)
    assert bounds.high == pytest.approx(2.569, abs=0.03)  # two-sided, 1 - 0.95 ** (1/5)


def test_holm_equals_the_worked_example():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.zeros(0)).size == 0


def test_holm_is_what_statsmodels_says_on_hundreds_of_families(monkeypatch):
    # It collects garbage at each call, which takes long in a process that holds much.
    monkeypatch.setattr(gc, "collect", lambda: 0)
    rng = np.random.default_rng(3)
    for size in (1, 2, 3, 10, 30) * 60:
        values = np.round(rng.uniform(0, rng.choice([0.01, 0.1, 1.0]), size), 3)  # many are equal
        wanted = multipletests(values, method="holm")[1]
        assert holm(values) == pytest.approx(wanted, rel=1e-12, abs=0)


def test_p_value_is_the_share_of_draws_beyond():
    assert p_values(made([1.96], [1.0]))[0] == pytest.approx(0.05, abs=0.005)
    assert p_values(made([5.0, 0.0], [0.0, 0.0])).tolist() == pytest.approx([0, 1], abs=1e-4)


def test_comparison_with_the_best_follows_hsu_by_hand():
    # Scores 10, 9.5, 6; every reach is q se = 1.
    found = against_best(pairs_of(np.array([10.0, 9.5, 6.0]), 1.0), 0.95)
    assert found.critical == pytest.approx(1.0)
    assert found.high == pytest.approx([0.5 + 1, -0.5 + 1, 0])
    assert found.possible.tolist() == [True, True, False]
    # Only those that may be the best are feared: 10 against 9.5, both against each other.
    assert found.low == pytest.approx([min(0, 0.5 - 1), -0.5 - 1, -4 - 1])


def test_a_clear_winner_has_a_bound_of_nothing():
    found = against_best(pairs_of(np.array([10.0, 5.0]), 1.0), 0.95)
    assert found.low[0] == 0
    assert found.high[1] == 0


def test_an_unknown_error_leaves_everything_open():
    pairs = pairs_of(np.array([10.0, 9.0]), np.inf, 0.0)
    found = against_best(pairs, 0.95)
    assert (found.low == -np.inf).all()
    assert found.possible.all()
    off = ~np.eye(2, dtype=bool)
    assert (all_pairs(pairs, 0.95).high[off] == np.inf).all()


def test_a_single_configuration_has_nothing_to_be_compared_with():
    found = against_best(pairs_of(np.array([1.0]), 1.0), 0.95)
    assert found.possible.tolist() == [True]
