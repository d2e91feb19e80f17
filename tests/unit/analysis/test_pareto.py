"""The front of a search for several objectives.

Probabilities of lying on the front, on panels whose truth is clear or open.

A study under bounds: those that break one take no part, and that is said.
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from harness.analysis.explanation import explain
from harness.analysis.pareto import (
    apply_constraints,
    front_probabilities,
    nondominated,
    search_table,
    spread_over_front,
)
from harness.analysis.recommendation import contenders, recommend
from harness.analysis.scores import ScoreArray
from harness.analysis.verdict import finalists
from harness.costs import parse_constraint
from harness.results import StudyResults
from tests.studies import F1, PERPLEXITY, ROUGE, empty_results, make_results

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


def test_a_front_of_cost_and_score_by_hand() -> None:
    losses = np.array([[1, -0.5], [2, -0.7], [2, -0.6], [3, -0.7], [np.nan, -0.9]])
    assert nondominated(losses).tolist() == [True, True, False, False, True]


def test_equal_rows_are_both_on_the_front() -> None:
    losses = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [2.0, 2.0]])
    assert nondominated(losses).tolist() == [True, True, True, False]


def test_with_one_objective_there_is_no_table() -> None:
    assert search_table(empty_results()).empty
    assert search_table(make_results(trials=6, stages=("search",))).empty


def test_finalists_lie_along_the_front(study: StudyResults) -> None:
    front = search_table(study).query("front")
    chosen = finalists(study, 6)
    assert len(chosen) == 6
    on = [row["key"] for row in spread_over_front(study, 100)]
    assert set(on) == set(front["key"])
    ends = [spread_over_front(study, 2)[place]["parameters"] for place in (0, 1)]
    assert ends == [front["parameters"].min(), front["parameters"].max()]
    assert spread_over_front(study, 0) == []


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
    chosen = spread_over_front(bound, 100)
    assert chosen
    assert (
        max(row["parameters"] for row in chosen)
        < limit
        < max(row["parameters"] for row in spread_over_front(study, 100))
    )
    allowed = bound.costs[bound.costs["parameters"] < limit]["trial"]
    trials = bound.trials[bound.trials["number"].isin(allowed)]
    ranks = set(trials["rank"])
    assert {one["rank"] for one in finalists(bound, 6)} <= ranks


def cube(means: list[float], noise: float, seeds: int = 5) -> ScoreArray:
    rng = np.random.default_rng(0)
    table = np.array(means)[:, None] + noise * rng.standard_normal((len(means), seeds))
    values = table[:, :, None] + 0.05 * rng.standard_normal(60)
    statistics = np.stack([values, np.ones_like(values)], axis=-1)
    names = tuple(map(str, range(len(means))))
    return ScoreArray(names, tuple(range(seeds)), tuple(map(str, range(60))), statistics)


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


@pytest.fixture(scope="module")
def study_preferred() -> StudyResults:
    return make_results(sizes={"validation": 40, "test": 120}, trials=12)


def limit(study_preferred: StudyResults) -> int:
    """Parameters between the second and the third finalist."""
    sizes = sorted(set(recommend(study_preferred).comparison["parameters"]))
    return int((sizes[1] + sizes[2]) / 2)


def test_without_a_bound_nothing_is_changed(study_preferred: StudyResults) -> None:
    assert apply_constraints(study_preferred).results is study_preferred
    assert recommend(study_preferred).prefer == ()
    assert recommend(study_preferred, prefer=[parse_constraint("parameters<1B")]).left_out == ()


def test_those_that_break_a_bound_are_not_compared(study_preferred: StudyResults) -> None:
    bound = parse_constraint(f"parameters<{limit(study_preferred)}")
    whole, found = recommend(study_preferred), recommend(study_preferred, prefer=[bound])
    kept = whole.comparison[whole.comparison["parameters"] < bound.limit]
    assert set(found.comparison["key"]) == set(kept["key"])
    assert 0 < len(found.left_out) == len(whole.comparison) - len(kept)
    assert found.prefer == (bound.text,)
    assert f"Left out by the constraint {bound.text}: " in found.evidence
    assert all(label in found.evidence for label in found.left_out)
    if found.pick is not None:
        assert found.pick["parameters"] < bound.limit
    # It is what a study_preferred says in which the others were never confirmed.
    gone = set(whole.comparison["key"]) - set(kept["key"])
    trials = study_preferred.trials
    never = trials[~((trials["stage"] == "confirm") & trials["key"].isin(gone))]
    alone = recommend(dataclasses.replace(study_preferred, trials=never))
    assert found.evidence.startswith(alone.evidence)
    assert (found.outcome, found.pick, found.best) == (alone.outcome, alone.pick, alone.best)
    assert found.comparison.equals(alone.comparison)


def test_the_sweep_s_own_bound_holds_for_everything(study_preferred: StudyResults) -> None:
    text = f"parameters<{limit(study_preferred)}"
    settings = {**study_preferred.sweep["confirmation"], "prefer": [text]}
    bound = dataclasses.replace(
        study_preferred, sweep={**study_preferred.sweep, "confirmation": settings}
    )
    asked = recommend(study_preferred, prefer=[parse_constraint(text)])
    assert recommend(bound).evidence == asked.evidence
    assert set(contenders(bound)) <= set(asked.comparison["key"])
    titles = [step.title for step in explain(bound)]
    assert "constraints" in titles
    assert "constraints" not in [step.title for step in explain(study_preferred)]


def test_where_nobody_keeps_it_the_nearest_is_named(study_preferred: StudyResults) -> None:
    found = recommend(study_preferred, prefer=[parse_constraint("parameters<10")])
    least = int(recommend(study_preferred).comparison["parameters"].min())
    assert (found.outcome, found.pick, found.best) == ("none", None, None)
    count = len(recommend(study_preferred).comparison)
    assert found.evidence.startswith(
        f"None of {count} finalists satisfies parameters<10; nearest is "
    )
    assert f"{least:,} parameters" in found.evidence
    assert "confirmation.prefer" in found.evidence


def test_all_bounds_have_to_be_kept(study_preferred: StudyResults) -> None:
    both = [parse_constraint(f"parameters<{limit(study_preferred)}"), parse_constraint("memory<1")]
    assert recommend(study_preferred, prefer=both).outcome == "none"
