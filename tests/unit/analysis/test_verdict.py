import dataclasses
import math

import numpy as np
import pytest

from harness.analysis.verdict import (
    alpha_spending,
    confirm_state,
    contenders,
    current_look,
    finalists,
    incumbent,
    inferior,
    seeds_needed,
)
from harness.trial import TrialConfig
from tests.studies import (
    F1,
    PERPLEXITY,
    config,
    confirm_results,
    empty_results,
    make_results,
    one_trial_results,
)


def spread(centre, count, step=0.004):
    """Scores around a centre, the same pattern for every configuration but turned."""
    return [centre + step * ((7 * i + round(1000 * centre)) % 5 - 2) for i in range(count)]


def test_error_is_spent_by_the_square_of_the_share():
    assert alpha_spending([5, 10], 0.05) == pytest.approx((0.0125, 0.0375))
    assert alpha_spending([7], 0.05) == pytest.approx((0.05,))
    assert sum(alpha_spending([5, 10, 20], 0.1)) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("seeds", "planned", "alpha"),
    [(3, 5, 0.0125), (5, 5, 0.0125), (6, 10, 0.0375), (10, 10, 0.0375), (12, 10, 0.0375)],
)
def test_look_is_read_from_the_seeds(seeds, planned, alpha):
    study = confirm_results({config(): [0.8] * seeds}, examples=3)
    look = current_look(study)
    assert (look.seeds, look.planned) == (seeds, planned)
    assert look.alpha == pytest.approx(alpha)


def test_a_cheap_one_that_is_as_good_is_picked():
    study = confirm_results(
        {
            config(rank=32): spread(0.86, 10),
            config(rank=16): spread(0.86, 10),
            config(rank=2): spread(0.60, 10),
        },
        examples=400,
    )
    now = confirm_state(study)
    assert now.comparison.array.keys[now.pick] == config(rank=16).key
    assert not now.tie
    assert now.worse.tolist() == [False, False, True]
    assert contenders(study) == []


def test_equals_tie_and_the_cheapest_is_taken():
    study = confirm_results(
        {config(rank=rank): spread(0.86, 10, 0.001) for rank in (32, 4, 8)}, examples=600
    )
    now = confirm_state(study)
    assert now.tie
    assert now.comparison.array.keys[now.pick] == config(rank=4).key


def test_a_rank_is_not_preferred_as_such():
    # The higher rank on fewer modules is the cheaper one.
    study = confirm_results(
        {
            config(rank=4): spread(0.86, 10, 0.001),
            config(rank=32, target_modules="q"): spread(0.86, 10, 0.001),
        },
        examples=600,
    )
    now = confirm_state(study)
    assert now.comparison.array.keys[now.pick] == config(rank=32, target_modules="q").key


def test_noise_leaves_it_undecided_and_asks_for_seeds():
    wild = {config(rank=16): spread(0.8, 5, 0.03), config(rank=4): spread(0.8, 5, -0.03)}
    now = confirm_state(confirm_results(wild, examples=600))
    assert now.pick is None
    more = seeds_needed(now, 0.02, 600)
    assert more.examples is None
    assert more.seeds > 5


def test_too_few_examples_are_told_as_such():
    close = {config(rank=rank): spread(0.8, 5, 0.0) for rank in (16, 4)}
    study = confirm_results(close, examples=12)
    now = confirm_state(study)
    assert now.pick is None
    more = seeds_needed(now, 0.001, 12)
    assert more.seeds is None
    assert more.examples > 100


def test_only_those_that_matter_go_on():
    scores = {
        config(rank=32): spread(0.86, 5, 0.01),
        config(rank=16): spread(0.855, 5, 0.01),
        config(rank=1): spread(0.50, 5, 0.01),
    }
    keys = contenders(confirm_results(scores, examples=150))
    assert config(rank=32).key in keys
    assert config(rank=1).key not in keys


def test_less_is_better_where_the_metric_says_so():
    study = confirm_results(
        {config(rank=32): spread(0.86, 5), config(rank=2): spread(0.6, 5)},
        objective=PERPLEXITY,
        examples=200,
    )
    now = confirm_state(study)
    assert now.best == 0
    assert now.worse.tolist() == [False, True]
    assert now.comparison.values[0] < now.comparison.values[1]


def test_a_finalist_with_one_seed_holds_nobody_up():
    nan = math.nan
    study = confirm_results(
        {
            config(rank=32): spread(0.86, 5),
            config(rank=2): spread(0.6, 5),
            config(rank=8): [0.85, nan, nan, nan, nan],
        },
        examples=200,
    )
    now = confirm_state(study)
    assert len(now.scores) == 2
    assert now.comparison.array.keys[now.pick] == config(rank=32).key


def test_dropped_ones_are_compared_on_their_five_seeds():
    study = make_results(sizes={"validation": 5, "test": 100}, trials=5)
    now = confirm_state(study)
    assert sorted(set(now.comparison.contrasts.seeds)) == [5, 10]


def test_nothing_to_compare_is_none():
    assert confirm_state(empty_results()) is None
    assert confirm_state(confirm_results({config(): [0.8] * 3}, examples=5)) is None
    assert contenders(empty_results()) == []


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


def test_inferior_needs_a_bound_beyond_the_margin():
    high = np.array([[0.0, 0.1], [-0.021, 0.0]])
    assert inferior(high, 0.02).tolist() == [False, True]
    assert inferior(high, 0.03).tolist() == [False, False]
