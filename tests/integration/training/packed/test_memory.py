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
    ("limit", "message"),
    [
        (8, "micro-batches of 2 sequences instead of 4"),
        (4, "micro-batches of 1 sequence instead of 4"),
        (2, "micro-batches of 1 sequence of 2 adapters"),
        (1, "micro-batches of 1 sequence of 1 adapter"),
    ],
)
def test_passes_are_halved_until_they_fit(
    limit: int, message: str, base: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(base, task)
    real = AdapterPack.accumulate_gradients

    def bounded(
        pack: AdapterPack, batches: Batches, answers: Mapping[int, int]
    ) -> dict[int, float]:
        if sum(map(len, batches.values())) > limit:
            raise torch.OutOfMemoryError("out of memory")
        return real(pack, batches, answers)

    monkeypatch.setattr(AdapterPack, "accumulate_gradients", bounded)
    results = run(base, task)
    for number, result in expected.items():
        assert result.changed is None
        assert results[number].outcome is Outcome.COMPLETE
        assert losses(results[number]) == pytest.approx(losses(result), rel=1e-4)
        assert results[number].changed is not None
        assert message in results[number].changed


def test_one_sequence_that_does_not_fit_fails_with_a_plain_line(
    base: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> dict[int, float]:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(AdapterPack, "accumulate_gradients", never)
    results = run(base, task)
    assert {result.outcome for result in results.values()} == {Outcome.FAILED}
    assert "out of memory; smaller" in (results[0].error or "")
