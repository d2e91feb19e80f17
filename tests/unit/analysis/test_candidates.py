import dataclasses

import numpy as np
import pytest

from harness.analysis.verdict import finalists, incumbent, inferior, pareto
from harness.trial import TrialConfig
from tests.studies import (
    F1,
    PERPLEXITY,
    config,
    empty_results,
    make_results,
    one_trial_results,
)


@pytest.fixture(scope="module", params=[F1, PERPLEXITY], ids=["maximise", "minimise"])
def study(request):
    sizes = {"validation": 60, "test": 5}
    return make_results(
        objective=request.param, sizes=sizes, trials=12, stages=("search", "ablate")
    )


def test_incumbent_is_the_best_complete_search_trial(study):
    rows = study.trials.query("stage == 'search' and state == 'complete'")
    rows = rows[rows["duplicate_of"].isna()]
    best = (rows["value"] * study.objective.sign).max()
    assert incumbent(study)["value"] * study.objective.sign == best
    assert incumbent(empty_results()) is None


def test_ties_go_to_fewer_parameters_then_to_the_older(study):
    values = study.trials["value"]
    flat = study.trials.assign(value=values.where(values.isna(), 1.0))
    row = incumbent(dataclasses.replace(study, trials=flat))
    counted = study.trials.query("stage == 'search' and state == 'complete'")
    counted = counted[counted["duplicate_of"].isna()]
    costs = study.costs.set_index("trial").loc[counted["number"], "parameters"]
    assert row["parameters"] == costs.min()
    assert row["number"] == min(costs.index[costs == costs.min()])


def test_finalists_are_configurations_without_repeats(study):
    rows = finalists(study, 6)
    keys = [TrialConfig(**row, seed=0).key for row in rows]
    assert 2 <= len(keys) <= 6
    assert len(set(keys)) == len(keys)
    assert keys[0] == config().key  # the incumbent's own cell
    assert set(keys) <= set(study.trials.loc[study.trials["stage"] == "ablate", "key"])
    assert finalists(study, 6) == rows


def test_ranks_that_may_matter_come_before_more_of_the_same(study):
    ranks = [row["rank"] for row in finalists(study, 4)]
    assert len(set(ranks)) >= 3
    assert finalists(study, 0) == []
    assert finalists(study, 1) == finalists(study, 6)[:1]


def test_the_ablations_best_cell_goes_on_beside_the_incumbent(study):
    ablated = study.trials[study.trials["stage"] == "ablate"]
    best = ablated[~ablated["key"].eq(config().key) & ablated["rank"].eq(16)]["key"].iloc[0]
    raised = study.examples["trial"].isin(ablated.loc[ablated["key"] == best, "number"])
    examples = study.examples.copy()
    for column in study.objective.columns:
        if column.endswith((".fp", ".fn", ".nll")):
            examples[column] = examples[column].astype(float).mask(raised, 0.0)  # without a fault
    changed = dataclasses.replace(study, examples=examples)
    keys = [TrialConfig(**row, seed=0).key for row in finalists(changed, 2)]
    assert keys == [config().key, best]  # though they have one rank


def test_the_cheapest_of_the_front_goes_on_though_it_is_worse(study):
    chosen = {(row["rank"], row["target_modules"]) for row in finalists(study, 20)}
    assert (4, "qv") in chosen  # cheapest of all, so on the front


def test_without_an_ablation_the_incumbent_is_all_there_is():
    row = finalists(one_trial_results(), 6)
    assert [one["rank"] for one in row] == [16]
    assert finalists(empty_results(), 6) == []


def test_pareto_front_by_hand():
    assert pareto(["a", "b", "c", "d"], [1, 2, 2, 3], [0.5, 0.7, 0.6, 0.7]) == ["a", "b"]
    assert pareto(["a", "b"], [1, 1], [0.5, 0.5]) == ["a", "b"]


def test_inferior_needs_a_bound_beyond_the_margin():
    high = np.array([[0.0, 0.1], [-0.021, 0.0]])
    assert inferior(high, 0.02).tolist() == [False, True]
    assert inferior(high, 0.03).tolist() == [False, False]
