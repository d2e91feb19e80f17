"""Who is looked at, where they differ, and what is said of lengths and confusions."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from harness.analysis import error_analysis
from harness.analysis.recommendation import recommend
from harness.results import ANSWER_COLUMNS, PASSAGE_COLUMNS, StudyResults, Texts
from tests.studies import F1, PERPLEXITY, empty_results, make_results, one_trial_results


@pytest.fixture(scope="module", params=[F1, PERPLEXITY], ids=["maximise", "minimise"])
def study(request: pytest.FixtureRequest) -> StudyResults:
    return make_results(objective=request.param, sizes={"validation": 30, "test": 60}, trials=10)


def with_passages(study: StudyResults, answers: pd.DataFrame | None = None) -> StudyResults:
    names = sorted(study.examples.query("split == 'test'")["example"].astype(str).unique())
    rows = [(name, 1 + place % 20, "text", "answer") for place, name in enumerate(names)]
    passages = pd.DataFrame(rows, columns=list(PASSAGE_COLUMNS))
    none = pd.DataFrame(columns=list(ANSWER_COLUMNS))
    return dataclasses.replace(
        study, texts=Texts("test", passages, none if answers is None else answers)
    )


def test_the_chief_is_the_pick_or_the_best_and_the_rival_the_best_of_the_others(
    study: StudyResults,
) -> None:
    found, who = recommend(study), error_analysis.compared_configurations(study)
    assert who is not None
    chief = found.pick or found.best
    assert chief is not None
    assert (who.chief, who.stage, who.split) == (chief["key"], "confirm", "test")
    assert who.picked == (found.pick is not None)
    others = found.comparison[found.comparison["key"] != who.chief]
    best = others.loc[(study.objective.sign * others["value"]).idxmax(), "key"]
    assert who.rival == best
    assert who.base in {"base_0_shot", "base_5_shot"}


def test_smaller_studies_have_fewer_to_look_at() -> None:
    assert error_analysis.compared_configurations(empty_results()) is None
    one = error_analysis.compared_configurations(one_trial_results())
    assert one is not None
    assert (one.stage, one.split, one.rival) == ("search", "validation", None)


def test_each_example_has_the_mean_over_seeds_of_its_own_score(study: StudyResults) -> None:
    who = error_analysis.compared_configurations(study)
    assert who is not None
    table = error_analysis.by_example(study, who)
    trials = study.trials.query("stage == 'confirm' and state == 'complete'")
    numbers = trials.loc[trials["key"] == who.chief, "number"]
    columns = list(study.objective.columns)
    for name in table.index[:5]:
        values = [
            float(study.objective.value(study.statistics(n, "test").loc[name, columns].to_numpy()))
            for n in numbers
        ]
        assert table.loc[name, who.chief] == pytest.approx(study.objective.sign * np.mean(values))


def test_examples_apart_are_the_furthest_first(study: StudyResults) -> None:
    who = error_analysis.compared_configurations(study)
    assert who is not None
    assert who.rival is not None
    table = error_analysis.by_example(study, who)
    gaps = table[who.chief] - table[who.rival]
    chosen = error_analysis.largest_differences(table, who.chief, who.rival, 3)
    assert [gaps[name] for name in chosen] == sorted(gaps, reverse=True)[: len(chosen)]
    assert all(gaps[name] > 0 for name in chosen)
    assert not set(chosen) & set(
        error_analysis.largest_differences(table, who.rival, who.chief, 3)
    )
    assert error_analysis.largest_differences(table, who.chief, who.chief, 3) == []


def test_scores_by_length_are_those_of_the_group_s_examples(study: StudyResults) -> None:
    study = with_passages(study)
    who = error_analysis.compared_configurations(study)
    assert who is not None
    assert study.texts is not None
    frame = error_analysis.by_length(study, who)
    assert frame["examples"].sum() == 60
    assert (frame["low"].iloc[1:].to_numpy() > frame["high"].iloc[:-1].to_numpy()).all()
    row = frame.iloc[0]
    words = study.texts.passages.set_index("example")["words"]
    inside = words.index[(words >= row["low"]) & (words <= row["high"])]
    trials = study.trials.query("stage == 'confirm' and state == 'complete'")
    numbers = trials.loc[trials["key"] == who.chief, "number"]
    sums = sum(
        study.statistics(n, "test").loc[list(inside)].to_numpy(dtype=float).sum(axis=0)
        for n in numbers
    )
    assert row[who.chief] == pytest.approx(float(study.objective.value(sums)))


def test_confusions_and_recall_are_counted_a_seed(study: StudyResults) -> None:
    who = error_analysis.compared_configurations(study)
    assert who is not None
    chief = who.chief
    rows = [
        (chief, 1, "x", "A", "a", 0, "found", "", True),
        (chief, 2, "x", "A", "a", 0, "missed", "B", True),
        (chief, 1, "y", "A", "b", 0, "missed", "B", False),
        (chief, 2, "y", "A", "b", 0, "missed", "", False),
        (chief, 1, "y", "B", "c", 0, "found", "", False),
        (chief, 2, "y", "B", "c", 0, "found", "", False),
        (chief, 2, "y", "B", "d", -1, "spurious", "", pd.NA),
        (who.base, -1, "x", "A", "a", 0, "missed", "", True),
    ]
    answers = pd.DataFrame(rows, columns=list(ANSWER_COLUMNS))
    told = with_passages(study, answers)
    found = error_analysis.confusions(told, who).to_dict("records")
    assert found == [
        {"label": "A", "instead": "B", "count": 1.0, "share": 0.5},
        {"label": "A", "instead": "", "count": 0.5, "share": 0.25},
    ]
    known = error_analysis.by_seen_in_training(told, who)
    assert known["known"].tolist() == [True, False]
    assert known["entities"].tolist() == [1, 2]
    assert known[chief].tolist() == [0.5, 0.5]
    assert known[who.base].iloc[0] == 0.0
    assert np.isnan(known[who.base].iloc[1])


def test_without_texts_there_is_nothing_to_say(study: StudyResults) -> None:
    who = error_analysis.compared_configurations(study)
    assert who is not None
    for frame in (
        error_analysis.by_length(study, who),
        error_analysis.confusions(study, who),
        error_analysis.by_seen_in_training(study, who),
    ):
        assert frame.empty
