"""The split of the variance, on panels whose parts are known."""

import math

import numpy as np
import pytest
from scipy.stats import levene

from harness.analysis import estimates
from harness.analysis.estimates import variance_components
from harness.analysis.scores import ScoreArray, complete
from tests.studies import PERPLEXITY, ROUGE, config, confirm_results, empty_results, make_results


@pytest.fixture(scope="module")
def study():
    return make_results(sizes={"validation": 30, "test": 60}, trials=10)


def test_estimates_are_means_over_seeds(study):
    table = estimates.estimates(study, "confirm", "test").set_index("key")
    trials = complete(study, "confirm").groupby("key")["test"]
    assert table["value"].to_dict() == pytest.approx(trials.mean().to_dict())
    assert table["seed_sd"].to_dict() == pytest.approx(trials.std().to_dict())
    assert ((table["low"] < table["value"]) & (table["value"] < table["high"])).all()


def test_estimate_is_the_row_of_estimates(study):
    found = estimates.estimate(study, config().key, "confirm", "test")
    assert (found.seeds, found.examples) == (10, 60)
    assert found.low < found.value < found.high
    with pytest.raises(ValueError, match="no complete confirm trial of nobody"):
        estimates.estimate(study, "nobody", "confirm", "test")


def test_differences_are_taken_on_common_seeds(study):
    reference = config().key
    table = estimates.differences(study, "confirm", "test", reference).set_index("key")
    assert reference not in table.index
    trials = complete(study, "confirm").set_index(["key", "seed"])["test"]
    for key, row in table.iterrows():
        gap = (trials[key] - trials[reference]).dropna().mean()
        assert row["difference"] == pytest.approx(gap)
        assert row["low"] < gap < row["high"]
        assert row["p_holm"] >= row["p_value"]


def test_large_differences_are_found_and_small_ones_not(study):
    table = estimates.differences(study, "confirm", "test", config().key).set_index("key")
    assert table.loc[config(rank=4, target_modules="qv").key, "p_holm"] < 0.01
    assert table.loc[config(rank=32).key, "p_holm"] > 0.05


def test_differences_keep_the_direction_of_a_metric_that_is_minimised():
    worse = {config(): [0.85] * 5, config(rank=4): [0.70, 0.71, 0.70, 0.72, 0.70]}
    study = confirm_results(worse, objective=PERPLEXITY, examples=60)
    row = estimates.differences(study, "confirm", "test", config().key).iloc[0]
    assert 0 < row["low"] < row["difference"] < row["high"]
    assert row["difference"] == pytest.approx(1.2, abs=0.3)


def test_one_seed_has_a_value_and_no_interval():
    study = confirm_results({config(): [0.8], config(rank=8): [0.7]}, examples=20)
    table = estimates.estimates(study, "confirm", "test")
    assert table["value"].notna().all()
    assert table[["low", "high", "seed_sd"]].isna().all(axis=None)
    row = estimates.differences(study, "confirm", "test", config().key).iloc[0]
    assert math.isnan(row["low"])
    assert row["p_holm"] == 1


def test_nothing_scored_gives_empty_tables_with_columns():
    assert list(estimates.estimates(empty_results(), "confirm", "test").columns)[:2] == [
        "key",
        "value",
    ]
    assert estimates.differences(empty_results(), "confirm", "test", "x").empty
    assert math.isnan(estimates.noise_floor(empty_results()))


def test_noise_floor_pools_over_configurations(study):
    rows = [
        group["value"].to_numpy()
        for stage in ("ablate", "confirm")
        for _, group in complete(study, stage).groupby("key")
    ]
    total = sum(((row - row.mean()) ** 2).sum() for row in rows)
    expected = math.sqrt(total / sum(len(row) - 1 for row in rows))
    assert estimates.noise_floor(study) == pytest.approx(expected)


def test_infinite_bounds_are_told_as_unknown():
    assert np.isnan(estimates.finite(np.array([np.inf, -np.inf, 1.0]))).tolist() == [
        True,
        True,
        False,
    ]


def test_no_interval_reaches_beyond_what_can_be_scored():
    study = confirm_results({config(): [0.999, 0.9, 0.985]}, examples=40)
    table = estimates.estimates(study, "confirm", "test")
    assert table["high"].tolist() == [1.0]
    assert 0.0 <= table["low"].iloc[0] < table["value"].iloc[0]


def cube(table: np.ndarray, hard: np.ndarray) -> ScoreArray:
    """A panel of mean scores (C, S), with effects of examples that all share."""
    shape = (*table.shape, len(hard))
    values = table[:, :, None] + hard - hard.mean()
    statistics = np.stack([values, np.ones(shape)], axis=-1)
    statistics[np.isnan(values)] = np.nan
    names = tuple(map(str, range(len(table))))
    seeds = tuple(range(table.shape[1]))
    return ScoreArray(names, seeds, tuple(map(str, range(len(hard)))), statistics)


def test_parts_are_found_again() -> None:
    rng = np.random.default_rng(0)
    shared = 0.008 * rng.standard_normal(200)  # what a seed does to all alike
    table = 0.03 * rng.standard_normal((30, 1)) + shared + 0.006 * rng.standard_normal((30, 200))
    found = variance_components(cube(table, 0.2 * rng.standard_normal(400)), ROUGE)
    assert found.seed == pytest.approx(0.01, rel=0.05)
    assert found.configuration == pytest.approx(0.03, rel=0.3)
    assert found.example == pytest.approx(0.2 / math.sqrt(400), rel=0.1)
    assert found.correlation == pytest.approx(0.64, abs=0.08)
    assert found.pooled


def test_unlike_spreads_are_not_pooled() -> None:
    rng = np.random.default_rng(1)
    table = rng.standard_normal((3, 20)) * np.array([[0.001], [0.01], [0.03]])
    found = variance_components(cube(table, 0.1 * rng.standard_normal(50)), ROUGE)
    assert not found.pooled
    assert found.equal == pytest.approx(levene(*table, center="median").pvalue)
    assert [*found.seed_each] == pytest.approx([*table.std(axis=1, ddof=1)])


def test_missing_seeds_are_left_out() -> None:
    rng = np.random.default_rng(2)
    table = 0.8 + 0.01 * rng.standard_normal((4, 6))
    table[1, 3:] = np.nan
    found = variance_components(cube(table, 0.1 * rng.standard_normal(30)), ROUGE)
    own = [row[~np.isnan(row)] for row in table]
    pooled = sum(((x - x.mean()) ** 2).sum() for x in own) / sum(len(x) - 1 for x in own)
    assert found.seed == pytest.approx(math.sqrt(pooled))
    assert math.isfinite(found.example)


def test_one_seed_says_nothing_of_seeds() -> None:
    rng = np.random.default_rng(3)
    found = variance_components(
        cube(np.array([[0.8], [0.7]]), 0.1 * rng.standard_normal(30)), ROUGE
    )
    assert all(
        math.isnan(x) for x in (found.seed, found.equal, found.configuration, found.correlation)
    )
    assert found.example == pytest.approx(0.1 / math.sqrt(30), rel=0.3)
    assert found.pooled  # nothing says otherwise
