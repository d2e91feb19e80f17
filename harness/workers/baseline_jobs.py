"""What has to be beaten: the task's own guesses and the bare base, scored when idle.

Each worker takes its share of the jobs. What `--minutes` leaves no time for is noted as dropped.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.storage.records import Records
from harness.sweep import Sweep
from harness.task import Example, Task
from harness.trial import SplitScores

#: Scores a split with the bare base: (split, worked examples, rows run together).
Scorer = Callable[[str, tuple[Example, ...], int], SplitScores]
#: Test first: that is what the report compares with.
_SPLITS = ("test", "validation")


@dataclass(frozen=True)
class BaselineJobs:
    """One worker's baselines.

    Attributes:
        task: what is scored.
        sweep: how many worked examples.
        records: where scores go.
        score: runs the base.
        is_over: whether the study's time is over.
        index: which worker, from 0.
        workers: how many there are.
    """

    task: Task
    sweep: Sweep
    records: Records
    score: Scorer
    is_over: Callable[[], bool]
    index: int = 0
    workers: int = 1

    def step(self) -> bool:
        """Scores, or drops, one baseline that is missing; False when none is left."""
        missing = next(self._missing(), None)
        if missing is None:
            return False
        name, split, shots = missing
        if shots is None:
            self.records.add_baseline(name, self._guesses(name, split))
        elif self.is_over():
            said = f"the base model with {shots} examples on {split}: --minutes was over"
            self.records.decide(_dropped(name, split), [said])
        else:
            worked = self.task.worked(shots, self.sweep.seed)
            # Worked examples make a prompt so much longer: fewer rows need the same memory.
            rows = max(1, self.sweep.training.score_batch_size // (1 + shots))
            self.records.add_baseline(name, self.score(split, worked, rows))
        return True

    def _missing(self) -> Iterator[tuple[str, str, int | None]]:
        named: list[tuple[str, int | None]] = [(name, None) for name in self.task.untrained]
        kind = self.task.kind
        counts = self.sweep.baselines.shots if kind.shots else (0,)
        named += [(f"base_{count}_shot", count) for count in counts if kind.bare]
        jobs = [(name, split, shots) for split in _SPLITS for name, shots in named]
        there, known = self.records.baselines(), self.records.attributes()
        for place, (name, split, shots) in enumerate(jobs):
            done = (name, split) in there or _dropped(name, split) in known
            if place % self.workers == self.index and not done:
                yield name, split, shots

    def _guesses(self, name: str, split: str) -> SplitScores:
        from harness.training.evaluation import score_predictions  # torch is loaded by then

        return score_predictions(self.task, split, self.task.guesses(name, split))


def _dropped(name: str, split: str) -> str:
    return f"dropped.time.{name}.{split}"
