"""Language modelling in a pack, where texts share rows besides: the same trials all the same."""

from pathlib import Path

import pytest

from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest
from tests import toy
from tests.integration.training.packed.test_oracle import furthest, losses, run, weights

pytestmark = pytest.mark.gpu

STEPS = 4


@pytest.fixture
def prose(tmp_path: Path) -> Task:
    return toy.load_prose(tmp_path)


@pytest.mark.parametrize("packing", [False, True])
def test_texts_that_share_rows_are_learnt_as_by_the_sequential_engine(
    packing: bool, double: BaseModel, prose: Task, tmp_path: Path
) -> None:
    training = TrainingSettings(
        steps=STEPS, batch_size=3, max_length=100, readings=STEPS - 1, packing=packing
    )

    def requests(folder: str) -> list[TrialRequest]:
        configs = (
            TrialConfig("lora", 4, 8.0, 0.0, "all_linear", 5e-3, 5),
            TrialConfig("dora", 2, 4.0, 0.0, "qv", 1e-2, 6),
        )
        return [
            TrialRequest(n, each, adapter_dir=str(tmp_path / f"{folder}-{n}"))
            for n, each in enumerate(configs)
        ]

    oracle = run(SequentialTrainer(double, prose, training), requests("oracle"))
    trainer = PackedTrainer(double, prose, training, 2)
    assert any(one.breaks for one in trainer._sequences) == packing
    found = run(trainer, requests("found"))
    for number, result in found.items():
        assert (result.outcome, result.error, result.cost.pack) == (Outcome.COMPLETE, None, 2)
        assert losses(result) == pytest.approx(losses(oracle[number]), rel=1e-9)
        assert furthest(weights(result), weights(oracle[number])) < 1e-9
        for split, scores in result.scores.items():
            assert scores.values == pytest.approx(oracle[number].scores[split].values, rel=1e-9)
