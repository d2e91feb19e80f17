from unittest import mock

import pytest
from optuna.trial import TrialState

from harness.config.sweep import load
from harness.errors import UserError
from harness.storage.study import Slot, Studies, is_lost, url_of
from harness.study.launcher import Assignment
from harness.study.stages import search_slots
from harness.trial import Stage, TrialConfig

SWEEP = load("ner_medical", ["search.trials=4"])


@pytest.fixture
def studies(tmp_path):
    made = Studies(url_of(tmp_path), "study", SWEEP, create=True)
    yield made
    made.close()


def test_each_slot_is_claimed_once(studies, tmp_path):
    studies.enqueue(search_slots(SWEEP))
    other = Studies(url_of(tmp_path), "study", SWEEP)
    taken = [studies.claim("a"), other.claim("b"), studies.claim("a"), other.claim("b")]
    assert studies.claim("a") is None
    assert other.claim("b") is None
    assert [trial.user_attrs["slot"] for trial in taken] == [f"search/{i}" for i in range(4)]
    other.close()


def test_a_worker_that_comes_too_late_does_not_put_its_name_on_the_trial(studies, tmp_path):
    studies.enqueue(search_slots(SWEEP))
    late = Studies(url_of(tmp_path), "study", SWEEP)
    seen = late.study.get_trials(states=(TrialState.WAITING,))
    trial = studies.claim("first")
    with mock.patch.object(late.study, "get_trials", return_value=seen[:1]):
        assert late.claim("late") is None
    assert late.release("late") == 0
    assert studies.release("first") == 1
    assert is_lost(studies.trials(TrialState.FAIL)[0])
    assert trial.number == 0
    late.close()


def test_a_trial_that_was_taken_and_never_named_is_taken_back(studies):
    studies.enqueue(search_slots(SWEEP))
    # As a worker does that is killed between taking a trial and putting its name on it.
    waiting = studies.trials(TrialState.WAITING)[0]
    studies.storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
    named = studies.claim("w")
    assert studies.release_unnamed(60) == 0  # it may be about to
    assert studies.release_unnamed(0) == 1
    assert [t.user_attrs["slot"] for t in studies.trials() if is_lost(t)] == ["search/0"]
    assert named.user_attrs["slot"] == "search/1"


def test_enqueueing_twice_adds_nothing(studies):
    assert studies.enqueue(search_slots(SWEEP)) == 4
    assert studies.enqueue(search_slots(SWEEP)) == 0


def test_two_planners_at_once_do_not_run_a_slot_twice(studies):
    slot = Slot("search/0", Stage.SEARCH, 0)
    for _ in range(2):  # as two workers do that both see that the slot is missing
        studies.study.enqueue_trial(
            {}, user_attrs={"slot": slot.name, "stage": "search", "seed": 0, "budget": 1.0}
        )
    first = studies.claim("a")
    assert studies.claim("b") is None
    assert len([t for t in studies.trials() if not is_lost(t)]) == 1
    studies.study.tell(first, 0.5)
    assert studies.enqueue([slot]) == 0


def test_the_sampler_gives_a_slot_the_same_whoever_asks(tmp_path):
    def drawn(folder, restart):
        folder.mkdir()
        studies = Studies(url_of(folder), "study", SWEEP, create=True)
        studies.enqueue(search_slots(SWEEP))
        found = []
        for _ in range(4):
            if restart:
                studies.close()
                studies = Studies(url_of(folder), "study", SWEEP)
            trial = studies.claim("a")
            config = studies.config(trial)
            found.append(config)
            studies.study.tell(trial, config.rank / 100)
        studies.close()
        return found

    assert drawn(tmp_path / "one", restart=False) == drawn(tmp_path / "two", restart=True)


def test_a_released_trial_is_owed_again_with_the_same_configuration(studies):
    slots = search_slots(SWEEP)
    studies.enqueue(slots)
    trial = studies.claim("dead")
    config = studies.config(trial)
    assert studies.release("dead") == 1
    assert is_lost(studies.trials(TrialState.FAIL)[0])
    assert studies.enqueue(slots) == 1
    again = studies.claim("b")  # before its successors, as it would have been
    assert again.user_attrs["slot"] == "search/0"
    assert studies.config(again) == config


def test_a_slot_with_a_configuration_gives_that_configuration(studies):
    config = TrialConfig("dora", 16, 64.0, 0.05, "mlp", 2.5e-3, seed=301)
    studies.enqueue([Slot("confirm/x/301", Stage.CONFIRM, 301, config)])
    assert studies.config(studies.claim("a")) == config


def test_a_repeated_configuration_is_found(studies):
    config = TrialConfig("dora", 16, 64.0, 0.05, "mlp", 2.5e-3, seed=0)
    studies.enqueue([Slot(f"search/{i}", Stage.SEARCH, 0, config) for i in range(2)])
    first = studies.claim("a")
    studies.config(first)
    assert studies.twin(first) is None
    studies.study.tell(first, 0.7)
    second = studies.claim("a")
    studies.config(second)
    assert studies.twin(second).number == first.number


def test_cancelled_slots_are_not_owed_again(studies):
    studies.enqueue(search_slots(SWEEP))
    studies.claim("a")
    assert studies.cancel_waiting("--minutes is over") == 3
    assert studies.claim("a") is None
    assert studies.enqueue(search_slots(SWEEP)) == 0


def test_a_study_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="holds no study 'nothing'"):
        Studies(url_of(tmp_path), "nothing")


@pytest.mark.parametrize("name", ["a%20b", "x?y", "p#q", "é 'q' \"r\""])
def test_a_study_lies_in_its_folder_whatever_that_is_called(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    url = url_of(folder)
    made = Studies(url, "study", SWEEP, create=True)
    made.enqueue(search_slots(SWEEP))
    made.close()
    assert (folder / "study.db").is_file()
    assert [one.name for one in tmp_path.iterdir()] == [name]
    again = Studies(url, "study", SWEEP)
    assert len(again.trials()) == 4
    again.close()
    assert Assignment(url, "study").folder == folder


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "study.db").write_text("not a database, but long enough to look like a file\n" * 9)
    with pytest.raises(UserError, match="cannot be opened"):
        Studies(url_of(tmp_path), "study")
