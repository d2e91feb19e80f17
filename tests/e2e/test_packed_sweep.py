"""A whole small sweep in which trials share their steps."""

import subprocess
from pathlib import Path

import pytest

from harness.report.sections.provenance import provenance_table
from harness.results import StudyResults
from harness.storage.records import read_study
from tests.small_sweep import STUDY, command

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    folder: Path = tmp_path_factory.mktemp("packed")
    engine = "engine={kind: packed, slots: 3}"
    words = command(folder, 1, "--set", engine, "--set", "model.dtype=auto")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return read_study(STUDY, folder / "results")


def test_every_stage_ends_and_nothing_fails(results: StudyResults) -> None:
    assert set(results.trials["state"]) <= {"complete", "pruned"}
    assert set(results.trials["stage"]) == {"search", "tune", "ablate", "confirm"}


def test_trials_shared_their_steps_and_the_study_says_so(results: StudyResults) -> None:
    assert results.attributes["engine"]["slots"] == 3
    assert results.costs["pack"].between(1, 3).all()
    assert results.costs["pack"].max() == 3


def test_the_precision_was_measured_and_the_study_says_so(results: StudyResults) -> None:
    noted = results.attributes["dtype"]
    assert set(noted["measured"]) == {"float32", "bfloat16"}
    assert noted["dtype"] in noted["measured"]
    shown = provenance_table(results).set_index("item")["value"]
    assert shown["dtype.dtype"] == noted["dtype"]


def test_packed_trials_are_proven_like_others(results: StudyResults) -> None:
    done = results.trials[results.trials["state"] == "complete"]
    assert done["duplicate_of"].notna().sum() + done["proofs"].notna().sum() >= len(done)
