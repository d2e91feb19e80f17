"""Packed trials against the same trials by PEFT, on small random models of other architectures."""

import copy
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.packed import compatibility
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest
from tests import toy_bases
from tests.integration.training.packed.test_oracle import furthest, losses, run, weights

pytestmark = pytest.mark.gpu

STEPS = 3
TRAINING = TrainingSettings(steps=STEPS, batch_size=2, warmup=0.2, readings=STEPS - 1)


@pytest.fixture(scope="module", params=toy_bases.ARCHITECTURES)
def other(request: pytest.FixtureRequest) -> BaseModel:
    return toy_bases.random_base(toy_bases.ARCHITECTURES[request.param])


@pytest.fixture
def doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Softmax in the precision of what it is given.

    Only Transformers' eager attention knows Gemma 2's softcap, and it takes the softmax in float32
    whatever the model's precision: sums over rows of another length differ by 1e-7 then.
    """
    softmax = functional.softmax

    def exact(x: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        return softmax(x, dim=dim, dtype=None if x.dtype == torch.float64 else dtype)

    monkeypatch.setattr(functional, "softmax", exact)


def test_sequences_are_longer_than_the_window(task: Task) -> None:
    trainer = PackedTrainer(
        toy_bases.random_base(toy_bases.ARCHITECTURES["llama"]), task, TRAINING, 1
    )
    assert min(len(one.ids) for one in trainer._sequences) > toy_bases.WINDOW


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_architecture_is_packed_in_each_precision(dtype: torch.dtype, other: BaseModel) -> None:
    model = copy.deepcopy(other.model).to(dtype)
    rounded = BaseModel(other.name, model, other.tokenizer, other.device, other.fingerprint)
    assert compatibility.why_base_not_packable(rounded) is None


@pytest.mark.usefixtures("doubled")
def test_trials_packed_together_are_the_same_trials(
    other: BaseModel, task: Task, tmp_path: Path
) -> None:
    assert compatibility.why_base_not_packable(other) is None

    def requests(folder: str) -> list[TrialRequest]:
        configs = [
            TrialConfig("lora", 4, 8.0, 0.0, "all_linear", 5e-3, 5),
            TrialConfig("dora", 2, 4.0, 0.0, "all_linear", 1e-2, 6),
        ]
        return [
            TrialRequest(number, each, (), adapter_dir=str(tmp_path / folder / str(number)))
            for number, each in enumerate(configs)
        ]

    oracle = run(SequentialTrainer(other, task, TRAINING), requests("oracle"))
    found = run(PackedTrainer(other, task, TRAINING, 2), requests("packed"))
    for number, result in found.items():
        assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
        assert result.cost.pack == 2
        assert len(losses(result)) == STEPS
        assert losses(result) == pytest.approx(losses(oracle[number]), rel=1e-9)
        assert furthest(weights(result), weights(oracle[number])) < 1e-9
