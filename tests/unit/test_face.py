"""The messages of other packages that no user needs, and those that stay."""

import importlib.util
import logging
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness import SILENCED_LOGS

ROOT = Path(__file__).parents[2]


def test_a_message_is_kept_back_and_all_others_of_its_logger_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert harness.__doc__  # imported, which is all that it takes
    for name, begin in SILENCED_LOGS.items():
        logger = logging.getLogger(name)
        logger.warning(begin + ": %s. Please install it", "No module named 'kernels'")
        assert not caplog.records
        logger.warning("Failed to load %s", "the processor's library")
        assert [record.getMessage() for record in caplog.records] == [
            "Failed to load the processor's library"
        ]
        caplog.clear()


@pytest.mark.parametrize("name", list(SILENCED_LOGS))
def test_the_words_are_those_of_the_package(name: str) -> None:
    found = importlib.util.find_spec(name.partition(".")[0])
    assert found is not None
    assert found.origin is not None
    file = Path(found.origin).parents[1].joinpath(*name.split(".")).with_suffix(".py")
    assert SILENCED_LOGS[name] in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", [["plan", "ner_medical"], ["doctor"]])
def test_a_verb_says_nothing_on_the_side(verb: list[str]) -> None:
    command = [sys.executable, "-m", "harness", *verb]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gemm_4bit" not in done.stdout + done.stderr
    assert "kernels" not in done.stderr


def test_the_faces_of_rooms_give_their_main_names_without_loading_optuna_early() -> None:
    code = (
        "import sys, harness.config, harness.data; assert 'optuna' not in sys.modules;"
        "from harness.config import VARIANTS, SearchSpace, Sweep, load_sweep;"
        "from harness.data import FORMATS, Row, Span;"
        "from harness.tasks import Task, load_task;"
        "assert 'jsonl' in FORMATS and 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
