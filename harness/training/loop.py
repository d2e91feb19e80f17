"""THE training loop: one adapter, step by step, from the first batch to the last.

`TrainingRun` comes first and reads from top to bottom; below it stands what it is made of:
micro-batches that shrink where memory runs out, optimizer, learning-rate schedule, mixed precision
and gradient checkpointing.
"""

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from harness.adapters import attach
from harness.adapters.adapter import Adapter
from harness.config.settings import TrainingSettings
from harness.errors import UserError
from harness.models.base_model import DTYPES, BaseModel, replaced_forwards, transformer_blocks
from harness.models.batches import TokenSequence, collate, data_order
from harness.models.memory import is_out_of_memory
from harness.training.losses import Loss
from harness.trial import Purpose, derive_seed

#: Steps over which the loss that is checked for divergence is averaged.
_RUNNING_STEPS: Final = 10


class DivergedError(Exception):
    """The loss is not a number or above its bound; the message is one line."""


@dataclass
class TrainingProgress:
    """What a trial's training has come to so far.

    Attributes:
        step: optimizer steps.
        tokens: training tokens, padding excluded.
        seconds: wall seconds of training.
        losses: mean loss of each step since the last reading, nats a token.
        pack: adapters that shared a step at most.
        changed: what was changed because memory ran out, in one line, else None.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    pack: int = 1
    changed: str | None = None

    def take_loss(self) -> float:
        """The mean loss since the last reading; the next one starts from nothing."""
        losses, self.losses = self.losses, []
        return sum(losses) / len(losses) if losses else math.nan


class TrainingRun:
    """The training of one adapter, which is attached to `base.model`.

    Args:
        base: the frozen base with the adapter.
        loss: made for that base.
        sequences: training examples.
        adapter: attached; its configuration has seed, learning rate and the optimizer's traits.
        training: batch size, schedule and bounds.
        steps: steps of this trial.
        progress: is updated after each step.
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
        self._micro_batch = training.micro_batch
        self.parameters = [p for p in base.model.parameters() if p.requires_grad]
        self._optimizer = make_optimizer(
            base.model.named_parameters(),
            self._config.learning_rate,
            training.weight_decay,
            _optimizer_traits(adapter),
            str(self._config.level("optimizer")),
        )
        self._precision = MixedPrecision(str(self._config.level("compute_dtype")), base.device)
        self._running_losses: deque[float] = deque(maxlen=_RUNNING_STEPS)

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's parameter groups, each with its peak learning rate as `peak`."""
        return self._optimizer.param_groups

    def __iter__(self) -> Iterator[int]:
        """Trains step by step.

        Yields:
            The number of steps so far, after each step.

        Raises:
            DivergedError: the loss or the gradient is not a number, or the loss above its bound.
        """
        # Dropout draws from the global generator. Seeding it here keeps its masks independent of
        # what was drawn before, such as the adapter's initial weights.
        torch.manual_seed(derive_seed(self._config.seed, Purpose.DROPOUT))
        attach.set_dropout(self._base.model, on=True)
        checkpointing = self._config.level("gradient_checkpointing") == "on"
        with checkpointed(self._base.model) if checkpointing else nullcontext():
            for step, batch in zip(range(self._steps), self._batches(), strict=False):
                start = time.perf_counter()
                set_rate(self._optimizer, schedule_factor(step, self._steps, self._training))
                loss = self._train_step(batch)
                self._progress.step = step + 1
                self._progress.losses.append(loss)
                self._progress.seconds += time.perf_counter() - start
                self._check_divergence(loss)
                yield step + 1

    def release(self) -> None:
        """Leaves the trained weights in the adapter's own parameters; here they always are."""

    def _batches(self) -> Iterator[list[TokenSequence]]:
        """The batches of this trial, in the order that its seed gives."""
        lengths = [len(sequence.ids) for sequence in self._sequences]
        for indices in data_order(lengths, self._training.batch_size, self._config.seed):
            yield [self._sequences[index] for index in indices]

    def _train_step(self, batch: Sequence[TokenSequence]) -> float:
        """One optimizer step; returns the mean loss of the batch's answer tokens."""
        loss = self._backward(batch)
        penalty = self._adapter.regularization_loss()
        if penalty is not None:  # it moves the weights, but is not part of the reported loss
            self._precision.scale(penalty).backward()  # type: ignore[no-untyped-call]
        self._precision.unscale(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self._training.max_gradient_norm)
        overflow = math.isfinite(loss) and not torch.isfinite(norm)
        if overflow and not self._precision.scales_loss:
            raise DivergedError(f"diverged at step {self._progress.step + 1}: gradient {norm}")
        self._precision.step(self._optimizer)
        self._adapter.after_step(self._progress.step + 1)
        self._optimizer.zero_grad(set_to_none=True)
        return loss

    def _backward(self, batch: Sequence[TokenSequence]) -> float:
        """Adds up the gradients of a batch's mean loss, in micro-batches that fit in memory."""
        device = self._base.device
        # Of the global generators that dropout on this device draws from.
        cpu_state = torch.get_rng_state()
        gpu_state = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

        def discard() -> None:
            self._optimizer.zero_grad(set_to_none=True)
            # The next attempt draws the dropout masks that smaller micro-batches would have had
            # from the start, so its result does not depend on the failed one.
            torch.set_rng_state(cpu_state)
            if gpu_state is not None:
                torch.cuda.set_rng_state(gpu_state, device)

        return retry_out_of_memory(
            lambda: self._accumulate_gradients(batch), discard, self._halve_micro_batch
        )

    def _accumulate_gradients(self, batch: Sequence[TokenSequence]) -> float:
        pad, size = int(self._base.tokenizer.pad_token_id), self._micro_batch
        parts = [
            collate(batch[start : start + size], pad, self._base.device)
            for start in range(0, len(batch), size)
        ]
        # Dividing by the answer tokens of the full batch makes accumulation equal one large batch.
        answers = sum(part.targets.numel() for part in parts)
        total = 0.0
        for part in parts:
            with self._precision.forward():
                loss = self._loss(part) / answers
            self._precision.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        self._progress.tokens += sum(part.tokens for part in parts)
        return total

    def _halve_micro_batch(self) -> bool:
        if self._micro_batch == 1:
            return False
        self._micro_batch //= 2
        self._progress.changed = micro_batch_note(self._micro_batch, self._training.micro_batch)
        return True

    def _check_divergence(self, loss: float) -> None:
        self._running_losses.append(loss)
        running = sum(self._running_losses) / len(self._running_losses)
        if not math.isfinite(running):
            raise DivergedError(f"diverged at step {self._progress.step}: loss {loss}")
        if running > self._training.divergence:
            raise DivergedError(
                f"diverged at step {self._progress.step}: running loss {running:.3g} is above "
                f"{self._training.divergence:g}"
            )


Result = TypeVar("Result")


def retry_out_of_memory(
    compute: Callable[[], Result], discard: Callable[[], None], shrink: Callable[[], bool]
) -> Result:
    """Computes something in smaller and smaller pieces for as long as memory runs out.

    Args:
        compute: one attempt.
        discard: undoes what a failed attempt left behind, such as a part of the gradients.
        shrink: makes the pieces smaller, as by halving the micro-batch; False if they cannot be.

    Raises:
        Exception: memory runs out with the smallest pieces, or something else went wrong.
    """
    while True:
        try:
            return compute()
        except Exception as error:
            discard()
            if not is_out_of_memory(error) or not shrink():
                raise
        # Outside of the handler, whose error would keep the failed pass's activations alive.
        torch.cuda.empty_cache()


def micro_batch_note(size: int, configured: int) -> str:
    """One line for the user: so many sequences fit in memory, not as many as configured."""
    sequences = f"{size} sequence{'s' * (size != 1)}"
    return f"memory ran out: micro-batches of {sequences} instead of {configured}"


def _optimizer_traits(adapter: Adapter) -> dict[str, float]:
    """The variant's optimizer traits, with the ratio of learning rates that the trial sets."""
    traits, ratio = dict(adapter.variant.optimizer), adapter.config.level("b_rate_ratio")
    if ratio != "own" and "b_rate_ratio" in traits:
        traits["b_rate_ratio"] = float(ratio)
    return traits


def parameter_groups(
    named: Iterable[tuple[str, torch.nn.Parameter]],
    rate: float,
    weight_decay: float,
    traits: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Groups of the parameters that require a gradient, as an optimizer takes them.

    Matrices decay, vectors (DoRA's magnitudes) do not. With the trait `b_rate_ratio` the B
    matrices learn that many times faster (LoRA+, Hayou et al. 2024, eq. 7). Each group keeps its
    peak rate as `peak`.

    Args:
        named: parameters by name, as `named_parameters()` yields them.
        rate: peak learning rate.
        weight_decay: decoupled decay of the matrices.
        traits: `Variant.optimizer`.

    Raises:
        ValueError: a trait that this optimizer does not know.
    """
    if unknown := set(traits) - {"b_rate_ratio"}:
        raise ValueError(f"unknown optimizer traits: {', '.join(sorted(unknown))}")
    ratio = traits.get("b_rate_ratio", 1.0)
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in named:
        if parameter.requires_grad:
            is_faster, is_matrix = "lora_B" in name and ratio != 1.0, parameter.ndim >= 2
            groups.setdefault((is_faster, is_matrix), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rate * (ratio if is_faster else 1.0),
            "peak": rate * (ratio if is_faster else 1.0),
            "weight_decay": weight_decay if is_matrix else 0.0,
        }
        for (is_faster, is_matrix), parameters in groups.items()
    ]


def make_optimizer(
    named: Iterable[tuple[str, torch.nn.Parameter]],
    rate: float,
    weight_decay: float,
    traits: Mapping[str, float],
    name: str = "adamw",
) -> torch.optim.Optimizer:
    """AdamW over all parameters that require a gradient, in `parameter_groups`.

    Args and errors are those of `parameter_groups`; `name` is `adamw`, or bitsandbytes'
    `adamw_8bit` or `paged_adamw_8bit`.
    """
    groups = parameter_groups(named, rate, weight_decay, traits)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=True)
    from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit  # slow to import

    classes = {"adamw_8bit": AdamW8bit, "paged_adamw_8bit": PagedAdamW8bit}
    with warnings.catch_warnings():
        # Without a GPU there is nothing to page out of: it runs all the same, as it says.
        warnings.filterwarnings("ignore", message=".*[Pp]aged.*")
        optimizer: torch.optim.Optimizer = classes[name](groups, lr=rate)
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets each group's learning rate to a share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def schedule_factor(step: int, steps: int, training: TrainingSettings) -> float:
    """The learning rate at a step, as a share of its peak.

    Rises linearly over the first `warmup` share of the steps, then falls to `floor` at the last
    step: linearly, along half a cosine, or not at all.

    Args:
        step: steps before this one, from 0.
        steps: all steps of this trial.
        training: schedule, warm-up and floor.
    """
    warmup_steps = round(training.warmup * steps)
    if step < warmup_steps:
        # Neither 0 at the first step, which would learn nothing, nor the peak already at the last.
        return (step + 1) / (warmup_steps + 1)
    if training.schedule == "constant":
        return 1.0
    progress = (step - warmup_steps) / max(1, steps - 1 - warmup_steps)
    linear = training.schedule == "linear"
    decay = 1 - progress if linear else (1 + math.cos(math.pi * progress)) / 2
    return training.floor + (1 - training.floor) * decay


def step_count(training: TrainingSettings, examples: int, budget: float) -> int:
    """Optimizer steps of a trial, at least one; the schedule spans exactly these.

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


class MixedPrecision:
    """What the forward pass computes in, and the loss scaling that float16 needs.

    Args:
        name: `base` (as the weights are), `float32`, `bfloat16` or `float16`.
        device: where the model is.

    Raises:
        UserError: float16 without a GPU.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "float16" and device.type != "cuda":
            raise UserError("compute_dtype: float16 needs a GPU; use bfloat16 or float32")
        self._dtype, self._device = DTYPES.get(name), device.type
        # Gradients of float16 underflow unless the loss is scaled; bfloat16 has float32's range.
        self._scaler = torch.amp.GradScaler(device.type) if name == "float16" else None

    @property
    def scales_loss(self) -> bool:
        """Whether losses are scaled; then gradients may overflow now and then."""
        return self._scaler is not None

    def forward(self) -> AbstractContextManager[object]:
        """The context of the forward pass."""
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self._device, self._dtype, enabled=self._dtype != torch.float32)

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss to call `backward` on."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Takes the scale out of the gradients, before they are clipped."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimizer's step; a scaler skips it where gradients overflowed."""
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)
            self._scaler.update()


@contextmanager
def checkpointed(model: PreTrainedModel) -> Iterator[int]:
    """Gradient checkpointing: activations inside a block are computed again on the way back.

    Transformers' own acts in training mode only, in which a base's dropout would act, too. Here
    each block is wrapped instead, so that results are those without checkpointing.

    Yields:
        The number of blocks.
    """
    blocks = [block for stack in transformer_blocks(model) for block in stack]
    forwards = [partial(checkpoint, block.forward, use_reentrant=False) for block in blocks]
    with replaced_forwards(blocks, forwards):
        yield len(blocks)
