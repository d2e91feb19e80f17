"""Trials an hour and memory by the number of worker processes, and what starting one takes."""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import psutil

from benchmarks.growth_fit import Curve
from harness.config import sweep
from harness.storage.overview import Progress
from harness.study import launcher, session
from harness.study.session import Parallelism
from harness.tasks.task import load_task_for

#: What is started, and what must not be imported for it.
STARTS: Final = {
    "import harness": ["-c", "import harness"],
    "python -m harness --help": ["-m", "harness", "--help"],
}
_START_SECONDS: Final = 0.4


def curves() -> dict[str, Curve]:
    """What is measured for numbers of workers, nothing yet."""
    return {
        "rate": Curve("trials an hour of all workers", "trials", "workers"),
        "memory": Curve("memory of all workers, shared pages once", "GiB", "workers", 3.0),
        "starting": Curve("from the start to the first trial", "s", "workers"),
    }


class Crewed(NamedTuple):
    """What a crew came to.

    Attributes:
        rate: trials an hour, from the first trial's start to the last one's end.
        memory: most bytes of all workers together, shared pages counted once.
        starting: seconds until the first trial began.
    """

    rate: float
    memory: int
    starting: float


def crewed(crew: Parallelism, trials: int, steps: int, model: str) -> Crewed:
    """Runs a search of random trials with a crew.

    Args:
        crew: workers and threads.
        trials: for each worker.
        steps: of each trial.
        model: name of the base.
    """
    settings = sweep.load_sweep(
        "ner_medical",
        [
            f"model.name={model}",
            f"search.trials={trials * crew.workers}",
            "search.sampler=random",
            "search.pruner=none",
            f"training.steps={steps}",
            "training.epochs=null",
            "training.readings=0",
            # Trials of one length: what is compared is crews, not configurations.
            "space={variant: lora, rank: 16, alpha_ratio: 2, target_modules: qv, dropout: 0.0, "
            "learning_rate: {low: 1.0e-4, high: 1.0e-3, log: true}}",
            "ablation.max_cells=0",
            "confirmation.max_configurations=0",
            "baselines={shots: [], full: false}",
            "data.limit=200",
        ],
    )
    most = 0

    def tick(_: Progress) -> None:
        nonlocal most
        most = max(most, summed_memory())

    with TemporaryDirectory() as folder:
        opened = session.open_study(settings, load_task_for(settings), "study", Path(folder), crew)
        try:
            began = time.time()
            launcher.run_study(opened, settings, tick)
            done = opened.records.read().trials
        finally:
            opened.studies.close()
    done = done[(done["state"] == "complete") & done["duplicate_of"].isna()]
    first, last = done["started"].min(), done["finished"].max()
    seconds = (last - first).total_seconds()
    return Crewed(3600 * len(done) / seconds, most, first.timestamp() - began)


def summed_memory() -> int:
    """Bytes of all processes that this one has started; pages that several share count once."""
    return sum(proportional(child.pid) for child in psutil.Process().children(recursive=True))


def proportional(process: int) -> int:
    """A process's share of the memory that it is in: its own pages, and part of shared ones.

    Returns:
        Bytes; 0 for a process that has gone.
    """
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    lines = (line.split() for line in text.splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[0] == "Pss:"), 0)


def start_curve(name: str) -> Curve:
    """Seconds of starting one of `STARTS`."""
    return Curve(name, "s", "-", _START_SECONDS)


def start_seconds(name: str) -> float:
    """Starts one of `STARTS` once.

    Raises:
        SystemExit: it imported torch.
    """
    start = time.perf_counter()
    subprocess.run([sys.executable, *STARTS[name]], check=True, capture_output=True)
    seconds = time.perf_counter() - start
    listed = subprocess.run(
        [sys.executable, "-X", "importtime", *STARTS[name]],
        check=True,
        capture_output=True,
        text=True,
    )
    if any(line.rpartition("|")[2].strip() == "torch" for line in listed.stderr.splitlines()):
        raise SystemExit(f"{name} imports torch")
    return seconds
