import os
import sys
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.study import launcher as local
from harness.study.launcher import Assignment


@pytest.fixture
def as_worker(monkeypatch):
    """Lets a line of Python stand for the worker's program."""

    def use(code: str) -> None:
        monkeypatch.setattr(Assignment, "arguments", lambda _: [])
        monkeypatch.setattr(local, "_command", lambda _: [sys.executable, "-c", code])

    return use


def test_the_crew_fits_the_machine(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(2)), raising=False)
    assert local.crew(None, None) == local.Crew(2, 1)
    assert local.crew(1, None) == local.Crew(1, 2)
    assert local.crew(None, None, cuda=lambda: True) == local.Crew(1, 2)
    assert local.crew(4, 3) == local.Crew(4, 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert local.crew(None, None) == local.Crew(8, 2)


@pytest.mark.parametrize(
    ("workers", "threads", "told"),
    [
        (1, 1, "1 worker with 1 thread"),
        (1, 2, "1 worker with 2 threads"),
        (2, 1, "2 workers with 1 thread each"),
        (4, 3, "4 workers with 3 threads each"),
    ],
)
def test_a_crew_is_told_in_words(workers, threads, told):
    assert str(local.Crew(workers, threads)) == told


def test_it_waits_for_all_and_keeps_what_they_print(as_worker, tmp_path):
    as_worker("print('working')")
    ticks = []
    jobs = [Assignment("url", "study", index=index) for index in range(2)]
    local.run(jobs, tmp_path, lambda: ticks.append(1), poll=0.05)
    assert ticks
    assert [(tmp_path / f"worker-{i}.log").read_text() for i in range(2)] == ["working\n"] * 2


def test_a_mistake_of_the_users_is_told_as_the_worker_told_it(as_worker, tmp_path):
    as_worker("import sys; print('error: no such model'); sys.exit(2)")
    with pytest.raises(UserError, match=r"^no such model$"):
        local.run([Assignment("url", "study")], tmp_path, lambda: None, poll=0.05)


def test_a_worker_that_dies_is_started_again(as_worker, tmp_path):
    flag = tmp_path / "flag"
    as_worker(
        f"import pathlib, os, signal\nflag = pathlib.Path({str(flag)!r})\n"
        "if not flag.exists():\n    flag.touch()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "print('second')"
    )
    local.run([Assignment("url", "study")], tmp_path, lambda: None, poll=0.05)
    assert (tmp_path / "worker-0.log").read_text() == "second\n"


def test_a_worker_that_always_dies_is_given_up(as_worker, tmp_path):
    as_worker("import sys; print('boom'); sys.exit(1)")
    with pytest.raises(RuntimeError, match="worker 0 ended with code 1: boom"):
        local.run([Assignment("url", "study")], tmp_path, lambda: None, poll=0.05)


def test_an_interruption_ends_the_workers(as_worker, tmp_path):
    as_worker(
        "import threading, pathlib, os\nprint(os.getpid(), flush=True)\nthreading.Event().wait(60)"
    )

    def tick() -> None:
        if (tmp_path / "worker-0.log").read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.run([Assignment("url", "study")], tmp_path, tick, poll=0.05)
    pid = int((tmp_path / "worker-0.log").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_an_assignment_is_words_and_back():
    words = Assignment("sqlite:///x", "study", 1, 2, 1, 10.0, 3.5, 100.0, 42).arguments()
    assert words[:4] == ["--url", "sqlite:///x", "--study", "study"]
    assert words[-2:] == ["--parent", "42"]
    assert "--minutes" not in Assignment("u", "s").arguments()
