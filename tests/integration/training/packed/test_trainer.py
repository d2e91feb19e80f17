"""The packed engine from outside: with one slot and with three it does what any engine does."""

import copy

import pytest

from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.packed.trainer import PackedTrainer
from tests.integration.training.contract import TrainerContract

pytestmark = pytest.mark.gpu


class TestOneSlot(TrainerContract):
    def make(self, base: BaseModel, task: Task, training: TrainingSettings) -> PackedTrainer:
        return PackedTrainer(base, task, training, 1)


class TestThreeSlots(TrainerContract):
    near = 1e-3

    def make(self, base: BaseModel, task: Task, training: TrainingSettings) -> PackedTrainer:
        return PackedTrainer(base, task, training, 3)

    def test_a_trial_that_diverges_takes_no_other_along(self, base: BaseModel, task: Task) -> None:
        # In float64: over many steps a neighbour's roundings would change what is written.
        model = copy.deepcopy(base.model).double()
        double = BaseModel(base.name, model, base.tokenizer, base.device, base.fingerprint)
        super().test_a_trial_that_diverges_takes_no_other_along(double, task)
