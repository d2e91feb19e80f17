"""Starts N worker processes for one study and waits for them; nothing else.

A worker that dies is started again, a few times; its trial is taken back by the others. Workers
end by themselves when this process is gone.

`WorkerSpec`: all that crosses the border into a worker's process: names and plain values.

How fast several processes train side by side, measured by a few steps in each.

Run as a process, `python -m harness.study.launcher` reads a sweep as JSON, makes ready, says so,
waits for a line, trains a few steps and prints tokens a second.

Chooses how many workers a study gets, and how many threads each.

What the user said holds; then what the study was made with; else the machine decides, and where
the base is large enough for that to pay, a few steps of it.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import make_url

from harness.config import sweep as sweeps
from harness.config.sweep import Sweep
from harness.errors import UserError


@dataclass(frozen=True)
class WorkerSpec:
    """Where and how a worker works.

    Attributes:
        url: the study's database.
        study: the study's name.
        index: which worker of those side by side, from 0.
        workers: how many there are.
        threads: torch threads.
        minutes: bound on the whole study, or None.
        spent: seconds of it that earlier sessions spent.
        began: when this session began, seconds since the epoch.
        parent: process id that the worker dies with, or None.
    """

    url: str
    study: str
    index: int = 0
    workers: int = 1
    threads: int = 1
    minutes: float | None = None
    spent: float = 0.0
    began: float = 0.0
    parent: int | None = None

    @property
    def folder(self) -> Path | None:
        """The study's, where its database is a file; None on a server."""
        url = make_url(self.url)
        file = url.database if url.get_backend_name() == "sqlite" else None
        return None if file is None else Path(file).parent

    def arguments(self) -> list[str]:
        """The words behind `python -m harness worker`."""
        words = []
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if value is not None:
                words += [f"--{item.name}", str(value)]
        return words


#: How often workers that died are started again, all together.
_RESTARTS: Final = 3
#: Exit code of a worker that found a mistake of the user's.
_USER_ERROR: Final = 2


@dataclass(frozen=True)
class Parallelism:
    """How many workers, with how many torch threads each.

    Attributes:
        workers: processes.
        threads: of each.
        why: what was measured for it, if anything was.
    """

    workers: int
    threads: int
    why: str = ""

    def __str__(self) -> str:
        """As in `2 workers with 1 thread each`."""
        workers = f"{self.workers} worker{'s' * (self.workers > 1)}"
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{workers} with {threads}{' each' * (self.workers > 1)}"


def default_parallelism(
    workers: int | None, threads: int | None, cuda: Callable[[], bool] = lambda: False
) -> Parallelism:
    """Chooses what is not given, by the machine.

    A small model does not keep two threads busy: on a few cores one worker a core, with one thread
    each, does most trials an hour; on more, one worker for each two cores. With a GPU, one worker.

    Args:
        workers: as the user said, or None.
        threads: as the user said, or None.
        cuda: whether trials run on a GPU; asked only where that decides.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    count = workers or (1 if cuda() else cores if cores <= 4 else cores // 2)
    return Parallelism(count, threads or max(1, cores // count))


def run_workers(
    assignments: Sequence[WorkerSpec], logs: Path, tick: Callable[[], None], poll: float = 1.0
) -> None:
    """Runs workers until all have ended.

    Args:
        assignments: one for each worker.
        logs: folder for `worker-<index>.log`, what each printed.
        tick: called after each poll, to show progress.
        poll: seconds between polls.

    Raises:
        UserError: a worker met a mistake of the user's; carries its line.
        RuntimeError: a worker failed again and again.
        KeyboardInterrupt: the user stopped; workers have given their trials back.
    """
    restarts = _RESTARTS
    running = {index: _start(each, logs) for index, each in enumerate(assignments)}
    try:
        while running:
            time.sleep(poll)
            for index, process in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[index]
                if code == 0:
                    continue
                line = _last_line(logs / f"worker-{index}.log")
                if code == _USER_ERROR:
                    raise UserError(line.removeprefix("error: "))
                if restarts == 0:
                    raise RuntimeError(f"worker {index} ended with code {code}: {line}")
                restarts -= 1
                running[index] = _start(assignments[index], logs)
            tick()
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def _start(assignment: WorkerSpec, logs: Path) -> subprocess.Popen[bytes]:
    logs.mkdir(parents=True, exist_ok=True)
    # Set before the process starts: thread pools are made when their libraries load.
    environment = {**os.environ, **variables(assignment.threads)}
    own = replace(assignment, parent=os.getpid())
    with (logs / f"worker-{assignment.index}.log").open("ab") as log:
        return subprocess.Popen(
            _command(own),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )


def variables(threads: int) -> Mapping[str, str]:
    """Environment of a worker's process.

    Args:
        threads: torch threads.
    """
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
    }


def _command(assignment: WorkerSpec) -> list[str]:
    return [sys.executable, "-m", "harness", "worker", *assignment.arguments()]


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


_READY: Final = "ready"
_STEPS: Final = 3


def measure_throughput(sweep: Sweep, workers: int, threads: int) -> float | None:
    """Training tokens a second of several processes together.

    Args:
        sweep: its base, task and training.
        workers: processes.
        threads: torch threads of each.

    Returns:
        None if one of them fails, say because memory is short.
    """
    words = [sys.executable, "-m", "harness.study.launcher", str(threads)]
    body = json.dumps(sweep.to_dict()) + "\n"
    with ExitStack() as stack:
        crew = [
            stack.enter_context(
                subprocess.Popen(
                    words,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    env={**os.environ, **variables(threads)},
                )
            )
            for _ in range(workers)
        ]
        for process in crew:
            stack.callback(process.kill)
        try:
            for process in crew:
                _say(process.stdin, body)
            if any(_hear(process.stdout) != _READY for process in crew):
                return None
            for process in crew:
                _say(process.stdin, "go\n")
            return sum(float(_hear(process.stdout)) for process in crew)
        except (OSError, ValueError):
            return None


def _say(stream: IO[str] | None, text: str) -> None:
    assert stream is not None
    stream.write(text)
    stream.flush()


def _hear(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


def _main() -> None:
    given = sys.stdout
    sys.stdout = sys.stderr  # nothing else is to be heard
    threads = int(sys.argv[1])
    body: dict[str, Any] = json.loads(sys.stdin.readline())
    sweep = sweeps.parse_sweep(body, "sweep")
    from harness.models import base_model
    from harness.tasks.task import load_task_for
    from harness.training.packed.selection import make_timing_trainer, seconds_per_token

    model = sweep.model
    if model.dtype == "auto":  # settled by workers, which there are none of yet
        model = model.model_copy(update={"dtype": "float32"})
    task = load_task_for(sweep)
    short = sweep.training.model_copy(update={"steps": _STEPS, "epochs": None, "readings": 0})
    trainer = make_timing_trainer(base_model.load(model, threads, task.type.head), task, short)
    seconds_per_token(trainer, 1)  # what is done once only is not to be timed
    _say(given, _READY + "\n")
    sys.stdin.readline()
    seconds = seconds_per_token(trainer, 1)
    if seconds:
        _say(given, f"{1 / seconds}\n")


if __name__ == "__main__":
    _main()


#: Bytes of weights from which it is measured. Smaller bases do not keep two threads busy: there
#: the rule holds (`benchmarks.growth --parts workers,threads`).
LEAST: Final = 128 << 20
_WEIGHTS: Final = ("*.safetensors", "*.bin", "*.gguf")


def choose_parallelism(
    sweep: Sweep,
    cuda: Callable[[], bool],
    noted: Mapping[str, Any] | None,
    least: int = LEAST,
) -> Parallelism:
    """The crew of a study.

    Args:
        sweep: what the user said, and what is trained.
        cuda: whether trials run on a GPU; asked only where that decides.
        noted: what the study has noted about itself, if it goes on.
        least: bytes of weights from which it is measured.
    """
    rule = default_parallelism(sweep.workers, sweep.threads, cuda)
    if sweep.workers is not None or sweep.threads is not None:
        return rule
    if noted is not None:
        threads = int(noted["threads"])
        # Another machine may have fewer cores, or more.
        return Parallelism(max(1, rule.workers * rule.threads // threads), threads)
    if rule.workers == 1 or _bytes(sweep) < least:
        return rule
    return _faster(sweep, rule, Parallelism(rule.workers // 2, 2 * rule.threads))


def _faster(sweep: Sweep, rule: Parallelism, fewer: Parallelism) -> Parallelism:
    """Fewer workers are taken if they are as fast: they need less memory."""
    paces = {crew: measure_throughput(sweep, crew.workers, crew.threads) for crew in (rule, fewer)}
    told = ", ".join(
        f"{crew}: {'did not run' if found is None else f'{found:.0f} tokens a second'}"
        for crew, found in paces.items()
    )
    one, other = paces[rule], paces[fewer]
    chosen = fewer if other is not None and (one is None or other >= one) else rule
    return replace(chosen, why=told)


def _bytes(sweep: Sweep) -> int:
    """Size of the base's files; 0 where there are none here yet."""
    from harness.models.base_model import resolve_model

    try:
        place = resolve_model(sweep.model)
    except UserError:
        return 0  # told by whoever loads it
    if not place.local:
        return 0
    folder = Path(place.path)
    found = [file for pattern in _WEIGHTS for file in folder.glob(pattern)]
    if "gguf_file" in place.keywords:
        found = [folder / place.keywords["gguf_file"]]
    return sum(file.stat().st_size for file in found)
