"""The front of a search for several objectives."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from harness.analysis.pareto import along, nondominated, search_table
from harness.analysis.verdict import finalists
from harness.results import StudyResults
from tests.studies import F1, PERPLEXITY, empty_results, make_results

WANTED = {"parameters": "minimize", "rouge2": "maximize"}


@pytest.fixture(scope="module", params=[F1, PERPLEXITY], ids=["maximise", "minimise"])
def study(request: pytest.FixtureRequest) -> StudyResults:
    sizes = {"validation": 40, "test": 5}
    made = make_results(
        objective=request.param, sizes=sizes, trials=30, stages=("search", "ablate")
    )
    rng = np.random.default_rng(3)
    numbers = made.trials.loc[made.trials["stage"] == "search", "number"]
    metrics = pd.DataFrame(
        {
            "trial": numbers,
            "baseline": "",
            "split": "validation",
            "metric": "rouge2",
            "value": rng.random(len(numbers)),
        }
    )
    return dataclasses.replace(
        made, attributes={**made.attributes, "objectives": WANTED}, metrics=metrics
    )


def test_nobody_is_dominated_and_everybody_else_is(study: StudyResults) -> None:
    table = search_table(study)
    sign = study.objective.sign

    def beats(one: pd.Series, other: pd.Series) -> bool:
        pairs = [
            (sign * one["value"], sign * other["value"]),
            (-one["parameters"], -other["parameters"]),
            (one["rouge2"], other["rouge2"]),
        ]
        return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)

    assert 1 < table["front"].sum() < len(table)
    for _, row in table.iterrows():
        beaten = any(beats(other, row) for _, other in table.iterrows())
        assert row["front"] != beaten
    complete = study.trials.query("stage == 'search' and state == 'complete'")
    assert len(table) == complete["duplicate_of"].isna().sum()


def test_equal_ones_are_both_on_the_front() -> None:
    losses = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [2.0, 2.0]])
    assert nondominated(losses).tolist() == [True, True, True, False]


def test_with_one_objective_there_is_no_table() -> None:
    assert search_table(empty_results()).empty
    assert search_table(make_results(trials=6, stages=("search",))).empty


def test_finalists_lie_along_the_front(study: StudyResults) -> None:
    front = search_table(study).query("front")
    chosen = finalists(study, 6)
    assert len(chosen) == 6
    on = [row["key"] for row in along(study, 100)]
    assert set(on) == set(front["key"])
    ends = [along(study, 2)[place]["parameters"] for place in (0, 1)]
    assert ends == [front["parameters"].min(), front["parameters"].max()]
    assert along(study, 0) == []


def test_without_an_ablation_they_are_the_front_alone(study: StudyResults) -> None:
    trials = study.trials[study.trials["stage"] == "search"]
    attributes = {k: v for k, v in study.attributes.items() if k != "cells"}
    bare = dataclasses.replace(study, trials=trials, attributes=attributes)
    chosen = finalists(bare, 4)
    front = search_table(bare).query("front")
    rows = {(r["rank"], r["learning_rate"]) for r in front.to_dict("records")}
    assert chosen
    assert all((one["rank"], one["learning_rate"]) in rows for one in chosen)


def test_a_bound_holds_along_the_front_too(study: StudyResults) -> None:
    limit = float(search_table(study)["parameters"].median())
    sweep = {**study.sweep, "confirmation": {"prefer": [f"parameters<{limit:.0f}"]}}
    bound = dataclasses.replace(study, sweep=sweep)
    chosen = along(bound, 100)
    assert chosen
    assert (
        max(row["parameters"] for row in chosen)
        < limit
        < max(row["parameters"] for row in along(study, 100))
    )
    allowed = bound.costs[bound.costs["parameters"] < limit]["trial"]
    trials = bound.trials[bound.trials["number"].isin(allowed)]
    ranks = set(trials["rank"])
    assert {one["rank"] for one in finalists(bound, 6)} <= ranks
