"""Chooses the precision of the frozen base, once for a study, where `dtype: auto` asks for that.

Both are tried, in training and in scoring: a processor that has bfloat16 may still be slower with
it on small layers, or where answers are decoded row by row.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch

from harness.errors import UserError
from harness.models import base_model
from harness.models.base_model import BaseModel
from harness.packed.choosing import seconds_a_token
from harness.packed.engine import PackedTrainer
from harness.settings import ModelSettings, TrainingSettings
from harness.task import Task
from harness.training.batches import TaskTokens
from harness.training.evaluation import score
from harness.training.optimisation import step_count
from harness.training.sequential import make_tokens

#: Half the precision has to save this share of a trial's time.
_GAIN: Final = 0.1
_STEPS: Final = 3
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


def settled(
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
    held = noted or decide("dtype", asdict(choose(model, task, training, threads)))
    return model.model_copy(update={"dtype": held["dtype"]})


def choose(
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
    base = base_model.load(model, threads, task.kind.head)
    short = training.model_copy(update={"steps": _STEPS, "epochs": None, "readings": 0})
    tokens = make_tokens(base, task, short)
    trainer = PackedTrainer(base, task, short, tokens=tokens)
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
    base: BaseModel, task: Task, training: TrainingSettings, tokens: TaskTokens
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
