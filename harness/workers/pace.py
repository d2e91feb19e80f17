"""How fast several processes train side by side, measured by a few steps in each.

Run as a process, `python -m harness.workers.pace` reads a sweep as JSON, makes ready, says so,
waits for a line, trains a few steps and prints tokens a second.
"""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from typing import IO, Any, Final

from harness import sweep as sweeps
from harness.sweep import Sweep
from harness.workers.local import variables

_READY: Final = "ready"
_STEPS: Final = 3


def pace(sweep: Sweep, workers: int, threads: int) -> float | None:
    """Training tokens a second of several processes together.

    Args:
        sweep: its base, task and training.
        workers: processes.
        threads: torch threads of each.

    Returns:
        None if one of them fails, say because memory is short.
    """
    words = [sys.executable, "-m", "harness.workers.pace", str(threads)]
    body = json.dumps(sweep.plain()) + "\n"
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
    sweep = sweeps.parse(body, "sweep")
    from harness.models import base_model
    from harness.packed.choosing import seconds_a_token
    from harness.packed.engine import PackedTrainer
    from harness.workers.tasks import load_task_of

    model = sweep.model
    if model.dtype == "auto":  # settled by workers, which there are none of yet
        model = model.model_copy(update={"dtype": "float32"})
    task = load_task_of(sweep)
    short = sweep.training.model_copy(update={"steps": _STEPS, "epochs": None, "readings": 0})
    trainer = PackedTrainer(base_model.load(model, threads, task.kind.head), task, short)
    seconds_a_token(trainer, 1)  # what is done once only is not to be timed
    _say(given, _READY + "\n")
    sys.stdin.readline()
    seconds = seconds_a_token(trainer, 1)
    if seconds:
        _say(given, f"{1 / seconds}\n")


if __name__ == "__main__":
    _main()
