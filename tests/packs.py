"""Adapters in a pack, as the engine puts them there."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from peft.tuners.lora.layer import LoraLayer

from harness.adapters import attach as attaching
from harness.adapters.adapter import Adapter
from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.loop import Progress
from harness.training.losses import CompletionLoss
from harness.training.packed import compatibility as fitting
from harness.training.packed.pack import Pack
from harness.training.packed.slot import Parked, SlotRun
from harness.training.tokenization import TaskTokens
from harness.trial import TrialConfig


def wrapped(adapter: Adapter) -> dict[str, LoraLayer]:
    """PEFT's layers by name; the adapter has to be on its base."""
    return {n: one for n, one in adapter.layers().items() if isinstance(one, LoraLayer)}


@contextmanager
def shared(
    base: BaseModel,
    task: Task,
    configs: Sequence[TrialConfig],
    training: TrainingSettings,
    by_hand: bool = False,
    enters: bool = False,
) -> Iterator[tuple[Pack, dict[int, SlotRun]]]:
    """The pack, and the runs of one adapter for each configuration."""
    sequences = TaskTokens(base, task, 200).training().sequences
    pack, runs = Pack(base, fitting.layers(base.model), by_hand, enters), dict[int, SlotRun]()
    with ExitStack() as stack:
        for slot, config in enumerate(configs):
            bare = [(weight, weight.data) for weight in base.model.parameters()]
            adapter = stack.enter_context(attaching.attached(base, config))
            run = SlotRun(
                base, CompletionLoss(base.model), sequences, adapter, training, 3, Progress()
            )
            run.dtype = pack.dtype
            pack.add(slot, adapter, run.weights, run.generator, wrapped(adapter))
            parked = Parked(adapter, bare)
            stack.callback(parked.enter)
            runs[slot] = run
        yield pack, runs
