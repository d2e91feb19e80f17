"""Whole studies that search for several objectives; database, Optuna and task are real."""

import pytest

from harness.analysis.pareto import search_table
from harness.analysis.recommendation import recommend
from tests.integration.study.test_stages import study

SEVERAL = ["search.trials=14", "search.objectives=[parameters]", "data.limit=24"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return study(tmp_path_factory.mktemp("several"), SEVERAL)


def test_nothing_is_pruned_or_raced(results):
    rows = results.trials[results.trials["stage"] == "search"]
    assert set(rows["state"]) == {"complete"}
    assert results.attributes["objectives"] == {"parameters": "minimize"}


def test_the_cheap_end_of_the_front_is_confirmed(results):
    front = search_table(results).query("front")
    # The oracle's parameters are a thousand a rank.
    assert front["parameters"].tolist() == (1000.0 * front["rank"]).tolist()
    confirmed = results.trials[results.trials["stage"] == "confirm"]
    assert set(front["key"]) & set(confirmed["key"])
    assert recommend(results).outcome in {"decided", "tie", "undecided"}


def test_an_interrupted_search_goes_the_same_way(results, tmp_path):
    assert study(tmp_path, SEVERAL, stop_after=9) is None
    again = study(tmp_path, SEVERAL)
    keys = [
        found.trials.query("stage == 'search' and state == 'complete'")["key"].tolist()
        for found in (results, again)
    ]
    assert sorted(keys[0]) == sorted(keys[1])


def test_a_bound_of_the_sweep_chooses_the_finalists(tmp_path):
    found = study(tmp_path, ["confirmation.prefer=['parameters<=4000']", "data.limit=24"])
    confirmed = found.trials[found.trials["stage"] == "confirm"]
    assert len(confirmed)
    assert confirmed["rank"].max() <= 4
    assert recommend(found).prefer == ("parameters<=4000",)
