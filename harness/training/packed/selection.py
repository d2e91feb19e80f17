"""Chooses the engine and its slots, once for a study: by what is asked for, by memory and time.

Knows engines, nothing of Optuna or storage: what was chosen is handed to whoever writes it down.

Chooses the precision of the frozen base, once for a study, where `dtype: auto` asks for that.

Both are tried, in training and in scoring: a processor that has bfloat16 may still be slower with
it on small layers, or where answers are decoded row by row.
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
from harness.models.memory import PeakMemory, available_bytes
from harness.tasks.task import Task
from harness.training.evaluation import score
from harness.training.loop import step_count
from harness.training.packed.trainer import PackedTrainer, refusal
from harness.training.sequential import SequentialTrainer, make_tokens
from harness.training.tokenization import TokenizedTask
from harness.training.trainer import Trainer
from harness.trial import Outcome, TrialConfig, TrialRequest

#: Numbers of slots that are tried, in this order.
_COUNTS: Final = (1, 2, 4, 8, 16, 32)
#: More slots have to save this share of a token's time, or they are not worth their memory.
_GAIN: Final = 0.1
#: Steps of each trial that is timed.
_STEPS: Final = 3
#: The share of free memory that a pack may be expected to fill.
_ROOM: Final = 0.7


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
    noted: Mapping[str, Any] | None = None,
) -> Trainer:
    """The engine of a study; all its workers have the same.

    Args:
        base: no adapter attached.
        task: what is trained.
        training: how.
        engine: what was asked for.
        decide: writes a decision unless there is one, and returns the one that holds.
        noted: the decision, if it was made before.
    """
    tokens = make_tokens(base, task, training)
    held = noted or decide("engine", asdict(choose_engine(base, task, training, engine, tokens)))
    if held["kind"] == "packed":
        return PackedTrainer(base, task, training, int(held["slots"]), tokens=tokens)
    return SequentialTrainer(base, task, training, tokens=tokens)


def choose_engine(
    base: BaseModel,
    task: Task,
    training: TrainingSettings,
    engine: EngineSettings,
    tokens: TokenizedTask | None = None,
) -> EngineChoice:
    """Engine and slots for this base, task and machine.

    Args:
        base: no adapter attached.
        task: what is trained.
        training: how.
        engine: what was asked for.
        tokens: of the task's examples, if they were made before.
    """
    if engine.kind == "sequential":
        return EngineChoice("sequential", 1, "as asked for", {})
    why_not = refusal(base, task)
    if why_not is not None:
        return EngineChoice("sequential", 1, why_not, {})
    if engine.kind == "auto" and engine.slots is None and base.device.type == "cpu":
        # Timed, it comes to one slot or to a few percent that the next run would not find again;
        # and equal seeds shall give equal numbers.
        return EngineChoice("sequential", 1, "one adapter's rows keep a processor busy", {})
    if engine.slots is not None:
        return EngineChoice("packed", engine.slots, "as asked for", {})
    # A few steps each; how long they are and how many rows they have is as in the study.
    short = training.model_copy(update={"steps": _STEPS, "epochs": None, "readings": 0})
    measured = _measured(PackedTrainer(base, task, short, tokens=tokens), base)
    if not measured:
        return EngineChoice("packed", 1, "no number of slots could be timed", {})
    told = {str(count): round(1e6 * seconds, 2) for count, seconds in measured.items()}
    why = "the most that still save time and fit in memory"
    return EngineChoice("packed", max(measured), why, told)


def _measured(trainer: PackedTrainer, base: BaseModel) -> dict[int, float]:
    """Seconds a token for numbers of slots, up to the last that was worth it."""
    seconds_a_token(trainer, 1)  # what is done once only is not to be timed
    found: dict[int, float] = {}
    need = 0.0
    for count in _COUNTS:
        if found and need * count > _ROOM * available_bytes():
            break
        before, peak = available_bytes(), PeakMemory(base.device)
        seconds = seconds_a_token(trainer, count)
        if seconds is None or (found and seconds > (1 - _GAIN) * found[max(found)]):
            break
        found[count] = seconds
        # What a slot took at most; its weights and states are a small part of it.
        need = max(need, (before - available_bytes()) / count, _grown(base, peak) / count)
    return found


def _grown(base: BaseModel, peak: PeakMemory) -> int:
    """Bytes beyond the base's weights at the peak; on a GPU, where that can be told exactly."""
    if base.device.type != "cuda":
        return 0
    weights = sum(each.nbytes for each in base.model.parameters())
    return max(0, peak.bytes() - weights)


def make_timing_trainer(
    base: BaseModel, task: Task, training: TrainingSettings, tokens: TokenizedTask | None = None
) -> SequentialTrainer:
    """The engine that `engine.kind: auto` means on this device, for timing one adapter.

    Args:
        base: no adapter attached.
        task: what is trained.
        training: of few steps.
        tokens: of the task's examples, if they were made before.
    """
    if base.device.type == "cpu":
        return SequentialTrainer(base, task, training, tokens=tokens)
    return PackedTrainer(base, task, training, tokens=tokens)


def seconds_a_token(trainer: SequentialTrainer, slots: int) -> float | None:
    """Seconds of training a token, several rank-16 adapters together; None if they do not run.

    Args:
        trainer: of few steps.
        slots: adapters together; 1 unless the trainer is packed.
    """
    if isinstance(trainer, PackedTrainer):
        trainer.slots = slots
    requests = [
        TrialRequest(
            number, TrialConfig("lora", 16, 16.0, 0.0, "all_linear", 1e-4, number), splits=()
        )
        for number in range(slots)
    ]
    results = list(trainer.train(iter(requests), lambda _number, _reading: True))
    if any(result.outcome is not Outcome.COMPLETE for result in results):
        return None
    tokens = sum(result.cost.tokens for result in results)
    return sum(result.cost.train_seconds for result in results) / max(1, tokens)


#: Half the precision has to save this share of a trial's time.
#: Times that each is timed, the fastest counts.
_REPEATS: Final = 3
#: Validation examples that are scored.
_EXAMPLES: Final = 16
_HALF: Final = "bfloat16"
_WHOLE: Final = "float32"


@dataclass(frozen=True)
class Precision:
    """What the frozen base of a study is computed in; adapters are float32 all the same.

    Attributes:
        dtype: `float32` or `bfloat16`.
        why: in one line.
        measured: seconds of a whole trial by dtype, as expected from what was timed.
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
    noted: Mapping[str, Any] | None = None,
) -> ModelSettings:
    """The model's settings with a dtype that is named; all workers of a study get the same.

    Args:
        model: as asked for.
        task: what is trained.
        training: how.
        threads: torch threads of this process.
        decide: writes a decision unless there is one, and returns the one that holds.
        noted: the decision, if it was made before.

    Raises:
        UserError: the model cannot be loaded.
    """
    if model.dtype != "auto":
        return model
    held = noted or decide("dtype", asdict(choose_precision(model, task, training, threads)))
    return model.model_copy(update={"dtype": held["dtype"]})


def choose_precision(
    model: ModelSettings, task: Task, training: TrainingSettings, threads: int | None
) -> Precision:
    """The precision in which a trial on this base is over sooner on this machine.

    Args:
        model: which base.
        task: what is trained.
        training: how.
        threads: torch threads of this process.

    Raises:
        UserError: the model cannot be loaded.
    """
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        return Precision(_WHOLE, "this GPU has no bfloat16", {})
    found: dict[str, float] = {}
    # Half the memory first: where float32 has no room, that is an answer, too.
    for dtype in (_HALF, _WHOLE):
        named = model.model_copy(update={"dtype": dtype})
        try:
            seconds = _seconds(named, task, training, threads)
        except UserError:
            if not found:
                raise
            seconds = None
        gc.collect()  # or the next one finds the memory taken
        if seconds is not None:
            found[dtype] = seconds
    told = {dtype: round(seconds, 2) for dtype, seconds in found.items()}
    if _HALF not in found:
        return Precision(_WHOLE, "no step in bfloat16 could be timed", told)
    if _WHOLE not in found:
        return Precision(_HALF, "no step in float32 could be timed", told)
    if found[_HALF] <= (1 - _GAIN) * found[_WHOLE]:
        return Precision(_HALF, "the faster one here", told)
    return Precision(_WHOLE, "bfloat16 does not save a tenth of a trial's time here", told)


def _seconds(
    model: ModelSettings, task: Task, training: TrainingSettings, threads: int | None
) -> float | None:
    """Expected seconds of a trial, training and scoring; None if its steps do not run."""
    base = base_model.load(model, threads, task.type.head)
    short = training.model_copy(update={"steps": _STEPS, "epochs": None, "readings": 0})
    tokens = make_tokens(base, task, short)
    trainer = make_timing_trainer(base, task, short, tokens)
    # What is done once only is not to be timed.
    times = [seconds_a_token(trainer, 1) for _ in range(1 + _REPEATS)][1:]
    token = min((each for each in times if each is not None), default=None)
    if token is None:
        return None
    texts = tokens.training().sequences
    steps = step_count(training, len(texts), 1.0)
    trained = steps * training.batch_size * sum(len(one.ids) for one in texts) / len(texts)
    whole = len(task.examples("validation"))
    scored = whole + training.readings * min(training.reading_examples, whole)
    return token * trained + _seconds_an_example(base, task, training, tokens) * scored


def _seconds_an_example(
    base: BaseModel, task: Task, training: TrainingSettings, tokens: TokenizedTask
) -> float:
    """Of scoring with the bare base, which writes no less than a trained one."""
    count = min(_EXAMPLES, len(task.examples("validation")))
    times = []
    for _ in range(2):
        start = time.perf_counter()
        rows = training.score_batch_size
        score(base, task, "validation", count, batch_size=rows, tokens=tokens)
        times.append(time.perf_counter() - start)
    return min(times) / count
