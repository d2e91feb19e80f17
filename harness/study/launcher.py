"""Runs a study: starts its worker processes and waits until no trial is pending.

The path from the command to the step of the optimizer, on the plain engine:

    cli/sweep.py            loads the task, opens the study (`session`)
    study/launcher.py       `run_study` starts processes `python -m harness.study.worker`
    study/worker.py         `Worker.run` claims trials and hands them to a trainer
    training/sequential.py  `SequentialTrainer` attaches, trains, scores and removes an adapter
    training/loop.py        `TrainingRun` steps the optimizer

`python -m harness worker` starts the same worker by hand, say on another machine. Which trainer
a worker has is chosen once for a study by a factory, `training.packed.selection.make_trainer`.

This module also chooses how many workers with how many threads a study has: what the user says;
else the threads that the study was created with; else a rule for the machine, and where the base
model is large enough for that to pay, a measurement of a few steps. For that measurement
`python -m harness.study.launcher THREADS` reads a sweep as JSON, loads it, prints `ready`, waits
for a line, trains a few steps and prints tokens per second.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import make_url

from harness.config import sweep as sweeps
from harness.config.sweep import Sweep
from harness.errors import USER_ERROR_CODE, UserError
from harness.models import shared_weights
from harness.results import StudyResults
from harness.storage import overview
from harness.storage.heartbeat import fail_dead_workers
from harness.storage.overview import Progress
from harness.storage.study import study_url
from harness.study import checks, session
from harness.study.search import search_trials
from harness.study.session import OpenStudy, Parallelism
from harness.tasks.task import load_task_for

#: Workers that died are restarted so many times in total.
_RESTARTS: Final = 3


def run_sweep(sweep: Sweep, name: str, results: Path | str = "results") -> StudyResults:
    """Runs a whole sweep from Python; the same call resumes one that was interrupted.

    Args:
        sweep: what to run, from `harness.load_sweep`.
        name: the study's name, a folder under `results`.
        results: folder of studies.

    Returns:
        All tables of the study.

    Raises:
        UserError: a mistake in sweep, task, data or model.
    """
    task = load_task_for(sweep)
    if not session.exists(Path(results), name):
        checks.check_sweep(sweep, task)
    parallelism = parallelism_of(sweep, name, Path(results))
    opened = session.open_study(sweep, task, name, Path(results), parallelism)
    with closing(opened.studies):
        run_study(opened, sweep)
        return opened.records.read()


def run_study(
    opened: OpenStudy,
    sweep: Sweep,
    tick: Callable[[Progress], None] = lambda _: None,
    extend_grid: bool = False,
    claims: bool = False,
    add_seeds: int = 0,
) -> None:
    """Runs workers until no trial of the study is pending, or `minutes` is over.

    Args:
        opened: the study.
        sweep: what it runs.
        tick: called with the progress about once a second.
        extend_grid: first extend the grids of learning rates whose best rate lies at their edge.
        claims: also train what the claims (`harness.analysis.claims`) lack.
        add_seeds: more confirmation seeds than the planned looks; with `claims`, more seeds for
            what undecided claims compare.

    Raises:
        UserError: a mistake of the user's that only a worker could see, or nothing to extend.
        RuntimeError: workers failed again and again.
        KeyboardInterrupt: the user interrupted it.
    """
    studies, parallelism = opened.studies, opened.parallelism
    fail_dead_workers(studies)
    session.request_additions(opened, sweep, extend_grid, claims, add_seeds)
    if not studies.trials():
        studies.enqueue(search_trials(sweep))
    # `minutes` bounds the study, so that earlier sessions count.
    spec = WorkerSpec(
        study_url(opened.folder),
        studies.study.study_name,
        workers=parallelism.workers,
        threads=parallelism.threads,
        minutes=sweep.minutes,
        spent=opened.records.seconds() / parallelism.workers,
        began=time.time(),
    )
    specs = [replace(spec, index=index) for index in range(parallelism.workers)]
    try:
        run_workers(specs, opened.folder / "logs", lambda: tick(overview.study_progress(studies)))
    finally:
        shared_weights.remove_shared_weights(opened.folder)
    tick(overview.study_progress(studies))


@dataclass(frozen=True)
class WorkerSpec:
    """Everything that a worker's process is given: names and plain values.

    Attributes:
        url: the study's database.
        study: the study's name.
        index: which worker of the study, from 0.
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

    def to_json(self) -> str:
        """As an argument of `python -m harness.study.worker`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "WorkerSpec":
        """What `to_json` wrote."""
        return cls(**json.loads(text))


def run_workers(
    specs: Sequence[WorkerSpec], logs: Path, tick: Callable[[], None], poll: float = 1.0
) -> None:
    """Runs worker processes until all have ended; they also end when this process does.

    A worker that dies is restarted, a few times; its trial is run again by any worker.

    Args:
        specs: one for each worker.
        logs: folder for `worker-<index>.log`, what each printed.
        tick: called after each poll, to show progress.
        poll: seconds between polls.

    Raises:
        UserError: a worker met a mistake of the user's; carries its line.
        RuntimeError: a worker failed again and again.
        KeyboardInterrupt: the user interrupted; workers have returned their trials.
    """
    restarts = _RESTARTS
    running = {index: _start(spec, logs) for index, spec in enumerate(specs)}
    try:
        while running:
            time.sleep(poll)
            for index, process in list(running.items()):
                if (code := process.poll()) is None:
                    continue
                del running[index]
                if code == 0:
                    continue
                line = _last_line(logs / f"worker-{index}.log")
                if code == USER_ERROR_CODE:
                    raise UserError(line.removeprefix("error: "))
                if restarts == 0:
                    raise RuntimeError(f"worker {index} ended with code {code}: {line}")
                restarts -= 1
                running[index] = _start(specs[index], logs)
            tick()
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def _start(spec: WorkerSpec, logs: Path) -> subprocess.Popen[bytes]:
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"worker-{spec.index}.log").open("ab") as log:
        return subprocess.Popen(
            _command(replace(spec, parent=os.getpid())),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **thread_variables(spec.threads)},
        )


def _command(spec: WorkerSpec) -> list[str]:
    return [sys.executable, "-m", "harness.study.worker", spec.to_json()]


def thread_variables(threads: int) -> Mapping[str, str]:
    """Environment variables of a worker's process, for so many torch threads.

    They have to be set before the process starts: libraries create their thread pools on import.
    """
    count = str(threads)
    return {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "TOKENIZERS_PARALLELISM": "false"}


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


#: Bytes of weights from which workers and threads are measured. Smaller bases do not keep two
#: threads busy: for them the rule holds (`benchmarks.growth --parts workers,threads`).
MEASURED_BYTES: Final = 128 << 20
_WEIGHT_FILES: Final = ("*.safetensors", "*.bin", "*.gguf")


def parallelism_of(sweep: Sweep, name: str, results: Path) -> Parallelism:
    """The workers and threads of a study; may time a few steps if it is new."""
    return choose_parallelism(sweep, checks.cuda, session.stored_provenance(results, name))


def choose_parallelism(
    sweep: Sweep,
    cuda: Callable[[], bool],
    provenance: Mapping[str, Any] | None,
    measured_bytes: int = MEASURED_BYTES,
) -> Parallelism:
    """Chooses workers and threads of a study; `provenance` is that of one that resumes.

    A base model of `measured_bytes` of weights or more is measured. `cuda` says whether trials run
    on a GPU; it is called only where that decides.
    """
    rule = default_parallelism(sweep.workers, sweep.threads, cuda)
    if sweep.workers is not None or sweep.threads is not None:
        return rule
    if provenance is not None:
        threads = int(provenance["threads"])
        # Another machine may have fewer cores, or more.
        return Parallelism(max(1, rule.workers * rule.threads // threads), threads)
    if rule.workers == 1 or _weight_bytes(sweep) < measured_bytes:
        return rule
    return _measured_faster(sweep, rule, Parallelism(rule.workers // 2, 2 * rule.threads))


def default_parallelism(
    workers: int | None, threads: int | None, cuda: Callable[[], bool] = lambda: False
) -> Parallelism:
    """Chooses by the machine what the user does not say.

    A small model does not keep two threads busy: on a few cores one worker a core, with one thread
    each, does most trials an hour; on more, one worker for each two cores. With a GPU, one worker.
    `cuda`, whether trials run on one, is called only where that decides.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    count = workers or (1 if cuda() else cores if cores <= 4 else cores // 2)
    return Parallelism(count, threads or max(1, cores // count))


def _measured_faster(sweep: Sweep, rule: Parallelism, fewer: Parallelism) -> Parallelism:
    """Fewer workers are taken if they are as fast: they need less memory."""
    many, few = (measure_throughput(sweep, p.workers, p.threads) for p in (rule, fewer))
    why = ", ".join(
        f"{parallelism}: {'did not run' if tokens is None else f'{tokens:.0f} tokens a second'}"
        for parallelism, tokens in ((rule, many), (fewer, few))
    )
    faster = fewer if few is not None and (many is None or few >= many) else rule
    return replace(faster, why=why)


def _weight_bytes(sweep: Sweep) -> int:
    """Size of the base model's files; 0 where they are not on this machine yet."""
    from harness.models.base_model import resolve_model

    try:
        source = resolve_model(sweep.model)
    except UserError:
        return 0  # loading the model reports it
    if not source.local:
        return 0
    folder = Path(source.path)
    files = [file for pattern in _WEIGHT_FILES for file in folder.glob(pattern)]
    if "gguf_file" in source.keywords:
        files = [folder / source.keywords["gguf_file"]]
    return sum(file.stat().st_size for file in files)


_READY: Final = "ready"
_STEPS: Final = 3


def measure_throughput(sweep: Sweep, workers: int, threads: int) -> float | None:
    """Training tokens a second of several processes together, each with so many torch threads.

    Returns:
        None if one of them fails, say because memory is short.
    """
    command = [sys.executable, "-m", "harness.study.launcher", str(threads)]
    body = json.dumps(sweep.to_dict()) + "\n"
    with ExitStack() as stack:
        processes = []
        for _ in range(workers):
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, **thread_variables(threads)},
            )
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
        try:
            for process in processes:
                _write(process.stdin, body)
            if any(_read_line(process.stdout) != _READY for process in processes):
                return None
            # All train at the same time, so that they compete for cores and memory.
            for process in processes:
                _write(process.stdin, "go\n")
            return sum(float(_read_line(process.stdout)) for process in processes)
        except (OSError, ValueError):
            return None


def _write(stream: IO[str] | None, text: str) -> None:
    assert stream is not None
    stream.write(text)
    stream.flush()


def _read_line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


def _throughput_process() -> None:
    """One process of `measure_throughput`."""
    output = sys.stdout
    sys.stdout = sys.stderr  # what libraries print must not reach the parent
    threads = int(sys.argv[1])
    body: dict[str, Any] = json.loads(sys.stdin.readline())
    sweep = sweeps.parse_sweep(body, "sweep")
    from harness.models import base_model
    from harness.training.packed.selection import make_timing_trainer, seconds_per_token

    model = sweep.model
    if model.dtype == "auto":  # resolved by the study's first worker, later
        model = model.model_copy(update={"dtype": "float32"})
    task = load_task_for(sweep)
    short = sweep.training.model_copy(update={"steps": _STEPS, "epochs": None, "readings": 0})
    trainer = make_timing_trainer(base_model.load(model, threads, task.type.head), task, short)
    seconds_per_token(trainer, 1)  # warm-up: what is done once only is not to be timed
    _write(output, _READY + "\n")
    sys.stdin.readline()
    seconds = seconds_per_token(trainer, 1)
    if seconds:
        _write(output, f"{1 / seconds}\n")


if __name__ == "__main__":
    _throughput_process()
