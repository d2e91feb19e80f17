import dataclasses
import math

import pytest

from harness.analysis import ablation
from harness.analysis.scores import score_from_rows
from tests.studies import (
    F1,
    PERPLEXITY,
    empty_results,
    make_results,
    one_trial_results,
)

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
