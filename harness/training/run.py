"""One adapter's training: steps, gradients, rate; counts what was done and notices divergence.

Knows nothing of scoring, pruning or saving.
"""

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from harness.adapters import attaching
from harness.adapters.adapter import Adapter
from harness.models.base_model import BaseModel
from harness.models.tokens import TokenSequence, collate, data_order
from harness.seeds import Purpose, derive
from harness.settings import TrainingSettings
from harness.training import optimisation
from harness.training.checkpointing import checkpointed
from harness.training.losses import Loss
from harness.training.precision import Precision

#: Steps over which the running loss is averaged.
_RUNNING: Final = 10


class DivergedError(Exception):
    """The loss is no number any more, or above the bound; says so in one line."""


@dataclass
class Progress:
    """What was done so far.

    Attributes:
        step: optimiser steps.
        tokens: training tokens, padding excluded.
        seconds: wall seconds of training.
        losses: mean loss of each step since the last reading, nats a token.
        pack: adapters that were trained together at most.
        changed: what had to be changed for want of memory, in one line, else None.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    pack: int = 1
    changed: str | None = None

    def take_loss(self) -> float:
        """The mean loss since the last reading, which is then forgotten."""
        losses, self.losses = self.losses, []
        return sum(losses) / len(losses) if losses else math.nan


class Run:
    """One adapter in training; the adapter is attached to `base.model`.

    Args:
        base: the frozen base with the adapter.
        loss: made for that base.
        sequences: training examples.
        adapter: put on the base; names seed, rate and the optimiser's traits.
        training: batch size, schedule and bounds.
        steps: steps of this trial.
        progress: counts what is done.
    """

    def __init__(
        self,
        base: BaseModel,
        loss: Loss,
        sequences: tuple[TokenSequence, ...],
        adapter: Adapter,
        training: TrainingSettings,
        steps: int,
        progress: Progress,
    ) -> None:
        """Makes the optimiser; draws nothing."""
        self._base, self._loss, self._sequences = base, loss, sequences
        self._adapter, self._config, self._training = adapter, adapter.config, training
        self._steps, self._progress = steps, progress
        self.parameters = [p for p in base.model.parameters() if p.requires_grad]
        self._optimiser = optimisation.optimiser(
            base.model.named_parameters(),
            self._config.learning_rate,
            training.weight_decay,
            _traits(adapter),
            str(self._config.level("optimizer")),
        )
        self._precision = Precision(str(self._config.level("compute_dtype")), base.device)
        self._running: deque[float] = deque(maxlen=_RUNNING)

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimiser's parameter groups, each with its rate at the peak as `peak`."""
        return self._optimiser.param_groups

    def __iter__(self) -> Iterator[int]:
        """Trains step by step.

        Dropout is drawn from the global generator, which is seeded for it here: nothing that was
        drawn before, such as the adapter's first weights, can shift it.

        Yields:
            Steps done, after each step.

        Raises:
            DivergedError: the loss or the gradient is no number, or the loss above its bound.
        """
        torch.manual_seed(derive(self._config.seed, Purpose.DROPOUT))
        lengths = [len(sequence.ids) for sequence in self._sequences]
        batches = data_order(lengths, self._training.batch_size, self._config.seed)
        attaching.dropout_mode(self._base.model, on=True)
        if self._config.level("gradient_checkpointing") == "on":
            with checkpointed(self._base.model):
                yield from self._steps_of(batches)
        else:
            yield from self._steps_of(batches)

    def settle(self) -> None:
        """Leaves the adapter's weights where they belong; here they always are."""

    def _steps_of(self, batches: Iterator[tuple[int, ...]]) -> Iterator[int]:
        for step, batch in zip(range(self._steps), batches, strict=False):
            start = time.perf_counter()
            share = optimisation.rate_share(step, self._steps, self._training)
            optimisation.set_rate(self._optimiser, share)
            loss = self._step(batch)
            self._progress.step = step + 1
            self._progress.losses.append(loss)
            self._progress.seconds += time.perf_counter() - start
            self._check(loss)
            yield step + 1

    def _step(self, batch: tuple[int, ...]) -> float:
        """One optimiser step; the mean loss of its answer tokens."""
        training, pad = self._training, int(self._base.tokenizer.pad_token_id)
        sequences = [self._sequences[index] for index in batch]
        parts = [
            collate(sequences[start : start + training.micro_batch], pad, self._base.device)
            for start in range(0, len(sequences), training.micro_batch)
        ]
        # Dividing by the tokens of the whole batch makes accumulation equal one large batch.
        answers = sum(part.targets.numel() for part in parts)
        total = 0.0
        for part in parts:
            with self._precision.forward():
                loss = self._loss(part) / answers
            self._precision.scaled(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.item()
            self._progress.tokens += part.tokens
        penalty = self._adapter.penalty()
        if penalty is not None:  # it moves the weights, but is no part of the loss that is told
            self._precision.scaled(penalty).backward()  # type: ignore[no-untyped-call]
        self._precision.unscale(self._optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, training.max_gradient_norm)
        overflown = math.isfinite(total) and not torch.isfinite(norm)
        if overflown and not self._precision.scales:
            raise DivergedError(f"diverged at step {self._progress.step + 1}: gradient {norm}")
        self._precision.step(self._optimiser)
        self._adapter.after_step(self._progress.step + 1)
        self._optimiser.zero_grad(set_to_none=True)
        return total

    def _check(self, loss: float) -> None:
        self._running.append(loss)
        running = sum(self._running) / len(self._running)
        if not math.isfinite(running):
            raise DivergedError(f"diverged at step {self._progress.step}: loss {loss}")
        if running > self._training.divergence:
            raise DivergedError(
                f"diverged at step {self._progress.step}: running loss {running:.3g} is above "
                f"{self._training.divergence:g}"
            )


def _traits(adapter: Adapter) -> dict[str, float]:
    """The variant's traits for the optimiser, its ratio of rates as the trial has it."""
    traits, ratio = dict(adapter.variant.optimiser), adapter.config.level("b_rate_ratio")
    if ratio != "own" and "b_rate_ratio" in traits:
        traits["b_rate_ratio"] = float(ratio)
    return traits
