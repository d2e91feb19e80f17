"""How many workers a study gets: by what was said, noted, or measured."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config import sweep
from harness.config.sweep import Sweep
from harness.errors import UserError
from harness.study import launcher
from harness.study.launcher import WorkerSpec, measure_throughput
from harness.study.session import Parallelism
from tests import toy


@pytest.fixture
def as_worker(monkeypatch):
    """Lets a line of Python stand for the worker's program."""

    def use(code: str) -> None:
        monkeypatch.setattr(launcher, "_command", lambda _: [sys.executable, "-c", code])

    return use


def test_the_crew_fits_the_machine(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(2)), raising=False)
    assert launcher.default_parallelism(None, None) == Parallelism(2, 1)
    assert launcher.default_parallelism(1, None) == Parallelism(1, 2)
    assert launcher.default_parallelism(None, None, cuda=lambda: True) == Parallelism(1, 2)
    assert launcher.default_parallelism(4, 3) == Parallelism(4, 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert launcher.default_parallelism(None, None) == Parallelism(8, 2)


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
    assert str(Parallelism(workers, threads)) == told


def test_it_waits_for_all_and_keeps_what_they_print(as_worker, tmp_path):
    as_worker("print('working')")
    ticks = []
    jobs = [WorkerSpec("url", "study", index=index) for index in range(2)]
    launcher.run_workers(jobs, tmp_path, lambda: ticks.append(1), poll=0.05)
    assert ticks
    assert [(tmp_path / f"worker-{i}.log").read_text() for i in range(2)] == ["working\n"] * 2


def test_a_mistake_of_the_users_is_told_as_the_worker_told_it(as_worker, tmp_path):
    as_worker("import sys; print('error: no such model'); sys.exit(2)")
    with pytest.raises(UserError, match=r"^no such model$"):
        launcher.run_workers([WorkerSpec("url", "study")], tmp_path, lambda: None, poll=0.05)


def test_a_real_worker_reports_a_mistake_in_one_line(tmp_path):
    spec = WorkerSpec(f"sqlite:///{tmp_path}/nowhere/study.db", "study")
    with pytest.raises(UserError, match=r"study\.db: the study's database cannot be opened"):
        launcher.run_workers([spec], tmp_path, lambda: None, poll=0.05)


def test_a_worker_that_dies_is_started_again(as_worker, tmp_path):
    flag = tmp_path / "flag"
    as_worker(
        f"import pathlib, os, signal\nflag = pathlib.Path({str(flag)!r})\n"
        "if not flag.exists():\n    flag.touch()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "print('second')"
    )
    launcher.run_workers([WorkerSpec("url", "study")], tmp_path, lambda: None, poll=0.05)
    assert (tmp_path / "worker-0.log").read_text() == "second\n"


def test_a_worker_that_always_dies_is_given_up(as_worker, tmp_path):
    as_worker("import sys; print('boom'); sys.exit(1)")
    with pytest.raises(RuntimeError, match="worker 0 ended with code 1: boom"):
        launcher.run_workers([WorkerSpec("url", "study")], tmp_path, lambda: None, poll=0.05)


def test_an_interruption_ends_the_workers(as_worker, tmp_path):
    as_worker(
        "import threading, pathlib, os\nprint(os.getpid(), flush=True)\nthreading.Event().wait(60)"
    )

    def tick() -> None:
        if (tmp_path / "worker-0.log").read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launcher.run_workers([WorkerSpec("url", "study")], tmp_path, tick, poll=0.05)
    pid = int((tmp_path / "worker-0.log").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_a_workers_spec_survives_the_command_line():
    for spec in (
        WorkerSpec("sqlite:///x", "a study", 1, 2, 1, 10.0, 3.5, 100.0, 42),
        WorkerSpec("u", "s"),
    ):
        assert WorkerSpec.from_json(spec.to_json()) == spec


RULE = Parallelism(2, 1)
Paces = Callable[[float | None, float | None], list[Parallelism]]


def no_gpu() -> bool:
    return False


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


@pytest.fixture
def paces(monkeypatch: pytest.MonkeyPatch) -> Paces:
    """Puts figures in the place of measurements; answers what was asked for."""

    def put(many: float | None, fewer: float | None) -> list[Parallelism]:
        asked: list[Parallelism] = []

        def found(_: Sweep, workers: int, threads: int) -> float | None:
            asked.append(Parallelism(workers, threads))
            return many if workers == 2 else fewer

        monkeypatch.setattr(launcher, "measure_throughput", found)
        return asked

    return put


def loaded(*settings: str) -> Sweep:
    return sweep.load_sweep("ner_medical", settings)


@pytest.mark.parametrize(
    ("many", "fewer", "chosen"),
    [(20.0, 19.9, (2, 1)), (20.0, 20.0, (1, 2)), (None, 5.0, (1, 2)), (5.0, None, (2, 1))],
)
def test_fewer_workers_are_taken_where_they_are_as_fast(
    many: float | None, fewer: float | None, chosen: tuple[int, int], paces: Paces
) -> None:
    asked = paces(many, fewer)
    found = launcher.choose_parallelism(loaded(), no_gpu, None, measured_bytes=1)
    assert (found.workers, found.threads) == chosen
    assert asked == [Parallelism(2, 1), Parallelism(1, 2)]
    assert "2 workers with 1 thread each: " in found.why
    assert "1 worker with 2 threads: " in found.why


def test_where_neither_runs_the_rule_holds(paces: Paces) -> None:
    paces(None, None)
    found = launcher.choose_parallelism(loaded(), no_gpu, None, measured_bytes=1)
    assert (found.workers, found.threads) == (2, 1)


@pytest.mark.parametrize(
    ("settings", "noted", "gpu", "wanted"),
    [
        ((), None, False, RULE),  # the embedded base is small
        (("workers=3",), None, False, Parallelism(3, 1)),
        (("threads=2",), {"threads": 1}, False, Parallelism(2, 2)),
        ((), {"threads": 2, "workers": 1}, False, Parallelism(1, 2)),
        ((), {"threads": 1, "workers": 2}, False, RULE),
        ((), {"threads": 8, "workers": 4}, False, Parallelism(1, 8)),
        ((), None, True, Parallelism(1, 2)),
    ],
)
def test_nothing_is_measured_where_there_is_nothing_to_choose(
    settings: tuple[str, ...],
    noted: dict[str, int] | None,
    gpu: bool,
    wanted: Parallelism,
    paces: Paces,
) -> None:
    asked = paces(1.0, 2.0)
    assert launcher.choose_parallelism(loaded(*settings), lambda: gpu, noted) == wanted
    assert asked == []


@pytest.mark.parametrize("name", ["./nowhere", "owner/name"])
def test_a_base_that_is_not_here_is_not_measured(name: str, paces: Paces) -> None:
    asked = paces(1.0, 2.0)
    assert (
        launcher.choose_parallelism(loaded(f"model.name={name}"), no_gpu, None, measured_bytes=1)
        == RULE
    )
    assert asked == []


def test_real_processes_train_side_by_side(tmp_path: Path) -> None:
    toy.save_model(tmp_path)
    small = sweep.load_sweep(
        "ner_medical", [f"model.name={tmp_path}", "model.dtype=auto"], data__limit=8
    )
    found = measure_throughput(small, 2, 1)
    assert found is not None
    assert found > 0


def test_a_process_that_fails_is_no_pace(tmp_path: Path) -> None:
    assert measure_throughput(loaded(f"model.name={tmp_path}"), 1, 1) is None
