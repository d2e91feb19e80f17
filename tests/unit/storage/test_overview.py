from pathlib import Path

from harness.config.sweep import load_sweep
from harness.storage import overview
from harness.storage.study import PlannedTrial, StudyStore, study_url
from harness.study.search import search_trials
from harness.trial import Stage, TrialConfig

SWEEP = load_sweep("ner_medical", ["search.trials=3"])


def test_a_slot_that_was_planned_twice_counts_once(tmp_path: Path) -> None:
    studies = StudyStore(study_url(tmp_path), "study", SWEEP, create=True)
    studies.enqueue(search_trials(SWEEP))
    double = {"slot": "search/2", "stage": "search", "seed": 0, "budget": 1.0}
    studies.study.enqueue_trial({}, user_attrs=double)
    first = studies.claim("w")
    assert first is not None
    studies.study.tell(first, 0.5)
    studies.claim("w")
    now = overview.study_progress(studies)
    studies.close()
    assert (now.stage, now.completed, now.remaining) == ("search", {"search": 1}, 2)
    assert (now.best, now.outcomes) == (0.5, {"complete": 1})
    assert len(now.running) == 1


def test_without_a_search_the_best_is_the_ablations(tmp_path: Path) -> None:
    studies = StudyStore(study_url(tmp_path), "study", SWEEP, create=True)
    told = ((Stage.TUNE, 0.9), (Stage.ABLATE, 0.7), (Stage.ABLATE, 0.8))
    for place, (stage, value) in enumerate(told):
        config = TrialConfig("lora", 8, 16.0, 0.0, "qv", 1e-3, place)
        studies.enqueue((PlannedTrial(f"{stage}/{place}", stage, place, config),))
        claimed = studies.claim("w")
        assert claimed is not None
        studies.study.tell(claimed, value)
    now = overview.study_progress(studies)
    studies.close()
    assert now.best == 0.8


def test_trials_that_there_was_no_time_for_are_not_counted_as_done(tmp_path: Path) -> None:
    studies = StudyStore(study_url(tmp_path), "study", SWEEP, create=True)
    studies.enqueue(search_trials(SWEEP))
    first = studies.claim("w")
    assert first is not None
    studies.study.tell(first, 0.5)
    assert studies.cancel_waiting("--minutes is over") == 2
    now = overview.study_progress(studies)
    studies.close()
    assert (now.completed, now.remaining, now.outcomes) == ({"search": 1}, 0, {"complete": 1})
