"""One trial in progress, whichever engine it runs on: what is known of it, and how it can end."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from harness.adapters.proof import ProofError
from harness.errors import UserError
from harness.models.memory import ran_out
from harness.training.run import DivergedError, Progress
from harness.trial import Measurement, TrialRequest


class Wanted(NamedTuple):
    """What a trial asks of its engine: to be scored as it is now.

    Attributes:
        split: which examples.
        examples: so many, evenly spaced over the split, or these ones; None for all.
    """

    split: str
    examples: int | slice | None


class PrunedError(Exception):
    """The trial was ended from outside; says where."""


@dataclass
class Ongoing:
    """One trial in progress: what is known of it whatever way it ends."""

    request: TrialRequest
    progress: Progress = field(default_factory=Progress)
    measurements: list[Measurement] = field(default_factory=list)
    score_seconds: float = 0.0
    parameters: int = 0
    inference_memory: int = 0
    best: float | None = None
    best_reading: int = 0
    best_weights: list[torch.Tensor] | None = None
    proofs: tuple[str, ...] = ()

    def note(self, value: float, parameters: list[torch.nn.Parameter]) -> None:
        """Keeps the weights if this reading (more is better) is the best so far."""
        if self.best is None or value > self.best:
            self.best, self.best_reading = value, len(self.measurements)
            self.best_weights = [parameter.detach().clone() for parameter in parameters]


def rung_steps(steps: int, readings: int) -> tuple[int, ...]:
    """Steps after which readings are taken: they cut the training into `readings` + 1 parts."""
    rungs = {round(steps * rung / (readings + 1)) for rung in range(1, readings + 1)}
    return tuple(sorted(rungs - {0, steps}))


@torch.no_grad()
def restore(parameters: list[torch.nn.Parameter], weights: list[torch.Tensor]) -> None:
    """Puts weights back into parameters."""
    for parameter, weight in zip(parameters, weights, strict=True):
        parameter.copy_(weight)


def told(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, DivergedError | UserError):
        return str(error)
    if isinstance(error, ProofError):
        return f"not what the variant's name says: {error}"
    if ran_out(error):
        return "out of memory; smaller training.micro_batch_size or score_batch_size need less"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
