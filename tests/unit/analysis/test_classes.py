import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_fscore_support

from harness.analysis.ablation import ablation_table
from harness.analysis.metric_tables import class_table, parts_of
from harness.results import Objective
from tests.studies import ACCURACY, F1, MACRO, PERPLEXITY, ROUGE, empty_results, make_results

SIZES = {"validation": 60, "test": 5}


@pytest.fixture(scope="module")
def study():
    return make_results(sizes=SIZES, trials=10, stages=("search", "ablate"))


def test_class_table_by_hand(study):
    table = class_table(study).set_index("class")
    assert list(table.index) == [*F1.classes, "micro", "macro"]
    assert list(table.columns)[:3] == ["base_0_shot", "base_5_shot", "dictionary"]
    assert list(table.columns)[3:] == ["r=4", "r=8", "r=16", "r=32", "best", "support"]
    rank = ablation_table(study, "rank").set_index("level")
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
    precision = class_table(study, part="precision").set_index("class")
    recall = class_table(study, part="recall").set_index("class")
    rows = study.baselines.query("name == 'dictionary' and split == 'validation'")
    tp, fp, fn = rows[["DOSAGE.tp", "DOSAGE.fp", "DOSAGE.fn"]].sum()
    assert precision.loc["DOSAGE", "dictionary"] == pytest.approx(tp / (tp + fp))
    assert recall.loc["DOSAGE", "dictionary"] == pytest.approx(tp / (tp + fn))
    assert recall.loc["DOSAGE", "support"] == tp + fn
    with pytest.raises(ValueError, match="unknown part 'f2'"):
        class_table(study, part="f2")


def test_class_table_on_other_modules(study):
    own, other = class_table(study), class_table(study, "qv")
    assert (other["r=16"] < own["r=16"]).any()
    assert class_table(study, "mlp").empty
    assert class_table(empty_results()).empty


def test_baselines_are_those_of_the_study_the_bare_base_first(study):
    names = {"dictionary": "copied", "base_0_shot": "base_16_shot"}
    renamed = study.baselines.assign(name=study.baselines["name"].replace(names))
    table = class_table(dataclasses.replace(study, baselines=renamed))
    assert list(table.columns)[1:4] == ["base_5_shot", "base_16_shot", "copied"]
    none = class_table(dataclasses.replace(study, baselines=study.baselines.head(0)))
    assert list(none.columns)[1] == "r=4"


@pytest.mark.parametrize(
    ("objective", "parts"),
    [
        (F1, ("f1", "precision", "recall")),
        (MACRO, ("f1", "precision", "recall")),
        (dataclasses.replace(F1, classes=("DRUG",)), ("f1", "precision", "recall")),
        (dataclasses.replace(F1, classes=("all",)), ()),
        (ACCURACY, ("score",)),
        (dataclasses.replace(ACCURACY, classes=("only",)), ()),
        (PERPLEXITY, ()),
        (ROUGE, ()),
    ],
)
def test_what_can_be_told_of_each_class(objective: Objective, parts):
    assert parts_of(objective) == parts


def test_a_pseudo_class_has_no_table():
    study = make_results(objective=ROUGE, sizes=SIZES, trials=4, stages=("search", "ablate"))
    assert class_table(study).empty


def test_accuracy_of_many_classes():
    study = make_results(objective=ACCURACY, sizes=SIZES, trials=4, stages=("search", "ablate"))
    table = class_table(study).set_index("class")
    assert list(table.columns)[:3] == ["base_0_shot", "base_5_shot", "most_frequent"]
    assert len(table) == 77 + 2
    assert table.loc["micro", "support"] == 60
    absent = table["support"] == 0
    assert absent.any()
    assert table.loc[absent, "r=16"].isna().all()
    there = table[~absent].drop(["micro", "macro"])
    weighted = (there["r=16"] * there["support"]).sum() / 60
    assert table.loc["micro", "r=16"] == pytest.approx(weighted)
    assert table.loc["macro", "r=16"] == pytest.approx(there["r=16"].mean())
    rank = ablation_table(study, "rank").set_index("level")
    assert table.loc["micro", "r=16"] == pytest.approx(rank.loc[16, "value"])


def test_macro_f1_of_many_classes_is_scikit_learns():
    study = make_results(objective=MACRO, sizes=SIZES, trials=4, stages=("search", "ablate"))
    rank = ablation_table(study, "rank").set_index("level")
    (number, *_) = study.trials.loc[
        (study.trials["stage"] == "ablate") & (study.trials["key"] == rank.loc[8, "key"]), "number"
    ]
    rows = study.statistics(number, "validation").to_numpy().reshape(60, 77, 3)
    wanted = (rows[:, :, 0] + rows[:, :, 2]).argmax(axis=1)
    found = (rows[:, :, 0] + rows[:, :, 1]).argmax(axis=1)
    alone = study.trials[study.trials["number"] == number]
    others = study.trials[study.trials["stage"] != "ablate"]
    single = dataclasses.replace(study, trials=pd.concat([others, alone]))
    labels = np.union1d(wanted, found)
    expected = precision_recall_fscore_support(wanted, found, labels=labels, zero_division=1.0)
    for part, values in zip(("precision", "recall", "f1"), expected, strict=False):
        table = class_table(single, part=part)
        assert table["r=8"].iloc[labels].tolist() == pytest.approx(values.tolist())
        assert table["r=8"].iloc[-1] == pytest.approx(values.mean())
    assert table["r=8"].iloc[-1] == pytest.approx(float(alone["value"].iloc[0]))
