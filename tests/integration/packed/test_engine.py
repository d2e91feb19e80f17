"""The packed engine from outside: with one slot and with three it does what any engine does."""

from harness.models.base_model import BaseModel
from harness.packed.engine import PackedTrainer
from harness.settings import TrainingSettings
from harness.task import Task
from tests.integration.training.contract import TrainerContract


class TestOneSlot(TrainerContract):
    def make(self, base: BaseModel, task: Task, training: TrainingSettings) -> PackedTrainer:
        return PackedTrainer(base, task, training, 1)


class TestThreeSlots(TrainerContract):
    near = 1e-3

    def make(self, base: BaseModel, task: Task, training: TrainingSettings) -> PackedTrainer:
        return PackedTrainer(base, task, training, 3)
