"""Seconds of a training step: this project's adapter layers against PEFT's own, side by side.

    python benchmarks/step.py [--repeats 6] [--steps 12]

Both ways train the same batches of `ner_medical` on the embedded base in one process and one
thread, in turns, so that whatever else the machine does meets both. Printed are median seconds a
step and the median of the ratios of neighbours (PEFT's / ours).
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from unittest import mock

from harness.adapters import attach
from harness.config import sweep
from harness.models import base_model
from harness.tasks.task import load_task_for
from harness.training.loop import TrainingProgress, TrainingRun
from harness.training.losses import CompletionLoss
from harness.training.tokenization import TokenizedTask
from harness.trial import TrialConfig

CASES = [
    ("lora", "qv"),
    ("dora", "qv"),
    ("lora", "all_linear"),
    ("dora", "all_linear"),
]
WARM_UP = 2


@contextmanager
def _peft_alone() -> Iterator[None]:
    with (
        mock.patch.object(attach, "fuse_lora_layers", return_value=0),
        mock.patch.object(attach, "use_fast_dropout", return_value=None),
    ):
        yield


class Bench:
    """The embedded base with the training data of `ner_medical`."""

    def __init__(self) -> None:
        """Loads both."""
        self._sweep = sweep.load_sweep("ner_medical", [])
        task = load_task_for(self._sweep)
        self._base = base_model.load(self._sweep.model, 1)
        tokens = TokenizedTask(self._base, task, self._sweep.training.max_length)
        self._sequences = tokens.training().sequences
        self._loss = CompletionLoss(self._base.model)

    def seconds(self, variant: str, targets: str, dropout: float, steps: int) -> float:
        """Processor seconds of a step of a rank-16 adapter."""
        config = TrialConfig(variant, 16, 32.0, dropout, targets, 2e-3, 0)
        with attach.attached_adapter(self._base, config) as adapter:
            progress, training = TrainingProgress(), self._sweep.training
            total = WARM_UP + steps
            run = iter(
                TrainingRun(
                    self._base, self._loss, self._sequences, adapter, training, total, progress
                )
            )
            for _ in range(WARM_UP):
                next(run)
            start = time.process_time()
            for _ in range(steps):
                next(run)
            return (time.process_time() - start) / steps


def main() -> None:
    """Times all cases and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--steps", type=int, default=12)
    given = parser.parse_args()
    bench = Bench()
    print("variant  targets     dropout  peft s  ours s  peft/ours")
    for variant, targets in CASES:
        for dropout in (0.0, 0.05):
            ours, theirs = [], []
            for _ in range(given.repeats):
                with _peft_alone():
                    theirs.append(bench.seconds(variant, targets, dropout, given.steps))
                ours.append(bench.seconds(variant, targets, dropout, given.steps))
            ratio = median(a / b for a, b in zip(theirs, ours, strict=True))
            print(
                f"{variant:7}  {targets:10}  {dropout:7.2f}  {median(theirs):6.4f}  "
                f"{median(ours):6.4f}  {ratio:9.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
