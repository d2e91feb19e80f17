"""What a study's database costs a trial, with 1 to 1,000 trials in it: real tables, no training.

A worker runs a study from its first trial to its last; in the place of the engine a trainer
answers at once. So everything around training is what it is in a real study: claims, Optuna's
sampler and pruner, our tables, the stages. Studies of fewer trials than the stages after the
search have by themselves are searches alone.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

from benchmarks.growth_fit import Curve
from harness.config import sweep
from harness.config.sweep import Sweep
from harness.storage import overview
from harness.study.launcher import WorkerSpec
from harness.study.search import search_trials
from harness.study.session import OpenStudy, Parallelism, open_study
from harness.study.worker import Worker
from harness.tasks.task import load_task_for
from harness.training.trainer import Race
from harness.trial import Measurement, TrialRequest, TrialResult
from tests.oracle_trainer import OracleTrainer

T = TypeVar("T")
#: Trials of the stages after the search in `ner_medical`, about.
_AFTER: Final = 124
_ALONE: Final = ("ablation.max_cells=0", "confirmation.max_configurations=0")
#: The share of a study's trials, its last, that single trials' seconds are taken from.
_LAST: Final = 0.1


class Timed:
    """A trainer that answers at once and notes what everything around it takes.

    Args:
        inner: answers.

    Attributes:
        asked: seconds until each trial was handed out.
        read: seconds of each reading.
        told: seconds that storing each result took.
        notes: none.
    """

    notes = ()

    def __init__(self, inner: OracleTrainer) -> None:
        """Nothing noted yet."""
        self._inner = inner
        self.asked: list[float] = []
        self.read: list[float] = []
        self.told: list[float] = []

    def train(
        self,
        trials: Iterator[TrialRequest | None],
        report: Callable[[int, Measurement], bool],
        race: Race | None = None,
    ) -> Iterator[TrialResult]:
        """See `Trainer.train`."""

        def reading(number: int, measurement: Measurement) -> bool:
            start = time.perf_counter()
            try:
                return report(number, measurement)
            finally:
                self.read.append(time.perf_counter() - start)

        while True:
            start = time.perf_counter()
            request = next(trials, None)
            if request is None:
                return
            self.asked.append(time.perf_counter() - start)
            for result in self._inner.train(iter([request]), reading, race):
                start = time.perf_counter()
                yield result
                self.told.append(time.perf_counter() - start)


def curves() -> dict[str, Curve]:
    """What is measured, nothing yet; what depends on the stages is told for each kind of study."""

    def made(name: str, bar: float | None = None, at: int | None = None) -> Curve:
        return Curve(name, "s", "trials in the study", bar, at)

    return {
        "enqueue": Curve("making a study, its search enqueued", "s", "search trials"),
        "ask": made("handing out a trial"),
        "reading": made("storing a reading, and whether to prune"),
        "tell": made("storing a result"),
        "trial": made("all of these and planning, for each trial"),
        "open": made("opening the study", 1.0, 1000),
        "progress": made("what the live view reads each second"),
        "read, search alone": made("reading back a search alone"),
        "read, all stages": made("reading back a study of all stages"),
        "plan, all stages": made("planning a stage, the longest"),
        "report, search alone": made("`report` of a search alone"),
        "report, all stages": made("`report` of a study of all stages", 3.0, 200),
    }


def measure(found: dict[str, Curve], trials: int) -> None:
    """One study of so many trials.

    Args:
        found: from `curves`; gets a reading of each.
        trials: about how many.
    """
    alone = trials <= _AFTER + 1
    stages = "search alone" if alone else "all stages"
    search = trials if alone else trials - _AFTER
    settings = sweep.load_sweep(
        "ner_medical",
        [f"search.trials={search}", *(_ALONE if alone else ()), f"baselines.full={not alone}"],
    )
    with TemporaryDirectory() as folder:
        opened, seconds = _clocked(lambda: _begun(settings, Path(folder)))
        found["enqueue"].add(search, seconds)
        timed = _run(opened)
        _single(found, trials, timed, search)
        opened.studies.close()
        if not alone:
            found["plan, all stages"].add(trials, max(timed.asked))
        opened, seconds = _clocked(lambda: _begun(settings, Path(folder)))
        found["open"].add(trials, seconds)
        found["progress"].add(trials, _clocked(lambda: overview.study_progress(opened.studies))[1])
        found[f"read, {stages}"].add(trials, _clocked(opened.records.read)[1])
        opened.studies.close()
        found[f"report, {stages}"].add(trials, _clocked(lambda: _reported(Path(folder)))[1])


def _begun(settings: Sweep, folder: Path) -> OpenStudy:
    """Makes the study with its search enqueued, or opens it and looks at its trials."""
    opened = open_study(settings, load_task_for(settings), "study", folder, Parallelism(1, 1))
    if not opened.studies.trials():
        opened.studies.enqueue(search_trials(settings))
    return opened


def _run(opened: OpenStudy) -> Timed:
    worker = Worker(WorkerSpec(f"sqlite:///{opened.folder / 'study.db'}", "study"))
    timed = Timed(OracleTrainer(opened.task))
    try:
        worker.work(timed, idle=lambda: False)
    finally:
        worker.studies.close()
    return timed


def _single(found: dict[str, Curve], trials: int, timed: Timed, search: int) -> None:
    """Seconds of single steps, as they are at the end of the search, and of all together."""
    last = max(1, round(_LAST * search))
    found["ask"].add(trials, mean(timed.asked[search - last : search]))
    found["tell"].add(trials, mean(timed.told[search - last : search]))
    found["reading"].add(trials, mean(timed.read[-last:]))
    whole = sum(timed.asked) + sum(timed.read) + sum(timed.told)
    found["trial"].add(trials, whole / len(timed.asked))


def _clocked(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    answer = work()
    return answer, time.perf_counter() - start


def _reported(folder: Path) -> None:
    words = [sys.executable, "-m", "harness", "report", "study", "--results", str(folder)]
    subprocess.run([*words, "--reports", str(folder / "reports")], check=True, capture_output=True)
