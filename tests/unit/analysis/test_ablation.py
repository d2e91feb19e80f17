import dataclasses
import math

import pytest

from harness.analysis import ablation
from tests.studies import F1, PERPLEXITY, empty_results, make_results, one_trial_results

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


def test_class_table_by_hand(study):
    table = ablation.class_table(study).set_index("class")
    assert list(table.index) == [*F1.classes, "micro", "macro"]
    assert list(table.columns)[:3] == ["base_0_shot", "base_5_shot", "dictionary"]
    assert list(table.columns)[3:] == ["r=4", "r=8", "r=16", "r=32", "best", "support"]
    rank = ablation.ablation_table(study, "rank").set_index("level")
    assert table.loc["micro", "r=8"] == pytest.approx(rank.loc[8, "value"])
    key = rank.loc[8, "key"]
    rows = study.trials[(study.trials["stage"] == "ablate") & (study.trials["key"] == key)]
    numbers = rows["number"]
    each = []
    for number in numbers:
        tp, fp, fn = study.statistics(number, "validation").sum().iloc[:3]
        each.append(2 * tp / (2 * tp + fp + fn))
    assert table.loc["MEDICATION", "r=8"] == pytest.approx(sum(each) / 3)
    assert table.loc["macro", "r=8"] == pytest.approx(table.loc[list(F1.classes), "r=8"].mean())
    assert (table.loc["micro", "best"] >= table.loc["micro", ["r=4", "r=8", "r=16", "r=32"]]).all()


def test_precision_and_recall_are_ratios_of_counts(study):
    precision = ablation.class_table(study, part="precision").set_index("class")
    recall = ablation.class_table(study, part="recall").set_index("class")
    rows = study.baselines.query("name == 'dictionary' and split == 'validation'")
    tp, fp, fn = rows[["DOSAGE.tp", "DOSAGE.fp", "DOSAGE.fn"]].sum()
    assert precision.loc["DOSAGE", "dictionary"] == pytest.approx(tp / (tp + fp))
    assert recall.loc["DOSAGE", "dictionary"] == pytest.approx(tp / (tp + fn))
    assert recall.loc["DOSAGE", "support"] == tp + fn
    with pytest.raises(ValueError, match="unknown part 'f2'"):
        ablation.class_table(study, part="f2")


def test_class_table_on_other_modules(study):
    own, other = ablation.class_table(study), ablation.class_table(study, "qv")
    assert (other["r=16"] < own["r=16"]).any()
    assert ablation.class_table(study, "mlp").empty
    assert ablation.class_table(empty_results()).empty
