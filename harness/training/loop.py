"""One adapter's training: steps, gradients, rate; counts what was done and notices divergence.

Knows nothing of scoring, pruning or saving.

AdamW over an adapter's weights, and how the learning rate rises and falls.

What a forward pass computes in, and the scaling of losses that float16 needs.

Knows nothing of adapters or trials.

Gradient checkpointing of a frozen base: activations are computed again on the way back.

Transformers' own only acts in training mode, in which a base's dropout would act too. Here each
block is wrapped for the time being, so that results are those without. Knows nothing of adapters.
"""

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from harness.adapters import attach
from harness.adapters.adapter import Adapter
from harness.config.settings import TrainingSettings
from harness.errors import UserError
from harness.models.base_model import BaseModel, transformer_blocks
from harness.models.batches import TokenSequence, collate, data_order
from harness.training.losses import Loss
from harness.trial import Purpose, derive_seed


def parameter_groups(
    named: Iterable[tuple[str, torch.nn.Parameter]],
    rate: float,
    weight_decay: float,
    traits: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Groups of the parameters that require a gradient, as an optimiser takes them.

    Matrices decay, vectors (DoRA's magnitudes) do not. With the trait `b_rate_ratio` the B
    matrices learn that many times faster (LoRA+, Hayou et al. 2024, eq. 7). Each group keeps its
    peak rate as `peak`.

    Args:
        named: parameters by name, as `named_parameters()` gives them.
        rate: peak learning rate.
        weight_decay: decoupled decay of the matrices.
        traits: `Variant.optimiser`.

    Raises:
        ValueError: a trait that this optimiser does not know.
    """
    unknown = set(traits) - {"b_rate_ratio"}
    if unknown:
        raise ValueError(f"unknown optimiser traits: {', '.join(sorted(unknown))}")
    ratio = traits.get("b_rate_ratio", 1.0)
    found: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in named:
        if parameter.requires_grad:
            which = ("lora_B" in name and ratio != 1.0, parameter.ndim >= 2)
            found.setdefault(which, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rate * (ratio if faster else 1.0),
            "peak": rate * (ratio if faster else 1.0),
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (faster, decays), parameters in found.items()
    ]


def make_optimizer(
    named: Iterable[tuple[str, torch.nn.Parameter]],
    rate: float,
    weight_decay: float,
    traits: Mapping[str, float],
    kind: str = "adamw",
) -> torch.optim.Optimizer:
    """AdamW over all parameters that require a gradient, in `parameter_groups`.

    Args:
        named: parameters by name, as `named_parameters()` gives them.
        rate: peak learning rate.
        weight_decay: decoupled decay of the matrices.
        traits: `Variant.optimiser`.
        kind: `adamw`, or bitsandbytes' `adamw_8bit` and `paged_adamw_8bit`.

    Raises:
        ValueError: a trait that this optimiser does not know.
    """
    settings = parameter_groups(named, rate, weight_decay, traits)
    if kind == "adamw":
        return torch.optim.AdamW(settings, lr=rate, fused=True)
    from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit  # slow to import

    kinds = {"adamw_8bit": AdamW8bit, "paged_adamw_8bit": PagedAdamW8bit}
    with warnings.catch_warnings():
        # Without a GPU there is nothing to page out of: it runs all the same, as it says.
        warnings.filterwarnings("ignore", message=".*[Pp]aged.*")
        made: torch.optim.Optimizer = kinds[kind](settings, lr=rate)
    return made


def set_rate(optimiser: torch.optim.Optimizer, share: float) -> None:
    """Sets each group's rate to a share of its peak."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share


def schedule_factor(step: int, steps: int, training: TrainingSettings) -> float:
    """The learning rate at a step, as a share of its peak.

    Rises linearly over the first `warmup` share of the steps, then falls to `floor` at the last
    step: linearly, along half a cosine, or not at all.

    Args:
        step: steps done before this one, from 0.
        steps: all steps of this trial.
        training: schedule, warm-up and floor.
    """
    rising = round(training.warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    if training.schedule == "constant":
        return 1.0
    done = (step - rising) / max(1, steps - 1 - rising)
    left = 1 - done if training.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return training.floor + (1 - training.floor) * left


def step_count(training: TrainingSettings, examples: int, budget: float) -> int:
    """Optimiser steps of a trial, at least one; the schedule spans just these.

    Args:
        training: epochs or steps, and the batch size.
        examples: training examples.
        budget: share of the full number of steps.
    """
    if training.steps is not None:
        full = float(training.steps)
    else:
        full = math.ceil(examples / training.batch_size) * (training.epochs or 0.0)
    return max(1, round(full * budget))


_DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class Precision:
    """Mixed precision of one training.

    Args:
        name: `base` (as the weights are), `float32`, `bfloat16` or `float16`.
        device: where the model lies.

    Raises:
        UserError: float16 without a GPU.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "float16" and device.type != "cuda":
            raise UserError("compute_dtype: float16 needs a GPU; use bfloat16 or float32")
        self._dtype, self._device = _DTYPES.get(name), device.type
        self._scaler = torch.amp.GradScaler(device.type) if name == "float16" else None

    @property
    def scales(self) -> bool:
        """Whether losses are scaled; then gradients may overflow now and then."""
        return self._scaler is not None

    def forward(self) -> AbstractContextManager[object]:
        """Around the forward pass."""
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self._device, self._dtype, enabled=self._dtype != torch.float32)

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss to go backwards from."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def unscale(self, optimiser: torch.optim.Optimizer) -> None:
        """Gradients as they are, for clipping."""
        if self._scaler is not None:
            self._scaler.unscale_(optimiser)

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """The optimiser's step; a scaler leaves it out where gradients overflowed."""
        if self._scaler is None:
            optimiser.step()
        else:
            self._scaler.step(optimiser)
            self._scaler.update()


@contextmanager
def checkpointed(model: PreTrainedModel) -> Iterator[int]:
    """Keeps only the inputs of each block while gradients are wanted.

    Yields:
        How many blocks there are.
    """
    blocks = [block for stack in transformer_blocks(model) for block in stack]
    for block in blocks:
        block.forward = partial(_again, block.forward)
    try:
        yield len(blocks)
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)


def _again(forward: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    return checkpoint(forward, *args, use_reentrant=False, **keywords)


#: Steps over which the running loss is averaged.
_RUNNING: Final = 10


class DivergedError(Exception):
    """The loss is no number any more, or above the bound; says so in one line."""


@dataclass
class TrainingProgress:
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


class TrainingRun:
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
        progress: TrainingProgress,
    ) -> None:
        self._base, self._loss, self._sequences = base, loss, sequences
        self._adapter, self._config, self._training = adapter, adapter.config, training
        self._steps, self._progress = steps, progress
        self.parameters = [p for p in base.model.parameters() if p.requires_grad]
        self._optimiser = make_optimizer(
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
        torch.manual_seed(derive_seed(self._config.seed, Purpose.DROPOUT))
        lengths = [len(sequence.ids) for sequence in self._sequences]
        batches = data_order(lengths, self._training.batch_size, self._config.seed)
        attach.set_dropout(self._base.model, on=True)
        if self._config.level("gradient_checkpointing") == "on":
            with checkpointed(self._base.model):
                yield from self._steps_of(batches)
        else:
            yield from self._steps_of(batches)

    def release(self) -> None:
        """Leaves the adapter's weights where they belong; here they always are."""

    def _steps_of(self, batches: Iterator[tuple[int, ...]]) -> Iterator[int]:
        for step, batch in zip(range(self._steps), batches, strict=False):
            start = time.perf_counter()
            share = schedule_factor(step, self._steps, self._training)
            set_rate(self._optimiser, share)
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
        penalty = self._adapter.regularization_loss()
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
    traits, ratio = dict(adapter.variant.optimizer), adapter.config.level("b_rate_ratio")
    if ratio != "own" and "b_rate_ratio" in traits:
        traits["b_rate_ratio"] = float(ratio)
    return traits
