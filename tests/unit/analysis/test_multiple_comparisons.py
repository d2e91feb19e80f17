"""The model confidence set against a slow loop, and over simulated studies."""

import gc

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from harness.analysis.bootstrap import Contrasts
from harness.analysis.multiple_comparisons import (
    Pairs,
    against_best,
    all_pairs_bounds,
    as_pairs,
    confidence_set,
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
    assert (all_pairs_bounds(pairs, 0.95).high[off] == np.inf).all()


def test_a_single_configuration_has_nothing_to_be_compared_with():
    found = against_best(pairs_of(np.array([1.0]), 1.0), 0.95)
    assert found.possible.tolist() == [True]


def pairs(means: np.ndarray, spread: float, draws: np.ndarray) -> Pairs:
    """Pairs of estimates with independent errors of that spread; draws are (C, B) normals."""
    matrix = pair_matrix(len(means))
    error = np.full(len(matrix), spread * np.sqrt(2))
    nothing = np.zeros(len(matrix))
    found = Contrasts(
        matrix @ means, error, nothing, nothing, nothing, matrix @ draws / np.sqrt(2)
    )
    return as_pairs(found, len(means))


def slowly(given: Pairs) -> dict[int, float]:
    """Hansen, Lunde and Nason's steps one by one."""
    left, values, running = [*range(len(given.difference))], {}, 0.0
    while len(left) > 1:
        statistic, worst = -1.0, -1
        for i in left:
            for j in left:
                if i != j:
                    t = -given.difference[i, j] / given.error[i, j]
                    if t > statistic:
                        statistic, worst = t, i
        beyond = 0
        for b in range(given.draws.shape[2]):
            largest = max(abs(given.draws[i, j, b]) for i in left for j in left)
            beyond += largest >= statistic
        running = max(running, (1 + beyond) / (1 + given.draws.shape[2]))
        values[worst] = running
        left.remove(worst)
    return {**values, left[0]: 1.0}


def test_p_values_are_those_of_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    given = pairs(np.array([0.0, 1.0, 2.5, 3.0, 3.1]), 0.6, rng.standard_normal((5, 300)))
    found, wanted = confidence_set(given, 0.05), slowly(given)
    assert [*found.p_values] == pytest.approx([wanted[i] for i in range(5)])
    assert [*found.inside] == [wanted[i] >= 0.05 for i in range(5)]
    assert not found.inside[0]


def test_the_best_is_in_the_set_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((6, 2000))
    inside, sizes = 0, []
    for _ in range(400):
        means = np.array([0.0, 0.0, 0.0, 0.0, -0.5, -6.0]) + rng.standard_normal(6)
        found = confidence_set(pairs(means, 1.0, draws), 0.1)
        inside += bool(found.inside[:4].all())  # all four that are best
        sizes.append(found.inside.sum())
        assert found.p_values.max() == 1
    assert 0.87 <= inside / 400 <= 1.0
    assert np.mean(sizes) < 5.2  # and the last one is out


def test_equal_scores_stay_and_what_cannot_be_told_stays() -> None:
    draws = np.random.default_rng(2).standard_normal((3, 500))
    assert confidence_set(pairs(np.ones(3), 1.0, draws), 0.05).inside.all()
    given = pairs(np.array([0.0, 5.0, 5.0]), 1.0, draws)
    unknown = given._replace(error=np.full((3, 3), np.inf))
    assert confidence_set(unknown, 0.05).inside.all()


def test_one_configuration_is_its_own_set() -> None:
    alone = Pairs(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1, 10)))
    assert confidence_set(alone, 0.05).inside.all()
