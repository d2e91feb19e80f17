"""Probabilities of lying on the front, on panels whose truth is clear or open."""

import numpy as np

from harness.analysis.pareto import front_probabilities
from harness.analysis.scores import Cube
from tests.studies import PERPLEXITY, ROUGE


def cube(means: list[float], noise: float, seeds: int = 5) -> Cube:
    rng = np.random.default_rng(0)
    table = np.array(means)[:, None] + noise * rng.standard_normal((len(means), seeds))
    values = table[:, :, None] + 0.05 * rng.standard_normal(60)
    statistics = np.stack([values, np.ones_like(values)], axis=-1)
    names = tuple(map(str, range(len(means))))
    return Cube(names, tuple(range(seeds)), tuple(map(str, range(60))), statistics)


def test_what_is_clear_is_sure() -> None:
    # Cheapest; dearer and better; dearest and worse than the second.
    found = front_probabilities(cube([0.5, 0.8, 0.6], 0.002), ROUGE, np.array([1.0, 2.0, 3.0]))
    assert found[0] == 1
    assert found[1] > 0.999
    assert found[2] < 0.001


def test_what_is_open_is_neither() -> None:
    close = cube([0.70, 0.701], 0.02)
    found = front_probabilities(close, ROUGE, np.array([1.0, 2.0]))
    assert found[0] == 1
    assert 0.02 < found[1] < 0.98
    # Of two that cost the same exactly one is on the front in each draw.
    same = front_probabilities(close, ROUGE, np.array([1.0, 1.0]))
    assert abs(same.sum() - 1) < 1e-9


def test_less_is_better_turns_it_round() -> None:
    given = cube([8.0, 6.0, 7.0], 0.01)
    tokens = given.statistics * np.array([1.0, 1.0])
    logs = given._replace(statistics=np.stack([np.log(tokens[..., 0]), tokens[..., 1]], axis=-1))
    found = front_probabilities(logs, PERPLEXITY, np.array([1.0, 2.0, 3.0]))
    assert found[1] > 0.999
    assert found[2] < 0.001


def test_unknown_costs_and_single_seeds_say_nothing() -> None:
    found = front_probabilities(cube([0.5, 0.8], 0.01), ROUGE, np.array([1.0, np.nan]))
    assert found[0] == 1
    assert np.isnan(found[1])
    alone = front_probabilities(cube([0.5, 0.8], 0.01, seeds=1), ROUGE, np.array([1.0, 2.0]))
    assert np.isnan(alone).all()
