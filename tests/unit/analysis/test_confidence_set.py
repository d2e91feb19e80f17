"""The model confidence set against a slow loop, and over simulated studies."""

import numpy as np
import pytest

from harness.analysis.bootstrap import Contrasts
from harness.analysis.multiple_comparisons import Pairs, as_pairs, confidence_set, pair_matrix


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
