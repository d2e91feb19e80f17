"""Claims on a study whose trainer answers at once: exactly what is missing is trained, once."""

from collections import Counter

import pandas as pd
import pytest

from harness.analysis.ablation import ablation_table
from harness.analysis.claim_tests import evaluate_claims, missing_arms
from harness.analysis.claims import arm_name
from harness.report.snippets import claim_advice
from tests.integration.study.test_stages import study

#: What no trial of a study of this length on this base could tell.
ELSEWHERE = {"qlora_free", "three_epochs"}


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claims")
    return folder, study(folder)


@pytest.fixture(scope="module")
def results(before):
    return study(before[0], claims=True)


def test_without_being_asked_nothing_is_trained_for_claims(before):
    _, found = before
    assert "claimed" not in found.attributes
    assert {each.verdict for each in evaluate_claims(found)} >= {"no data"}


def test_what_was_there_stays_and_every_claim_that_can_be_has_data(before, results):
    old = before[1].trials
    kept = results.trials.iloc[: len(old)]
    assert kept["key"].tolist() == old["key"].tolist()
    assert kept["value"].equals(old["value"])
    without = {each.claim.name for each in evaluate_claims(results) if each.verdict == "no data"}
    # Shares of full fine-tuning need the base of a task that has one; the trainer scores none.
    assert without <= ELSEWHERE | {"r8_99"}
    assert all(each == {"base": "no adapter"} for each in missing_arms(results))


def test_only_what_was_missing_is_trained(before, results):
    arms = [arm for arm in missing_arms(before[1]) if "full" not in arm and "base" not in arm]
    assert arms
    names = [arm_name(results, arm) for arm in arms]
    assert None not in names
    fresh = results.trials.iloc[len(before[1].trials) :]
    mine = fresh[fresh["stage"] == "claim"]
    assert set(mine["key"]) == set(names)
    assert set(Counter(mine["key"]).values()) == {2}
    seeds = set(results.trials.loc[results.trials["stage"] == "ablate", "seed"])
    assert set(mine["seed"]) == seeds  # those of the ablation, to be paired with it
    assert "ablate" not in set(fresh["stage"])


def test_the_ablation_says_what_it_said_before(before, results):
    old, new = (ablation_table(each, "rank") for each in (before[1], results))
    # Full fine-tuning, which was not there before, says what share of it they reach.
    there = [name for name in old if name != "percent_of_full"]
    pd.testing.assert_frame_equal(old[there], new[there])


def test_rates_are_tuned_but_for_the_one_that_a_claim_names(before, results):
    fresh = results.trials.iloc[len(before[1].trials) :]
    cells = {cell["factor"]: cell for cell in results.attributes["claimed"]}
    (fixed,) = [cell for name, cell in cells.items() if name.startswith("learning_rate")]
    assert fixed["rates"] == [2e-4]
    tune = fresh[fresh["stage"] == "tune"]
    assert 2e-4 not in set(tune["learning_rate"])
    for cell in results.attributes["claimed"]:
        if cell is not fixed:
            assert 3 <= len(cell["rates"]) <= 7
            assert cell["rate"] in cell["rates"]


def test_a_grid_grows_until_the_best_rate_is_not_at_its_edge(tmp_path):
    # The best rate is 5e-3; grids around the search's incumbent begin far above it.
    rates = "space.learning_rate={low: 2.0e-2, high: 4.0e-2, log: true}"
    found = study(tmp_path, [rates, "ablation.rate_step=1.7"], claims=True)
    grown = [cell for cell in found.attributes["claimed"] if len(cell["rates"]) > 1]
    assert grown
    for cell in grown:
        assert len(cell["rates"]) > 3
        inner = sorted(cell["rates"])[1:-1]
        assert cell["rate"] in inner or len(cell["rates"]) == 7
        assert min(cell["rates"]) < 2e-2


def test_full_fine_tuning_is_run_for_them_though_the_sweep_leaves_it_out(before, results):
    assert "full" not in set(before[1].trials["stage"])
    assert (results.trials["stage"] == "full").sum() == 2


def test_asked_again_nothing_is_owed(before, results):
    again = study(before[0], claims=True)
    assert len(again.trials) == len(results.trials)
    assert again.attributes["claimed"] == results.attributes["claimed"]


def test_a_cell_that_cannot_be_is_told_not_tried(tmp_path):
    # LoftQ rounds the base itself, AdaLoRA needs even ranks: neither is a claim's, but a base in 8
    # bits has no DoRA.
    found = study(tmp_path, ["model.quantization=int8", "space.variant=[lora]"], claims=True)
    told = [line for line in found.attributes["dropped"] if line.startswith("claims: ")]
    assert len(told) == 1
    assert "dora" in told[0]
    assert "int8" in told[0]
    assert "dora" not in set(found.trials["variant"])


def test_seeds_are_added_to_what_is_not_decided_and_to_nothing_else(tmp_path):
    first = study(tmp_path, claims=True)
    open_ = [each for each in evaluate_claims(first) if each.verdict == "not decided"]
    assert open_
    again = study(tmp_path, claims=True, claim_seeds=3)
    fresh = again.trials.iloc[len(first.trials) :]
    assert set(fresh["stage"]) == {"claim"}
    keys = {
        arm_name(first, arm)
        for each in open_
        for one in each.comparisons
        for arm in one.comparison[:2]
        if "full" not in arm and "base" not in arm
    }
    assert set(fresh["key"]) == keys
    assert set(Counter(fresh["key"]).values()) == {3}
    # Two seeds were planned: these come behind them, and no other stage has them.
    before = first.trials.query("stage in ('ablate', 'claim')")["seed"]
    assert sorted(set(fresh["seed"])) == [max(before) + n for n in (1, 2, 3)]
    pd.testing.assert_frame_equal(ablation_table(first, "rank"), ablation_table(again, "rank"))
    # Their intervals are narrower, in the mean.
    widths = [
        {
            (each.claim.name, place): one.high - one.low
            for each in evaluate_claims(found)
            for place, one in enumerate(each.comparisons)
        }
        for found in (first, again)
    ]
    shared = [key for key in widths[0] if key in widths[1]]
    assert sum(widths[1][k] for k in shared) < sum(widths[0][k] for k in shared)
    assert any("exploratory" in line for line in claim_advice(again, evaluate_claims(again)))
    more = study(tmp_path, claims=True, claim_seeds=1)
    last = more.trials.iloc[len(again.trials) :]
    assert set(last["seed"]) <= {max(fresh["seed"]) + 1}
