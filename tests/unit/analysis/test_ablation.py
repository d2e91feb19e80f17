"""Two-way tables on simulated studies: the estimate is the difference of differences."""

import dataclasses
import math

import numpy as np
import pytest

from harness.analysis import ablation
from harness.analysis.ablation import INTERACTION_COLUMNS as COLUMNS
from harness.analysis.ablation import interaction_table, pairs_of, tuned_rate
from harness.analysis.scores import score_from_rows
from harness.results import StudyResults
from tests.simulation import World
from tests.studies import (
    F1,
    PERPLEXITY,
    config,
    empty_results,
    make_results,
    one_trial_results,
)
from tests.studies import sweep_settings as frozen
from tests.tables import StudyBuilder

SIZES = {"validation": 60, "test": 5}


@pytest.fixture(scope="module")
def study():
    return make_results(sizes=SIZES, trials=10, stages=("search", "ablate"))


def changed(study, **attributes):
    return dataclasses.replace(study, attributes={**study.attributes, **attributes})


def test_rank_table_has_a_row_a_level_against_the_incumbent(study):
    table = ablation.ablation_table(study, "rank").set_index("level")
    assert list(table.index) == [4, 8, 16, 32]
    assert table["reference"].tolist() == [False, False, True, False]
    assert (table["seeds"] == 3).all()
    assert table.loc[16, "difference"] == 0
    assert math.isnan(table.loc[16, "difference_low"])
    gap = table.loc[4, "value"] - table.loc[16, "value"]
    assert table.loc[4, "difference"] == pytest.approx(gap)
    assert table.loc[4, "difference_low"] < gap < table.loc[4, "difference_high"] < 0
    assert table.loc[4, "p_holm"] < 0.05
    assert not table.loc[4, "near_best"]
    assert table["parameters"].tolist() == [10240.0 * rank for rank in (4, 8, 16, 32)]


@pytest.mark.parametrize("factor", [*ablation.FACTORS, "rank@target_modules=qv"])
def test_each_factor_has_its_reference(study, factor):
    table = ablation.ablation_table(study, factor)
    assert list(table.columns) == list(ablation.COLUMNS)
    assert table["reference"].sum() == 1


def test_a_study_without_such_rows_gives_an_empty_table(study):
    for other in (empty_results(), one_trial_results(), changed(study, cells=[])):
        table = ablation.ablation_table(other, "rank")
        assert table.empty
        assert list(table.columns) == list(ablation.COLUMNS)


def test_effective_scale_follows_the_variant(study):
    cells = [dict(cell) for cell in study.attributes["cells"]]
    for cell in cells:
        cell["config"] = {**cell["config"], "variant": "rslora"}
    table = ablation.ablation_table(changed(study, cells=cells), "rank").set_index("level")
    assert table.loc[16, "scale"] == pytest.approx(32 / 4)
    assert ablation.ablation_table(study, "rank").set_index("level").loc[16, "scale"] == 2


def test_a_rate_at_the_end_of_its_grid_is_marked():
    assert ablation.at_edge({"rate": 1.0, "rates": [1.0, 2.0, 3.0]})
    assert ablation.at_edge({"rate": 3.0, "rates": [1.0, 2.0, 3.0]})
    assert not ablation.at_edge({"rate": 2.0, "rates": [1.0, 2.0, 3.0]})
    assert not ablation.at_edge({"rate": 2.0, "rates": [2.0]})


def test_without_an_incumbent_there_are_values_and_no_differences(study):
    table = ablation.ablation_table(changed(study, incumbent=None), "rank")
    assert table["value"].notna().all()
    assert table[["difference", "p_holm"]].isna().all(axis=None)


def test_thin_evidence_is_never_near_the_best():
    study = make_results(
        sizes={"validation": 30, "test": 5},
        trials=8,
        ablation_seeds=1,
        stages=("search", "ablate"),
    )
    table = ablation.ablation_table(study, "rank")
    assert (table["seeds"] == 1).all()
    assert not table["near_best"].any()
    assert table["low"].isna().all()


def test_less_is_better_for_perplexity():
    study = make_results(
        objective=PERPLEXITY,
        sizes={"validation": 40, "test": 5},
        trials=8,
        stages=("search", "ablate"),
    )
    table = ablation.ablation_table(study, "rank").set_index("level")
    assert table.loc[4, "difference_low"] > 0
    assert not table.loc[4, "near_best"]


def full_study(objective, **settings):
    return make_results(
        objective=objective,
        sizes={"validation": 60, "test": 5},
        trials=6,
        stages=("search", "ablate", "full"),
        **settings,
    )


def test_a_score_is_told_in_percent_of_full_fine_tunings():
    study = full_study(F1)
    table = ablation.ablation_table(study, "rank")
    share = 100 * table["value"] / ablation.full_score(study)
    assert table["percent_of_full"].tolist() == pytest.approx(share.tolist())
    assert table["percent_of_gain"].isna().all()


def test_a_perplexity_is_told_as_a_share_of_the_gain():
    study = full_study(PERPLEXITY)
    table = ablation.ablation_table(study, "rank").set_index("level")
    base, full = ablation.base_score(study), ablation.full_score(study)
    assert full < table.loc[16, "value"] < table.loc[4, "value"] < base
    assert table["percent_of_full"].isna().all()
    expected = 100 * (base - table.loc[16, "value"]) / (base - full)
    assert table.loc[16, "percent_of_gain"] == pytest.approx(expected)
    assert 80 < table.loc[4, "percent_of_gain"] < table.loc[16, "percent_of_gain"] < 100
    assert (table["gain"] > 0).all()


def test_no_share_is_told_where_full_fine_tuning_gains_nothing():
    study = full_study(PERPLEXITY)
    worse = study.trials["value"].where(study.trials["stage"] != "full", 12.0)
    table = ablation.ablation_table(
        dataclasses.replace(study, trials=study.trials.assign(value=worse)), "rank"
    )
    assert table[["percent_of_full", "percent_of_gain"]].isna().all(axis=None)


def test_the_bare_base_is_the_one_with_the_fewest_examples(study):
    rows = study.baselines
    for names, expected in (
        (["base_5_shot", "base_16_shot"], "base_5_shot"),
        (["base", "base_5_shot"], "base"),
        (["dictionary"], None),
    ):
        kept = dict(zip(["base_0_shot", "base_5_shot"], names, strict=False))
        renamed = rows[rows["name"].isin(kept)].assign(name=lambda r, k=kept: r["name"].map(k))
        other = dataclasses.replace(study, baselines=renamed)
        found = ablation.base_score(other)
        if expected is None:
            assert math.isnan(found)
        else:
            chosen = renamed[(renamed["name"] == expected) & (renamed["split"] == "validation")]
            assert found == score_from_rows(chosen, study.objective)


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


RATES = (1e-3, 2e-3, 4e-3)


def tuned(scores, objective=F1, examples=200):
    """The rate chosen where the true scores at `RATES` are these, NaN for a run that failed."""
    study = StudyBuilder(World(objective, {"validation": examples}, seed=1), frozen(), "tuning")
    keys = {}
    for rate, score in zip(RATES, scores, strict=True):
        cell = config(learning_rate=rate)
        keys[rate] = cell.key
        study.add("tune", cell, "failed" if math.isnan(score) else "complete", score=score)
    return tuned_rate(study.results(), keys)


@pytest.mark.parametrize("objective", [F1, PERPLEXITY], ids=["maximise", "minimise"])
def test_a_rate_that_is_clearly_better_is_taken(objective):
    assert tuned((0.6, 0.7, 0.85), objective) == 4e-3
    assert tuned((0.6, 0.85, 0.7), objective) == 2e-3
    assert tuned((0.85, 0.7, 0.6), objective) == 1e-3


@pytest.mark.parametrize("objective", [F1, PERPLEXITY], ids=["maximise", "minimise"])
def test_of_rates_that_cannot_be_told_apart_the_lowest_is_taken(objective):
    assert tuned((0.6, 0.8495, 0.8505), objective) == 2e-3
    assert tuned((0.8495, 0.85, 0.8505), objective) == 1e-3


def test_more_examples_tell_more_apart():
    assert tuned((0.6, 0.82, 0.84), examples=100) == 2e-3
    assert tuned((0.6, 0.82, 0.84), examples=4000) == 4e-3


def test_failed_runs_do_not_count():
    assert tuned((math.nan, 0.7, math.nan)) == 2e-3
    assert tuned((math.nan, math.nan, math.nan)) is None
    assert tuned_rate(empty_results(), {1e-3: config().key}) is None


def test_one_example_is_no_evidence_for_equality():
    assert tuned((0.01, 0.01, 0.98), examples=1) == 4e-3
