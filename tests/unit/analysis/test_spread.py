"""The split of the variance, on panels whose parts are known."""

import math

import numpy as np
import pytest
from scipy.stats import levene

from harness.analysis.estimates import spread
from harness.analysis.scores import Cube
from tests.studies import ROUGE


def cube(table: np.ndarray, hard: np.ndarray) -> Cube:
    """A panel of mean scores (C, S), with effects of examples that all share."""
    shape = (*table.shape, len(hard))
    values = table[:, :, None] + hard - hard.mean()
    statistics = np.stack([values, np.ones(shape)], axis=-1)
    statistics[np.isnan(values)] = np.nan
    names = tuple(map(str, range(len(table))))
    seeds = tuple(range(table.shape[1]))
    return Cube(names, seeds, tuple(map(str, range(len(hard)))), statistics)


def test_parts_are_found_again() -> None:
    rng = np.random.default_rng(0)
    shared = 0.008 * rng.standard_normal(200)  # what a seed does to all alike
    table = 0.03 * rng.standard_normal((30, 1)) + shared + 0.006 * rng.standard_normal((30, 200))
    found = spread(cube(table, 0.2 * rng.standard_normal(400)), ROUGE)
    assert found.seed == pytest.approx(0.01, rel=0.05)
    assert found.configuration == pytest.approx(0.03, rel=0.3)
    assert found.example == pytest.approx(0.2 / math.sqrt(400), rel=0.1)
    assert found.correlation == pytest.approx(0.64, abs=0.08)
    assert found.pooled


def test_unlike_spreads_are_not_pooled() -> None:
    rng = np.random.default_rng(1)
    table = rng.standard_normal((3, 20)) * np.array([[0.001], [0.01], [0.03]])
    found = spread(cube(table, 0.1 * rng.standard_normal(50)), ROUGE)
    assert not found.pooled
    assert found.equal == pytest.approx(levene(*table, center="median").pvalue)
    assert [*found.seed_each] == pytest.approx([*table.std(axis=1, ddof=1)])


def test_missing_seeds_are_left_out() -> None:
    rng = np.random.default_rng(2)
    table = 0.8 + 0.01 * rng.standard_normal((4, 6))
    table[1, 3:] = np.nan
    found = spread(cube(table, 0.1 * rng.standard_normal(30)), ROUGE)
    own = [row[~np.isnan(row)] for row in table]
    pooled = sum(((x - x.mean()) ** 2).sum() for x in own) / sum(len(x) - 1 for x in own)
    assert found.seed == pytest.approx(math.sqrt(pooled))
    assert math.isfinite(found.example)


def test_one_seed_says_nothing_of_seeds() -> None:
    rng = np.random.default_rng(3)
    found = spread(cube(np.array([[0.8], [0.7]]), 0.1 * rng.standard_normal(30)), ROUGE)
    assert all(
        math.isnan(x) for x in (found.seed, found.equal, found.configuration, found.correlation)
    )
    assert found.example == pytest.approx(0.1 / math.sqrt(30), rel=0.3)
    assert found.pooled  # nothing says otherwise
