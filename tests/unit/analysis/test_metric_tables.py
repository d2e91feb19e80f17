"""All metrics of a task: whose, on which split, with which interval."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import precision_recall_fscore_support

from harness.analysis.ablation import ablation_table
from harness.analysis.estimates import estimates
from harness.analysis.metric_tables import (
    MAX_CONFIGURATIONS,
    class_table,
    metric_values,
    metrics_of,
    over_seeds,
    parts_of,
)
from harness.analysis.scores import complete
from harness.results import Objective, StudyResults
from tests import studies
from tests.studies import ACCURACY, F1, MACRO, PERPLEXITY, ROUGE, empty_results, make_results


@pytest.fixture(scope="module")
def full() -> StudyResults:
    return studies.make_results()


def test_the_interval_is_students_over_the_seeds() -> None:
    values = [0.81, 0.84, 0.80, 0.87]
    found = over_seeds(values, "share")
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found == pytest.approx((np.mean(values), low, high))


def test_an_interval_keeps_to_what_the_metric_can_be() -> None:
    assert over_seeds([0.2, 0.99], "share")[1:] == (0.0, 1.0)
    assert over_seeds([1.1, 3.0], "perplexity").low == 1.0
    assert over_seeds([1.1, 3.0], "mean").low < 0


def test_one_seed_has_no_interval_and_no_seed_no_value() -> None:
    one = over_seeds([0.5, np.nan], "share")
    assert one.value == 0.5
    assert np.isnan(one.low)
    assert np.isnan(one.high)
    assert np.isnan(over_seeds([], "share")).all()


def test_finalists_stand_on_test_the_best_first_then_the_baselines(full: StudyResults) -> None:
    found = metric_values(full)
    assert (found.stage, found.split) == ("confirm", "test")
    assert [one.name for one in found.metrics] == ["entity_f1", "exact_match"]
    own = found.frame[found.frame["metric"] == "entity_f1"]
    trained = own[own["baseline"] == ""]
    wanted = estimates(full, "confirm", "test").set_index("key")
    assert set(trained["key"]) == set(wanted.index)
    assert trained["value"].is_monotonic_decreasing
    for row in trained.to_dict("records"):
        expected = wanted.loc[row["key"], ["value", "low", "high", "seeds"]].tolist()
        assert [row[name] for name in ("value", "low", "high", "seeds")] == expected
    names = own["baseline"].tolist()[len(trained) :]
    assert names == ["base_0_shot", "base_5_shot", "dictionary"]


def test_another_metric_is_the_mean_over_the_trials_that_count(full: StudyResults) -> None:
    found = metric_values(full).frame
    trials = complete(full, "confirm")
    for row in found[(found["metric"] == "exact_match") & (found["baseline"] == "")].to_dict(
        "records"
    ):
        # As the simulation has it, the other metric is the objective's square.
        squares = trials.loc[trials["key"] == row["key"], "test"].to_numpy(dtype=float) ** 2
        assert row["value"] == pytest.approx(squares.mean())
        assert row["low"] < row["value"] < row["high"]
        assert row["seeds"] == len(squares)


def test_a_baseline_has_values_and_no_interval(full: StudyResults) -> None:
    found = metric_values(full).frame
    rows = found[found["baseline"] == "dictionary"].set_index("metric")
    assert rows.loc["exact_match", "value"] == pytest.approx(rows.loc["entity_f1", "value"] ** 2)
    assert rows[["low", "high"]].isna().all(axis=None)


def test_where_less_is_better_the_lowest_comes_first() -> None:
    results = studies.make_results(objective=studies.PERPLEXITY)
    found = metric_values(results)
    own = found.frame[(found.frame["metric"] == "perplexity") & (found.frame["baseline"] == "")]
    assert own["value"].is_monotonic_increasing
    assert [one.direction for one in found.metrics] == ["minimize", "minimize"]


@pytest.mark.parametrize("stages", [("search",), ("search", "ablate")])
def test_without_finalists_the_best_so_far_stand_on_validation(stages: tuple[str, ...]) -> None:
    results = studies.make_results(stages=stages)
    found = metric_values(results)
    assert (found.stage, found.split) == (stages[-1], "validation")
    own = found.frame[(found.frame["metric"] == "entity_f1") & (found.frame["baseline"] == "")]
    assert len(own) == MAX_CONFIGURATIONS
    assert own["value"].is_monotonic_decreasing
    best = complete(results, stages[-1]).groupby("key")["value"].mean().max()
    assert own["value"].iloc[0] == pytest.approx(best, abs=1e-6)
    assert own["low"].isna().all() == (stages == ("search",))


def test_a_study_that_noted_no_metrics_has_its_objective(full: StudyResults) -> None:
    old = dataclasses.replace(full, attributes={}, metrics=studies.empty_results().metrics)
    assert [one.name for one in metrics_of(old)] == ["entity_f1"]
    found = metric_values(old).frame
    assert set(found["metric"]) == {"entity_f1"}
    assert found["value"].notna().all()


def test_an_empty_study_has_no_row() -> None:
    found = metric_values(studies.empty_results())
    assert (found.stage, len(found.frame)) == ("", 0)


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
