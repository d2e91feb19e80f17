"""Two-way tables on simulated studies: the estimate is the difference of differences."""

import numpy as np
import pytest

from harness.analysis.ablation import COLUMNS_INTERACTION as COLUMNS
from harness.analysis.ablation import interaction_table, pairs_of
from harness.results import StudyResults
from tests.studies import PERPLEXITY, empty_results, make_results

PAIR = "rank@target_modules=qv"


def mean(results: StudyResults, factor: str, level: object) -> float:
    key = next(
        cell["key"]
        for cell in results.attributes["cells"]
        if (cell["factor"], cell["level"]) == (factor, level)
    )
    rows = results.trials
    return float(rows.loc[(rows["stage"] == "ablate") & (rows["key"] == key), "value"].mean())


@pytest.fixture(scope="module")
def results() -> StudyResults:
    return make_results(stages=("search", "ablate"))


def test_an_interaction_is_the_difference_of_two_differences(results: StudyResults) -> None:
    assert pairs_of(results) == (PAIR,)
    frame = interaction_table(results, PAIR).set_index("level")
    assert [*frame.index] == [4, 8, 32]
    assert set(frame["reference"]) == {16}
    for level in frame.index:
        here = mean(results, "rank", level) - mean(results, "rank", 16)
        there = mean(results, PAIR, level) - mean(results, PAIR, 16)
        row = frame.loc[level]
        assert row["difference"] == pytest.approx(here)
        assert row["difference_held"] == pytest.approx(there)
        assert row["interaction"] == pytest.approx(there - here)
        assert row["low"] < row["interaction"] < row["high"]
        assert (row["low"] > 0 or row["high"] < 0) == (row["p_holm"] < 0.05)


def test_without_an_interaction_it_is_hardly_ever_found() -> None:
    # In the simulated world, effects add up.
    found = [
        bool((interaction_table(each, PAIR)["p_holm"] < 0.05).any())
        for each in (
            make_results(stages=("search", "ablate"), seed=seed, trials=10) for seed in range(8)
        )
    ]
    assert sum(found) <= 2


def test_less_is_better_changes_nothing_but_the_numbers() -> None:
    frame = interaction_table(
        make_results(objective=PERPLEXITY, stages=("search", "ablate")), PAIR
    )
    assert np.isfinite(frame[["interaction", "low", "high"]].to_numpy(dtype=float)).all()


def test_without_cells_there_is_no_table() -> None:
    for each in (empty_results(), make_results(stages=("search",))):
        frame = interaction_table(each, PAIR)
        assert frame.empty
        assert [*frame.columns] == [*COLUMNS]
        assert pairs_of(each) == ()
