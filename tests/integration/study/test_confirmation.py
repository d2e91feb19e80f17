"""Seeds beyond the looks: for whoever may still be the pick, and called exploratory."""

import pytest

from harness.analysis.recommendation import recommend
from harness.config.sweep import load_sweep
from harness.errors import UserError
from harness.study import confirmation, launcher
from harness.study.session import Parallelism, open_study
from harness.tasks.task import load_task_for
from tests.integration.study.test_stages import SMALL, study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("added")


@pytest.fixture(scope="module")
def before(folder):
    return study(folder)


@pytest.fixture(scope="module")
def after(folder, before):
    assert "confirm" in set(before.trials["stage"])
    return study(folder, add_seeds=2)


def seeds(results):
    rows = results.trials[results.trials["stage"] == "confirm"]
    return rows.groupby("key")["seed"].agg(set).to_dict()


def test_finalists_that_are_not_shown_to_be_worse_get_fresh_seeds(before, after):
    old, new = seeds(before), seeds(after)
    (noted,) = confirmation.seed_additions(after.attributes)
    assert noted["to"] - noted["from"] == 2
    assert set(noted["keys"]) <= set(old)
    assert len(noted["keys"]) >= 2
    for key, there in new.items():
        added = there - old[key]
        assert len(added) == (2 if key in noted["keys"] else 0)
        assert len(there) == len(old[key]) + len(added)
    # Nothing else was run, and nothing is owed again.
    assert len(after.trials) == len(before.trials) + 2 * len(noted["keys"])


def test_the_verdict_is_called_exploratory(before, after):
    assert not any("exploratory" in told for told in recommend(before).not_supported)
    assert any("exploratory" in told for told in recommend(after).not_supported)


def test_it_can_be_done_again(folder, after):
    again = study(folder, add_seeds=1)
    first, second = confirmation.seed_additions(again.attributes)
    assert second["from"] == first["to"]
    assert len(again.trials) == len(after.trials) + len(second["keys"])


def test_before_the_looks_are_done_it_is_refused(tmp_path):
    assert study(tmp_path, stop_after=12) is None
    sweep = load_sweep("ner_medical", SMALL)
    opened = open_study(sweep, load_task_for(sweep), "study", tmp_path, Parallelism(1, 1))
    try:
        with pytest.raises(UserError, match="has planned looks left"):
            launcher.run_study(opened, sweep, add_seeds=1)
    finally:
        opened.studies.close()
