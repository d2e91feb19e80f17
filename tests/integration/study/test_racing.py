"""Racing in whole studies whose trainer answers at once; database, Optuna and task are real."""

import re
import sqlite3
from contextlib import closing

import pytest

from tests.integration.study.test_stages import study

LONG = ["data.limit=80", "search.trials=14", "search.pruner=none", "ablation.max_cells=0"]
LONG += ["confirmation.max_configurations=0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("raced")


@pytest.fixture(scope="module")
def results(folder):
    return study(folder, LONG)


def search(results):
    return results.trials[results.trials["stage"] == "search"]


def test_a_trial_that_is_far_behind_is_scored_no_further(results):
    rows = search(results)
    raced = rows[rows["state"] == "pruned"]
    assert len(raced) > 0
    best = rows["value"].max()
    for _, row in raced.iterrows():
        told = re.fullmatch(
            r"raced: after (\d+) of 80 examples entity_f1 ([\d.]+), "
            r"behind trial (\d+) with ([\d.]+) at p < [\d.e-]+",
            row["error"],
        )
        assert told, row["error"]
        assert int(told[1]) in {20, 40, 60}
        assert float(told[2]) < float(told[4])
        assert int(told[3]) < row["number"]
    # What is ended has no score of its own, and the best one was not ended.
    assert raced["value"].isna().all()
    assert rows[rows["state"] == "complete"]["value"].max() == best


def test_without_racing_all_are_scored_and_the_best_is_the_same(tmp_path):
    found = study(tmp_path, [*LONG, "search.racing=0", "search.sampler=random"])
    raced = study(tmp_path / "raced", [*LONG, "search.sampler=random"])
    assert (search(found)["state"] == "complete").all()
    assert (search(raced)["state"] == "pruned").any()
    best = [rows.loc[rows["value"].idxmax()] for rows in (search(found), search(raced))]
    assert best[0]["key"] == best[1]["key"]
    # The same configurations were tried: none of those ended would have been the best.
    assert search(found)["key"].tolist() == search(raced)["key"].tolist()


def test_the_sampler_learns_of_what_was_ended(folder, results):
    trials = search(results)
    ended = trials[trials["state"] == "pruned"]
    query = (
        "select t.number, v.intermediate_value from trial_intermediate_values v "
        "join trials t on t.trial_id = v.trial_id where v.step = 1000000000"
    )
    with closing(sqlite3.connect(folder / "study" / "study.db")) as connection:
        told = dict(connection.execute(query).fetchall())
    assert set(told) == set(ended["number"])
    for _, row in ended.iterrows():
        assert f"entity_f1 {told[row['number']]:.4g}, behind" in row["error"]
