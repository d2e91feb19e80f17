from pathlib import Path

from harness import progress
from harness.stages import search_slots
from harness.storage.studies import Studies, url_of
from harness.sweep import load

SWEEP = load("ner_medical", ["search.trials=3"])


def test_a_slot_that_was_planned_twice_counts_once(tmp_path: Path) -> None:
    studies = Studies(url_of(tmp_path), "study", SWEEP, create=True)
    studies.enqueue(search_slots(SWEEP))
    double = {"slot": "search/2", "stage": "search", "seed": 0, "budget": 1.0}
    studies.study.enqueue_trial({}, user_attrs=double)
    first = studies.claim("w")
    assert first is not None
    studies.study.tell(first, 0.5)
    studies.claim("w")
    now = progress.read(studies)
    studies.close()
    assert (now.stage, now.done, now.owed) == ("search", {"search": 1}, 2)
    assert (now.best, now.outcomes) == (0.5, {"complete": 1})
    assert len(now.running) == 1
