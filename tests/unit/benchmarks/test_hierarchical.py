"""The plain bootstrap against scipy's, and against a slow loop."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from benchmarks.hierarchical import Resampled, bca, percentile, resampled
from harness.aggregates import FORMS
from harness.analysis.bootstrap import example_weights

VALUE = FORMS["share"].value


def statistics(configurations: int, seeds: int, examples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (configurations, seeds, examples)
    hits = 0.7 + 0.02 * rng.standard_normal(shape[:2])[:, :, None] + rng.gamma(2, 0.1, shape)
    return np.stack([hits, np.ones(shape)], axis=-1)


def test_draws_are_those_of_a_slow_loop() -> None:
    given, matrix = statistics(3, 4, 20), np.array([[1.0, 0, 0], [1, -1, 0], [0, 1, -1]])
    found = resampled(given, VALUE, matrix, resamples=50, seed=7)
    weights = example_weights(20, 50, 7)
    drawn = np.random.default_rng(8).multinomial(4, [0.25] * 4, 50)
    for b in range(50):
        means = []
        for one in given:
            total = 0.0
            for seed in range(4):
                sums = sum(weights[b, e] * one[seed, e] for e in range(20))
                total += drawn[b, seed] * sums[0] / sums[1]
            means.append(total / 4)
        assert found.draws[:, b] == pytest.approx(matrix @ np.array(means))


def test_intervals_over_examples_are_scipys() -> None:
    # One configuration whose seeds are all alike: what is left is a bootstrap over examples.
    given = np.repeat(statistics(1, 1, 60), 3, axis=1)
    found = resampled(given, VALUE, np.eye(1), resamples=40_000)
    values = given[0, 0, :, 0]
    for method, made in (("percentile", percentile), ("BCa", bca)):
        wanted = bootstrap(
            (values,), np.mean, method=method, n_resamples=40_000, rng=np.random.default_rng(1)
        ).confidence_interval
        mine = made(found, 0.95)
        width = wanted.high - wanted.low
        assert float(mine.low[0]) == pytest.approx(wanted.low, abs=0.03 * width)
        assert float(mine.high[0]) == pytest.approx(wanted.high, abs=0.03 * width)


def test_bca_without_bias_or_acceleration_is_the_percentile() -> None:
    draws = np.linspace(-1, 1, 2001)[None]
    found = Resampled(np.zeros(1), draws, np.zeros(1))
    plain, corrected = percentile(found, 0.9), bca(found, 0.9)
    assert float(corrected.low[0]) == pytest.approx(float(plain.low[0]), abs=1e-3)
    assert float(corrected.high[0]) == pytest.approx(float(plain.high[0]), abs=1e-3)


def test_a_missing_training_is_refused() -> None:
    given = statistics(2, 3, 10)
    given[1, 2] = np.nan
    with pytest.raises(ValueError, match="the same seeds"):
        resampled(given, VALUE, np.eye(2), resamples=10)
