"""Adapters in a pack, as the packed engine attaches them."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from peft.tuners.lora.layer import LoraLayer

from harness.adapters import attach
from harness.adapters.adapter import Adapter
from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.loop import TrainingProgress
from harness.training.losses import CompletionLoss
from harness.training.packed import compatibility
from harness.training.packed.pack import AdapterPack
from harness.training.packed.slot import DetachedAdapter, SlotTrainingRun
from harness.training.tokenization import TokenizedTask
from harness.trial import TrialConfig


def lora_layers(adapter: Adapter) -> dict[str, LoraLayer]:
    """PEFT's layers by name; the adapter has to be on its base."""
    return {
        name: layer for name, layer in adapter.layers().items() if isinstance(layer, LoraLayer)
    }


@contextmanager
def adapter_pack(
    base: BaseModel,
    task: Task,
    configs: Sequence[TrialConfig],
    training: TrainingSettings,
    prefix_cache: bool = False,
) -> Iterator[tuple[AdapterPack, dict[int, SlotTrainingRun]]]:
    """An adapter pack, and a training run for each configuration, by slot."""
    sequences = TokenizedTask(base, task, 200).training().sequences
    pack, runs = (
        AdapterPack(base, compatibility.packable_layers(base.model), prefix_cache),
        dict[int, SlotTrainingRun](),
    )
    with ExitStack() as stack:
        for slot, config in enumerate(configs):
            base_weights = [(weight, weight.data) for weight in base.model.parameters()]
            adapter = stack.enter_context(attach.attached_adapter(base, config))
            run = SlotTrainingRun(
                base,
                CompletionLoss(base.model),
                sequences,
                adapter,
                training,
                3,
                TrainingProgress(),
            )
            run.dtype = pack.dtype
            pack.add(slot, adapter, run.weights, run.generator, lora_layers(adapter))
            parked = DetachedAdapter(adapter, base_weights)
            stack.callback(parked.enter)
            runs[slot] = run
        yield pack, runs
