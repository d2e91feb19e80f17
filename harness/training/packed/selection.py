"""Chooses the engine, its slots and the base's precision, once for a study.

What a sweep names is taken; what is `auto` is timed on a few steps. The caller records the choice
with the study, so that all workers and later sessions have the same.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch

from harness.config.settings import EngineSettings, ModelSettings, TrainingSettings
from harness.errors import UserError
from harness.models import base_model
from harness.models.base_model import BaseModel
from harness.models.memory import MEMORY, PeakMemory, available_bytes
from harness.tasks.task import Task
from harness.training.evaluation import score
from harness.training.loop import step_count
from harness.training.packed.compatibility import why_not_packable
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import SequentialTrainer, make_tokens
from harness.training.tokenization import TokenizedTask
from harness.training.trainer import Trainer
from harness.trial import Outcome, TrialConfig, TrialRequest

#: Numbers of slots that are tried, in this order.
_SLOT_COUNTS: Final = (1, 2, 4, 8, 16, 32)
#: More slots, or half the precision, have to save this share of the time to be chosen.
_MIN_GAIN: Final = 0.1
#: Steps of each trial that is timed.
_TIMED_STEPS: Final = 3
#: How often each precision is timed; the fastest counts.
_REPEATS: Final = 3
#: Validation examples that are scored to time scoring.
_TIMED_EXAMPLES: Final = 16
_HALF: Final = "bfloat16"
_FULL: Final = "float32"


@dataclass(frozen=True)
class EngineChoice:
    """How the trials of a study share the base.

    Attributes:
        kind: `packed` or `sequential`.
        slots: adapters a step at most.
        why: in one line.
        measured: microseconds a training token by number of slots, where that was timed.
    """

    kind: str
    slots: int
    why: str
    measured: Mapping[str, float]


def make_trainer(
    base: BaseModel,
    task: Task,
    training: TrainingSettings,
    engine: EngineSettings,
    decide: Callable[[str, Any], Any],
    recorded: Mapping[str, Any] | None = None,
) -> Trainer:
    """The engine of a study; all its workers have the same.

    Args:
        base: no adapter attached.
        task: what is trained.
        training: how.
        engine: the sweep's settings.
        decide: records a decision unless there is one, and returns the one that holds.
        recorded: the decision, if it was made before.
    """
    tokens = make_tokens(base, task, training)
    choice = recorded or decide(
        "engine", asdict(choose_engine(base, task, training, engine, tokens))
    )
    if choice["kind"] == "packed":
        return PackedTrainer(base, task, training, int(choice["slots"]), tokens=tokens)
    return SequentialTrainer(base, task, training, tokens=tokens)


def choose_engine(
    base: BaseModel,
    task: Task,
    training: TrainingSettings,
    engine: EngineSettings,
    tokens: TokenizedTask | None = None,
) -> EngineChoice:
    """Engine and slots for this base (no adapter attached), task and machine.

    `tokens` are those of the task's examples, if they were made before.
    """
    if engine.kind == "sequential":
        return EngineChoice("sequential", 1, "as asked for", {})
    why_not = why_not_packable(base, task)
    if why_not is not None:
        return EngineChoice("sequential", 1, why_not, {})
    if engine.kind == "auto" and engine.slots is None and base.device.type == "cpu":
        # On a processor one adapter's rows keep the cores busy: timing gives one slot, or a few
        # percent that the next run would not confirm. And equal seeds must give equal numbers.
        return EngineChoice("sequential", 1, "one adapter's rows keep a processor busy", {})
    if engine.slots is not None:
        return EngineChoice("packed", engine.slots, "as asked for", {})
    # A few steps, with the batches of the study: their lengths decide on the time of a step.
    short = training.model_copy(update={"steps": _TIMED_STEPS, "epochs": None, "readings": 0})
    timings = _time_slot_counts(PackedTrainer(base, task, short, tokens=tokens), base)
    if not timings:
        return EngineChoice("packed", 1, "no number of slots could be timed", {})
    microseconds = {str(count): round(1e6 * seconds, 2) for count, seconds in timings.items()}
    why = "the most that still save time and fit in memory"
    return EngineChoice("packed", max(timings), why, microseconds)


def _time_slot_counts(trainer: PackedTrainer, base: BaseModel) -> dict[int, float]:
    """Seconds per token by number of slots, up to the last number that saves enough time."""
    seconds_per_token(trainer, 1)  # warm-up: lazy imports and caches are not to be timed
    timings: dict[int, float] = {}
    bytes_per_slot = 0.0
    for count in _SLOT_COUNTS:
        if timings and bytes_per_slot * count > MEMORY.free_share * available_bytes():
            break
        before, peak = available_bytes(), PeakMemory(base.device)
        seconds = seconds_per_token(trainer, count)
        if seconds is None or (timings and seconds > (1 - _MIN_GAIN) * timings[max(timings)]):
            break
        timings[count] = seconds
        # Mostly activations; a slot's weights and optimizer states are a small part of it.
        taken = max(before - available_bytes(), _peak_beyond_weights(base, peak))
        bytes_per_slot = max(bytes_per_slot, taken / count)
    return timings


def _peak_beyond_weights(base: BaseModel, peak: PeakMemory) -> int:
    """Bytes at the peak beside the base's weights; 0 on a processor, where it is not exact."""
    if base.device.type != "cuda":
        return 0
    return max(0, peak.bytes() - sum(weight.nbytes for weight in base.model.parameters()))


def make_timing_trainer(
    base: BaseModel, task: Task, training: TrainingSettings, tokens: TokenizedTask | None = None
) -> SequentialTrainer:
    """The engine that `engine.kind: auto` means on this device, for timing one adapter.

    Arguments are those of `SequentialTrainer`; `training` is of few steps.
    """
    engine = SequentialTrainer if base.device.type == "cpu" else PackedTrainer
    return engine(base, task, training, tokens=tokens)


def seconds_per_token(trainer: SequentialTrainer, slots: int) -> float | None:
    """Seconds of training per token, with rank-16 adapters; None if they do not run.

    Args:
        trainer: of few steps.
        slots: adapters together; 1 unless the trainer is packed.
    """
    if isinstance(trainer, PackedTrainer):
        trainer.slots = slots
    configs = [TrialConfig("lora", 16, 16.0, 0.0, "all_linear", 1e-4, n) for n in range(slots)]
    requests = [TrialRequest(n, config, splits=()) for n, config in enumerate(configs)]
    results = list(trainer.train(iter(requests), lambda _number, _reading: True))
    if any(result.outcome is not Outcome.COMPLETE for result in results):
        return None
    tokens = sum(result.cost.tokens for result in results)
    return sum(result.cost.train_seconds for result in results) / max(1, tokens)


@dataclass(frozen=True)
class PrecisionChoice:
    """What the frozen base of a study is computed in; adapters are trained in float32 anyway.

    Attributes:
        dtype: `float32` or `bfloat16`.
        why: in one line.
        measured: expected seconds of a full trial by dtype, from what was timed.
    """

    dtype: str
    why: str
    measured: Mapping[str, float]


def resolve_precision(
    model: ModelSettings,
    task: Task,
    training: TrainingSettings,
    threads: int | None,
    decide: Callable[[str, Any], Any],
    recorded: Mapping[str, Any] | None = None,
) -> ModelSettings:
    """The model's settings with `dtype: auto` resolved; all workers of a study get the same.

    Args:
        model: the sweep's settings.
        task: what is trained.
        training: how.
        threads: torch threads of this process.
        decide: records a decision unless there is one, and returns the one that holds.
        recorded: the decision, if it was made before.

    Raises:
        UserError: the model cannot be loaded.
    """
    if model.dtype != "auto":
        return model
    choice = recorded or decide("dtype", asdict(choose_precision(model, task, training, threads)))
    return model.model_copy(update={"dtype": choice["dtype"]})


def choose_precision(
    model: ModelSettings, task: Task, training: TrainingSettings, threads: int | None
) -> PrecisionChoice:
    """The precision in which a trial on this base takes less time on this machine.

    Both are tried, in training and in scoring: a processor that has bfloat16 may still be slower
    with it on small layers, or where answers are decoded row by row.

    Raises:
        UserError: the model cannot be loaded.
    """
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        return PrecisionChoice(_FULL, "this GPU has no bfloat16", {})
    timings: dict[str, float] = {}
    # bfloat16 first, with half the memory: where float32 does not fit, the choice is made, too.
    for dtype in (_HALF, _FULL):
        resolved = model.model_copy(update={"dtype": dtype})
        try:
            seconds = _seconds_per_trial(resolved, task, training, threads)
        except UserError:
            if not timings:
                raise
            seconds = None
        gc.collect()  # frees this base before the next one is loaded
        if seconds is not None:
            timings[dtype] = seconds
    rounded = {dtype: round(seconds, 2) for dtype, seconds in timings.items()}
    if _HALF not in timings:
        return PrecisionChoice(_FULL, "no step in bfloat16 could be timed", rounded)
    if _FULL not in timings:
        return PrecisionChoice(_HALF, "no step in float32 could be timed", rounded)
    if timings[_HALF] <= (1 - _MIN_GAIN) * timings[_FULL]:
        return PrecisionChoice(_HALF, "the faster one here", rounded)
    why = "bfloat16 does not save a tenth of a trial's time here"
    return PrecisionChoice(_FULL, why, rounded)


def _seconds_per_trial(
    model: ModelSettings, task: Task, training: TrainingSettings, threads: int | None
) -> float | None:
    """Expected seconds of a trial, training and scoring; None if its steps do not run."""
    base = base_model.load(model, threads, task.type.head)
    short = training.model_copy(update={"steps": _TIMED_STEPS, "epochs": None, "readings": 0})
    tokens = make_tokens(base, task, short)
    trainer = make_timing_trainer(base, task, short, tokens)
    # The first is a warm-up: lazy imports and caches are not to be timed.
    times = [seconds_per_token(trainer, 1) for _ in range(1 + _REPEATS)][1:]
    per_token = min((seconds for seconds in times if seconds is not None), default=None)
    if per_token is None:
        return None
    texts = tokens.training().sequences
    steps = step_count(training, len(texts), 1.0)
    mean_length = sum(len(text.ids) for text in texts) / len(texts)
    trained_tokens = steps * training.batch_size * mean_length
    validation = len(task.examples("validation"))
    scored_examples = validation + training.readings * min(training.reading_examples, validation)
    per_example = _seconds_per_example(base, task, training, tokens)
    return per_token * trained_tokens + per_example * scored_examples


def _seconds_per_example(
    base: BaseModel, task: Task, training: TrainingSettings, tokens: TokenizedTask
) -> float:
    """Scoring with the base model, which writes no less than a trained one does."""
    count = min(_TIMED_EXAMPLES, len(task.examples("validation")))
    rows, times = training.score_batch_size, []
    for _ in range(2):
        start = time.perf_counter()
        score(base, task, "validation", count, batch_size=rows, tokens=tokens)
        times.append(time.perf_counter() - start)
    return min(times) / count
