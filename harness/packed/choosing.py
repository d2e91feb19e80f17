"""Chooses the engine and its slots, once for a study: by what is asked for, by memory and time.

Knows engines, nothing of Optuna or storage: what was chosen is handed to whoever writes it down.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from harness.models.base_model import BaseModel
from harness.models.memory import PeakMemory, available
from harness.packed import fitting
from harness.packed.engine import PackedTrainer, refusal
from harness.settings import EngineSettings, TrainingSettings
from harness.task import Task
from harness.training.batches import TaskTokens
from harness.training.sequential import SequentialTrainer, make_tokens
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
class Choice:
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
    held = noted or decide("engine", asdict(choose(base, task, training, engine, tokens)))
    if held["kind"] == "packed":
        return PackedTrainer(base, task, training, int(held["slots"]), tokens=tokens)
    return SequentialTrainer(base, task, training, tokens=tokens)


def choose(
    base: BaseModel,
    task: Task,
    training: TrainingSettings,
    engine: EngineSettings,
    tokens: TaskTokens | None = None,
) -> Choice:
    """Engine and slots for this base, task and machine.

    Args:
        base: no adapter attached.
        task: what is trained.
        training: how.
        engine: what was asked for.
        tokens: of the task's examples, if they were made before.
    """
    if engine.kind == "sequential":
        return Choice("sequential", 1, "as asked for", {})
    why_not = refusal(base, task)
    if why_not is not None:
        return Choice("sequential", 1, why_not, {})
    if engine.kind == "auto" and engine.slots is None and base.device.type == "cpu":
        # Timed, it comes to one slot or to a few percent that the next run would not find again;
        # and equal seeds shall give equal numbers.
        kind = "packed" if fitting.by_hand(base) else "sequential"
        return Choice(kind, 1, "one adapter's rows keep a processor busy", {})
    if engine.slots is not None:
        return Choice("packed", engine.slots, "as asked for", {})
    # A few steps each; how long they are and how many rows they have is as in the study.
    short = training.model_copy(update={"steps": _STEPS, "epochs": None, "readings": 0})
    measured = _measured(PackedTrainer(base, task, short, tokens=tokens), base)
    if not measured:
        return Choice("packed", 1, "no number of slots could be timed", {})
    told = {str(count): round(1e6 * seconds, 2) for count, seconds in measured.items()}
    why = "the most that still save time and fit in memory"
    return Choice("packed", max(measured), why, told)


def _measured(trainer: PackedTrainer, base: BaseModel) -> dict[int, float]:
    """Seconds a token for numbers of slots, up to the last that was worth it."""
    seconds_a_token(trainer, 1)  # what is done once only is not to be timed
    found: dict[int, float] = {}
    need = 0.0
    for count in _COUNTS:
        if found and need * count > _ROOM * available():
            break
        before, peak = available(), PeakMemory(base.device)
        seconds = seconds_a_token(trainer, count)
        if seconds is None or (found and seconds > (1 - _GAIN) * found[max(found)]):
            break
        found[count] = seconds
        # What a slot took at most; its weights and states are a small part of it.
        need = max(need, (before - available()) / count, _grown(base, peak) / count)
    return found


def _grown(base: BaseModel, peak: PeakMemory) -> int:
    """Bytes beyond the base's weights at the peak; on a GPU, where that can be told exactly."""
    if base.device.type != "cuda":
        return 0
    weights = sum(each.nbytes for each in base.model.parameters())
    return max(0, peak.bytes() - weights)


def seconds_a_token(trainer: PackedTrainer, slots: int) -> float | None:
    """Seconds of training a token, several rank-16 adapters together; None if they do not run.

    Args:
        trainer: of few steps.
        slots: adapters together.
    """
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
