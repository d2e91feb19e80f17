"""Starts N worker processes for one study and waits for them; nothing else.

A worker that dies is started again, a few times; its trial is taken back by the others. Workers
end by themselves when this process is gone.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from harness.errors import UserError
from harness.workers.assignment import Assignment

#: How often workers that died are started again, all together.
_RESTARTS: Final = 3
#: Exit code of a worker that found a mistake of the user's.
_USER_ERROR: Final = 2


@dataclass(frozen=True)
class Crew:
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


def crew(
    workers: int | None, threads: int | None, cuda: Callable[[], bool] = lambda: False
) -> Crew:
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
    return Crew(count, threads or max(1, cores // count))


def run(
    assignments: Sequence[Assignment], logs: Path, tick: Callable[[], None], poll: float = 1.0
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


def _start(assignment: Assignment, logs: Path) -> subprocess.Popen[bytes]:
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


def _command(assignment: Assignment) -> list[str]:
    return [sys.executable, "-m", "harness", "worker", *assignment.arguments()]


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"
