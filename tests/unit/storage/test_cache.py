"""How much of a study is read from the database for each of its trials: counted, never timed."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from optuna.storages._rdb.models import TrialModel
from optuna.trial import TrialState
from sqlalchemy import event

from harness.config.sweep import load
from harness.results import Objective
from harness.storage.records import Records
from harness.storage.schema import ScoresRow
from harness.storage.study import Studies, is_dropped, is_lost, url_of
from harness.study.stages import search_slots
from harness.trial import Cost, Outcome, SplitScores, TrialResult


@contextmanager
def _reads(table: type) -> Iterator[list[int]]:
    """Counts rows of a table that are made into objects meanwhile."""
    count = [0]

    def seen(*_: object) -> None:
        count[0] += 1

    for name in ("load", "refresh"):
        event.listen(table, name, seen)
    try:
        yield count
    finally:
        for name in ("load", "refresh"):
            event.remove(table, name, seen)


def _made(folder, trials):
    folder.mkdir()
    sweep = load("ner_medical", [f"search.trials={trials}", "search.startup=2"])
    studies = Studies(url_of(folder), "study", sweep, create=True)
    studies.enqueue(search_slots(sweep))
    return studies


def _one_trial(studies, value):
    """All that a worker and the live view ask of a study for one trial."""
    trial = studies.claim("w")
    studies.config(trial)
    assert studies.twin(trial) is None
    trial.report(value, 1)
    trial.should_prune()
    studies.study.tell(trial, value)
    return studies.trials()


def test_a_trial_reads_no_more_rows_where_more_are_waiting(tmp_path):
    found = []
    for size in (10, 60):
        studies = _made(tmp_path / str(size), size)
        for index in range(4):  # the first readings fill the cache
            _one_trial(studies, 0.1 * index)
        with _reads(TrialModel) as count:
            _one_trial(studies, 0.9)
        found.append(count[0])
        studies.close()
    assert found[0] == found[1]
    assert found[1] < 60


def test_looking_at_a_study_in_which_nothing_happens_reads_nothing(tmp_path):
    studies = _made(tmp_path / "a", 20)
    studies.trials()
    with _reads(TrialModel) as count:
        assert len(studies.trials(TrialState.WAITING)) == 20
    assert count[0] == 0
    studies.close()


def test_what_others_do_with_waiting_trials_is_seen(tmp_path):
    mine = _made(tmp_path / "a", 5)
    assert len(mine.trials(TrialState.WAITING)) == 5
    other = Studies(url_of(tmp_path / "a"), "study", load("ner_medical", ["search.trials=7"]))
    first, second = other.claim("other"), other.claim("other")
    other.config(first)
    other.study.tell(first, 0.5)
    assert other.enqueue(search_slots(load("ner_medical", ["search.trials=7"]))) == 2

    assert [t.number for t in mine.trials(TrialState.COMPLETE)] == [first.number]
    assert mine.trials(TrialState.COMPLETE)[0].params == first.params
    running = mine.trials(TrialState.RUNNING)
    assert [(t.number, t.user_attrs["worker"]) for t in running] == [(second.number, "other")]
    assert [t.number for t in mine.trials(TrialState.WAITING)] == [2, 3, 4, 5, 6]

    assert other.release("other") == 1
    assert other.cancel_waiting("enough") == 5
    assert [t.number for t in mine.trials() if is_lost(t)] == [second.number]
    assert [t.number for t in mine.trials() if is_dropped(t)] == [2, 3, 4, 5, 6]
    mine.close()
    other.close()


@pytest.mark.parametrize("most", [0, 500])
def test_many_changes_at_once_are_read_as_optuna_does(tmp_path, monkeypatch, most):
    monkeypatch.setattr("harness.storage.study._NAMED", most)
    mine = _made(tmp_path / "a", 4)
    other = Studies(url_of(tmp_path / "a"), "study", load("ner_medical", ["search.trials=4"]))
    seen = []
    for index in range(4):
        _one_trial(other, 0.1 * index)
        seen.append([t.state for t in mine.trials()].count(TrialState.COMPLETE))
    assert seen == [1, 2, 3, 4]
    mine.close()
    other.close()


def test_sweep_and_seconds_are_told_without_reading_scores(tmp_path):
    studies = _made(tmp_path / "a", 2)
    records = Records(studies)
    sweep = load("ner_medical", ["search.trials=2"])
    objective = Objective("entity_f1", "maximize", 0.02, "f1", ("A",), 100.0, "points of F1")
    records.register(sweep, "digest", objective, {})
    assert records.seconds() == 0.0
    scores = SplitScores("validation", ("1",), ("",), (False,), ((1.0, 0.0, 0.0),), {})
    for number, seconds in enumerate((2.0, 3.5)):
        cost = Cost(train_seconds=seconds, score_seconds=0.25)
        result = TrialResult(number, Outcome.COMPLETE, {"validation": scores}, cost=cost)
        records.add(result)
    with _reads(ScoresRow) as count:
        assert records.seconds() == 6.0
        assert records.sweep() == sweep.plain()
    assert count[0] == 0
    studies.close()
