"""The study's store: claims, lost trials, and what the sampler sees.

The first test is the contract with Optuna: all that the store uses without Optuna documenting it.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import optuna
import pytest
from optuna.storages._rdb.models import TrialModel
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy import event

from harness.config.sweep import Sweep, load_sweep
from harness.errors import UserError
from harness.results import Objective
from harness.storage.records import Records
from harness.storage.schema import ScoresRow
from harness.storage.study import (
    LOSSES,
    PlannedTrial,
    SlotOrderSampler,
    StudyInSlotOrder,
    StudyStore,
    is_cancelled,
    is_lost,
    pruner,
    study_url,
)
from harness.study.launcher import WorkerSpec
from harness.study.search import search_trials
from harness.trial import Cost, Outcome, SplitScores, Stage, TrialConfig, TrialResult

SWEEP = load_sweep("ner_medical", ["search.trials=4"])


def test_optunas_private_behaviour(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(n_startup_trials=1, seed=0))
    for _ in range(3):
        study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), 0.5)
    # FrozenTrial._trial_id names a trial to its storage and to optuna.Trial.
    study.enqueue_trial({"x": 0.25})
    frozen = study.get_trials(deepcopy=False)[-1]
    assert study._storage.set_trial_state_values(frozen._trial_id, TrialState.RUNNING)
    trial = optuna.Trial(study, frozen._trial_id)
    assert (trial.number, trial.suggest_float("x", 0, 1)) == (3, 0.25)
    # Study._get_trials and _is_multi_objective say what get_trials and directions say.
    numbers = [each.number for each in study.get_trials(states=(TrialState.COMPLETE,))]
    private = study._get_trials(deepcopy=False, states=(TrialState.COMPLETE,), use_cache=True)
    assert [each.number for each in private] == numbers == [0, 1, 2]
    assert study._is_multi_objective() is False
    # TPE samples in `_sample(study, trial, space)`, and reads trials from the study it is given.
    calls = []
    monkeypatch.setattr(
        StudyInSlotOrder, "_get_trials", lambda *_, **__: calls.append("read") or private
    )
    for multivariate in (False, True):
        sampler = SlotOrderSampler(n_startup_trials=1, seed=0, multivariate=multivariate)
        study.sampler = sampler
        study.ask().suggest_float("x", 0, 1)
        assert calls, "TPESampler no longer samples by _sample or reads by _get_trials"
        calls.clear()
    # The cache that Optuna wraps a database in, and what of it TrialCache replaces.
    cache = optuna.storages._cached_storage._CachedStorage
    wrapped = optuna.storages.get_storage("sqlite://")
    assert type(wrapped) is cache
    parameters = inspect.signature(wrapped._backend._get_trials).parameters
    assert len(parameters) == 4, parameters
    for name in ("_read_trials_from_remote_storage", "_add_trials_to_cache"):
        assert next(iter(inspect.signature(getattr(wrapped, name)).parameters)) == "study_id"
    info = optuna.storages._cached_storage._StudyInfo()
    assert (info.unfinished_trial_ids, info.last_finished_trial_id, info.trials) == (set(), -1, {})
    assert {"_lock", "_studies", "_trial_id_to_study_id_and_number"} <= vars(wrapped).keys()


@pytest.fixture
def studies(tmp_path):
    made = StudyStore(study_url(tmp_path), "study", SWEEP, create=True)
    yield made
    made.close()


def test_each_slot_is_claimed_once(studies, tmp_path):
    studies.enqueue(search_trials(SWEEP))
    other = StudyStore(study_url(tmp_path), "study", SWEEP)
    taken = [studies.claim("a"), other.claim("b"), studies.claim("a"), other.claim("b")]
    assert studies.claim("a") is None
    assert other.claim("b") is None
    assert [trial.user_attrs["slot"] for trial in taken] == [f"search/{i}" for i in range(4)]
    other.close()


def test_a_worker_that_comes_too_late_does_not_put_its_name_on_the_trial(studies, tmp_path):
    studies.enqueue(search_trials(SWEEP))
    late = StudyStore(study_url(tmp_path), "study", SWEEP)
    seen = late.study.get_trials(states=(TrialState.WAITING,))
    trial = studies.claim("first")
    with mock.patch.object(late.study, "get_trials", return_value=seen[:1]):
        assert late.claim("late") is None
    assert late.fail_trials_of("late") == 0
    assert studies.fail_trials_of("first") == 1
    assert is_lost(studies.trials(TrialState.FAIL)[0])
    assert trial.number == 0
    late.close()


def test_a_trial_that_was_taken_and_never_named_is_taken_back(studies):
    studies.enqueue(search_trials(SWEEP))
    # As a worker does that is killed between taking a trial and putting its name on it.
    waiting = studies.trials(TrialState.WAITING)[0]
    studies.storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
    named = studies.claim("w")
    assert studies.fail_unnamed_trials(60) == 0  # it may be about to
    assert studies.fail_unnamed_trials(0) == 1
    assert [t.user_attrs["slot"] for t in studies.trials() if is_lost(t)] == ["search/0"]
    assert named.user_attrs["slot"] == "search/1"


def test_enqueueing_twice_adds_nothing(studies):
    assert studies.enqueue(search_trials(SWEEP)) == 4
    assert studies.enqueue(search_trials(SWEEP)) == 0


def test_two_planners_at_once_do_not_run_a_slot_twice(studies):
    slot = PlannedTrial("search/0", Stage.SEARCH, 0)
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
        studies = StudyStore(study_url(folder), "study", SWEEP, create=True)
        studies.enqueue(search_trials(SWEEP))
        found = []
        for _ in range(4):
            if restart:
                studies.close()
                studies = StudyStore(study_url(folder), "study", SWEEP)
            trial = studies.claim("a")
            config = studies.config(trial)
            found.append(config)
            studies.study.tell(trial, config.rank / 100)
        studies.close()
        return found

    assert drawn(tmp_path / "one", restart=False) == drawn(tmp_path / "two", restart=True)


def test_a_released_trial_is_owed_again_with_the_same_configuration(studies):
    slots = search_trials(SWEEP)
    studies.enqueue(slots)
    trial = studies.claim("dead")
    config = studies.config(trial)
    assert studies.fail_trials_of("dead") == 1
    assert is_lost(studies.trials(TrialState.FAIL)[0])
    assert studies.enqueue(slots) == 1
    again = studies.claim("b")  # before its successors, as it would have been
    assert again.user_attrs["slot"] == "search/0"
    assert studies.config(again) == config


def test_a_slot_with_a_configuration_gives_that_configuration(studies):
    config = TrialConfig("dora", 16, 64.0, 0.05, "mlp", 2.5e-3, seed=301)
    studies.enqueue([PlannedTrial("confirm/x/301", Stage.CONFIRM, 301, config)])
    assert studies.config(studies.claim("a")) == config


def test_a_repeated_configuration_is_found(studies):
    config = TrialConfig("dora", 16, 64.0, 0.05, "mlp", 2.5e-3, seed=0)
    studies.enqueue([PlannedTrial(f"search/{i}", Stage.SEARCH, 0, config) for i in range(2)])
    first = studies.claim("a")
    studies.config(first)
    assert studies.find_duplicate(first) is None
    studies.study.tell(first, 0.7)
    second = studies.claim("a")
    studies.config(second)
    assert studies.find_duplicate(second).number == first.number


def test_cancelled_slots_are_not_owed_again(studies):
    studies.enqueue(search_trials(SWEEP))
    studies.claim("a")
    assert studies.cancel_waiting("--minutes is over") == 3
    assert studies.claim("a") is None
    assert studies.enqueue(search_trials(SWEEP)) == 0


def test_a_study_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="holds no study 'nothing'"):
        StudyStore(study_url(tmp_path), "nothing")


@pytest.mark.parametrize("name", ["a%20b", "x?y", "p#q", "é 'q' \"r\""])
def test_a_study_lies_in_its_folder_whatever_that_is_called(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    url = study_url(folder)
    made = StudyStore(url, "study", SWEEP, create=True)
    made.enqueue(search_trials(SWEEP))
    made.close()
    assert (folder / "study.db").is_file()
    assert [one.name for one in tmp_path.iterdir()] == [name]
    again = StudyStore(url, "study", SWEEP)
    assert len(again.trials()) == 4
    again.close()
    assert WorkerSpec(url, "study").folder == folder


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "study.db").write_text("not a database, but long enough to look like a file\n" * 9)
    with pytest.raises(UserError, match="cannot be opened"):
        StudyStore(study_url(tmp_path), "study")


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
    sweep = load_sweep("ner_medical", [f"search.trials={trials}", "search.startup=2"])
    studies = StudyStore(study_url(folder), "study", sweep, create=True)
    studies.enqueue(search_trials(sweep))
    return studies


def _one_trial(studies, value):
    """All that a worker and the live view ask of a study for one trial."""
    trial = studies.claim("w")
    studies.config(trial)
    assert studies.find_duplicate(trial) is None
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
    other = StudyStore(
        study_url(tmp_path / "a"), "study", load_sweep("ner_medical", ["search.trials=7"])
    )
    first, second = other.claim("other"), other.claim("other")
    other.config(first)
    other.study.tell(first, 0.5)
    assert other.enqueue(search_trials(load_sweep("ner_medical", ["search.trials=7"]))) == 2

    assert [t.number for t in mine.trials(TrialState.COMPLETE)] == [first.number]
    assert mine.trials(TrialState.COMPLETE)[0].params == first.params
    running = mine.trials(TrialState.RUNNING)
    assert [(t.number, t.user_attrs["worker"]) for t in running] == [(second.number, "other")]
    assert [t.number for t in mine.trials(TrialState.WAITING)] == [2, 3, 4, 5, 6]

    assert other.fail_trials_of("other") == 1
    assert other.cancel_waiting("enough") == 5
    assert [t.number for t in mine.trials() if is_lost(t)] == [second.number]
    assert [t.number for t in mine.trials() if is_cancelled(t)] == [2, 3, 4, 5, 6]
    mine.close()
    other.close()


@pytest.mark.parametrize("most", [0, 500])
def test_many_changes_at_once_are_read_as_optuna_does(tmp_path, monkeypatch, most):
    monkeypatch.setattr("harness.storage.study._MAX_IDS", most)
    mine = _made(tmp_path / "a", 4)
    other = StudyStore(
        study_url(tmp_path / "a"), "study", load_sweep("ner_medical", ["search.trials=4"])
    )
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
    sweep = load_sweep("ner_medical", ["search.trials=2"])
    objective = Objective("entity_f1", "maximize", 0.02, "f1", ("A",), 100.0, "points of F1")
    records.register(sweep, "digest", objective, {})
    assert records.seconds() == 0.0
    scores = SplitScores("validation", ("1",), ("",), (False,), ((1.0, 0.0, 0.0),), {})
    for number, seconds in enumerate((2.0, 3.5)):
        cost = Cost(train_seconds=seconds, score_seconds=0.25)
        result = TrialResult(number, Outcome.COMPLETE, {"validation": scores}, cost=cost)
        records.add_result(result)
    with _reads(ScoresRow) as count:
        assert records.seconds() == 6.0
        assert records.sweep() == sweep.to_dict()
    assert count[0] == 0
    studies.close()


TRIALS = 60
SPACE = ["space.variant=[lora]", "space.dropout=[0.0]", "space.alpha_ratio=[2.0]"]
ONE = [*SPACE, f"search.trials={TRIALS}"]
SEVERAL = [*ONE, "search.objectives=[parameters]"]


def searched(folder: Path, sweep: Sweep) -> list[optuna.trial.FrozenTrial]:
    """A search whose quality rises a little with the rank, and whose cost is the rank."""
    studies = StudyStore(study_url(folder), "study", sweep, create=True)
    studies.enqueue(search_trials(sweep))
    while (trial := studies.claim("w")) is not None:
        config = studies.config(trial)
        off = abs(np.log10(config.learning_rate / 5e-3))
        trial.set_user_attr(LOSSES, {"parameters": float(config.rank)})
        studies.study.tell(trial, 0.9 + 0.01 * np.log2(config.rank) - 0.1 * off)
    found = studies.trials(TrialState.COMPLETE)
    studies.close()
    return found


def test_the_sampler_follows_the_front_of_all_objectives(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "several").mkdir()
    one, several = (
        [
            t.params["rank"]
            for t in searched(tmp_path / name, load_sweep("ner_medical", given))[30:]
        ]
        for name, given in (("one", ONE), ("several", SEVERAL))
    )
    # By quality alone high ranks are what is looked for; on the front every rank is.
    assert np.mean(np.log2(one)) > 4 > np.mean(np.log2(several))
    assert len(set(several)) >= 5
    assert len({r for r in several if r <= 4}) >= 2


def test_values_in_the_database_are_the_task_s_objective_alone(tmp_path: Path) -> None:
    found = searched(tmp_path, load_sweep("ner_medical", [*SEVERAL, "search.trials=12"]))
    assert {len(trial.values) for trial in found} == {1}


def test_the_sampler_is_shown_all_values_and_nothing_that_has_not_all(tmp_path: Path) -> None:
    sweep = load_sweep("ner_medical", [*SEVERAL, "search.trials=4"])
    studies = StudyStore(study_url(tmp_path), "study", sweep, create=True)
    studies.enqueue(search_trials(sweep))
    for number, noted in enumerate(({"parameters": 8.0}, {}, {"parameters": 2.0}, None)):
        trial = studies.claim("w")
        assert trial is not None
        studies.config(trial)
        if noted is None:
            studies.study.tell(trial, state=TrialState.PRUNED)
            continue
        trial.set_user_attr(LOSSES, noted)
        studies.study.tell(trial, 0.5 + number)
    seen = StudyInSlotOrder(studies.study, sweep.search.objectives)
    assert seen.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    assert seen._is_multi_objective()
    assert [trial.values for trial in seen._get_trials()] == [[0.5, 8.0], [2.5, 2.0]]
    # What is stored is as it was.
    assert [trial.values for trial in studies.trials(TrialState.COMPLETE)] == [[0.5], [1.5], [2.5]]
    studies.close()


@pytest.mark.parametrize("name", ["median", "halving"])
def test_nothing_is_pruned_by_one_of_several_objectives(name: str) -> None:
    one = load_sweep("ner_medical", [f"search.pruner={name}"])
    several = load_sweep(
        "ner_medical", [f"search.pruner={name}", "search.objectives=[parameters]"]
    )
    assert not isinstance(pruner(one), optuna.pruners.NopPruner)
    assert isinstance(pruner(several), optuna.pruners.NopPruner)
