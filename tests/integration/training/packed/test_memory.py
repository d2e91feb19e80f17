"""A step that runs out of memory is done again in smaller passes, with the same result."""

from collections.abc import Mapping

import pytest
import torch

from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.packed.pack import AdapterPack, Batches
from harness.training.packed.trainer import PackedTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest, TrialResult
from tests.integration.training.contract import go_on, losses

pytestmark = pytest.mark.gpu

TRAINING = TrainingSettings(steps=4, batch_size=4, readings=3)
REQUESTS = [
    TrialRequest(number, TrialConfig("lora", 4, 8.0, 0.0, "all_linear", 5e-3, number), ())
    for number in range(4)
]


def run(base: BaseModel, task: Task) -> dict[int, TrialResult]:
    trainer = PackedTrainer(base, task, TRAINING, 4)
    return {result.number: result for result in trainer.train(iter(REQUESTS), go_on)}


@pytest.mark.parametrize(
    ("room", "told"),
    [
        (8, "passes of 2 sequences instead of 4"),
        (4, "passes of 1 sequence instead of 4"),
        (2, "passes of 1 sequence of 2 adapters"),
        (1, "passes of 1 sequence of 1 adapter"),
    ],
)
def test_passes_are_halved_until_they_fit(
    room: int, told: str, base: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(base, task)
    real = AdapterPack.gradients

    def bounded(
        pack: AdapterPack, batches: Batches, answers: Mapping[int, int]
    ) -> dict[int, float]:
        if sum(map(len, batches.values())) > room:
            raise torch.OutOfMemoryError("out of memory")
        return real(pack, batches, answers)

    monkeypatch.setattr(AdapterPack, "gradients", bounded)
    found = run(base, task)
    for number, result in whole.items():
        assert result.changed is None
        assert found[number].outcome is Outcome.COMPLETE
        assert losses(found[number]) == pytest.approx(losses(result), rel=1e-4)
        assert found[number].changed is not None
        assert told in found[number].changed


def test_one_sequence_that_does_not_fit_fails_with_a_plain_line(
    base: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> dict[int, float]:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(AdapterPack, "gradients", never)
    found = run(base, task)
    assert {result.outcome for result in found.values()} == {Outcome.FAILED}
    assert "out of memory; smaller" in (found[0].error or "")
