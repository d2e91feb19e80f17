"""Packed trials against the same trials by PEFT, one after the other: in float64, step by step."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.packed import layers
from harness.training.packed.layers import BatchedKernel
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest, TrialResult
from tests.integration.training.contract import go_on

pytestmark = pytest.mark.gpu

STEPS = 20
#: A reading after each step, so that each step's loss is told.
TRAINING = TrainingSettings(
    steps=STEPS, batch_size=4, micro_batch_size=2, warmup=0.2, readings=STEPS - 1
)
VARIANTS = ("lora", "rslora", "lora_plus", "dora", "lora_fa", "orthogonal", "dora+lora_plus")
#: Seven that have nothing in common with whom they stand beside.
NEIGHBOURS = (
    TrialConfig("lora", 3, 6.0, 0.0, "qv", 2e-3, 11),
    TrialConfig("dora", 8, 8.0, 0.0, "mlp", 5e-3, 12),
    TrialConfig("rslora", 1, 2.0, 0.0, "attention", 1e-2, 13),
    TrialConfig("lora_plus", 5, 5.0, 0.0, "all_linear", 1e-3, 14),
    TrialConfig("lora_fa", 16, 32.0, 0.0, "q", 1e-2, 15),
    TrialConfig("lora", 2, 4.0, 0.0, "all_linear", 1e30, 16),  # diverges on the way
    TrialConfig("dora", 4, 8.0, 0.0, "qkv", 3e-3, 17, budget=0.4),  # leaves early
)


@pytest.fixture(params=["as on a processor", "as on a GPU"])
def way(
    request: pytest.FixtureRequest, double: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How the packed engine goes through the base."""
    gpu = double.device.type == "cuda"
    if gpu and request.param != "as on a GPU":
        pytest.skip("this is a GPU")
    if request.param == "as on a GPU":
        monkeypatch.setattr(layers, "kernel_for", lambda _: BatchedKernel())


def config(variant: str, **changes: object) -> TrialConfig:
    return TrialConfig(variant, 4, 8.0, 0.0, "all_linear", 5e-3, 5).replace(**changes)


def run(trainer: SequentialTrainer, requests: Sequence[TrialRequest]) -> dict[int, TrialResult]:
    return {result.number: result for result in trainer.train(iter(requests), go_on)}


def losses(result: TrialResult) -> list[float]:
    return [reading.loss for reading in result.measurements]


def weights(result: TrialResult) -> dict[str, torch.Tensor]:
    return load_file(Path(result.adapter or "") / "adapter_model.safetensors")


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference as a share of the largest number of its tensor."""
    assert one.keys() == other.keys()
    shares = [
        float((one[name] - other[name]).abs().max() / other[name].abs().max()) for name in one
    ]
    return max(shares)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_packed_trial_is_the_same_trial(
    variant: str, double: BaseModel, task: Task, tmp_path: Path
) -> None:
    def request(number: int, folder: str) -> TrialRequest:
        return TrialRequest(number, config(variant), (), adapter_dir=str(tmp_path / folder))

    alone = SequentialTrainer(double, task, TRAINING)
    oracle = run(alone, [request(0, "oracle")])[0]
    others = [TrialRequest(n, each, ()) for n, each in enumerate(NEIGHBOURS, 1)]
    found = {
        "alone": run(PackedTrainer(double, task, TRAINING, 1), [request(0, "alone")])[0],
        "among": run(
            PackedTrainer(double, task, TRAINING, 8),
            [*others[:4], request(0, "among"), *others[4:]],
        )[0],
    }
    assert len(losses(oracle)) == STEPS
    for result in found.values():
        assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
        assert losses(result) == pytest.approx(losses(oracle), rel=1e-9)
        assert furthest(weights(result), weights(oracle)) < 1e-9
        assert result.proofs == oracle.proofs
        assert result.cost.parameters == oracle.cost.parameters
        assert result.cost.tokens == oracle.cost.tokens
    assert found["among"].cost.pack == 8


@pytest.mark.usefixtures("way", "masks_of_the_trial_alone")
@pytest.mark.parametrize("variant", ["lora", "dora", "lora_fa"])
def test_dropout_is_that_of_the_trial_alone(
    variant: str, double: BaseModel, task: Task, tmp_path: Path
) -> None:
    # One sequence a pass: then both engines draw masks of one shape, and so the same ones.
    training = TRAINING.model_copy(update={"micro_batch_size": 1, "steps": 6, "readings": 5})

    def request(folder: str) -> TrialRequest:
        dropped = config(variant, dropout=0.3)
        return TrialRequest(0, dropped, (), adapter_dir=str(tmp_path / folder))

    oracle = run(SequentialTrainer(double, task, training), [request("oracle")])[0]
    others = [
        TrialRequest(n, each.replace(dropout=0.2), ()) for n, each in enumerate(NEIGHBOURS, 1)
    ]
    found = run(
        PackedTrainer(double, task, training, 4), [*others[:2], request("among"), *others[2:3]]
    )[0]
    assert (found.outcome, found.cost.pack) == (Outcome.COMPLETE, 4)
    assert losses(found) == pytest.approx(losses(oracle), rel=1e-9)
    assert furthest(weights(found), weights(oracle)) < 1e-9


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("variant", ["pissa", "olora", "eva"])
def test_what_starts_from_the_weights_is_the_same_but_for_rounding(
    variant: str, base: BaseModel, task: Task
) -> None:
    """In float32: PEFT decomposes in no other precision."""
    given = config(variant, learning_rate=1e-3)
    oracle = run(SequentialTrainer(base, task, TRAINING), [TrialRequest(0, given, ())])[0]
    requests = [TrialRequest(0, given, ()), TrialRequest(1, NEIGHBOURS[0], ())]
    found = run(PackedTrainer(base, task, TRAINING, 2), requests)[0]
    assert (found.outcome, found.error) == (Outcome.COMPLETE, None)
    assert losses(found) == pytest.approx(losses(oracle), rel=1e-4)
    assert found.proofs == oracle.proofs
    assert found.cost.pack == 2


def test_a_list_of_trials_leaves_the_same_tables(double: BaseModel, task: Task) -> None:
    chosen = [each for each in NEIGHBOURS if each.learning_rate < 1]
    training = TRAINING.model_copy(update={"steps": 60, "readings": 2, "reading_examples": 4})
    requests = [
        TrialRequest(number, each, ("validation", "test"), readings=number % 2 == 0)
        for number, each in enumerate(chosen)
    ]
    oracle = run(SequentialTrainer(double, task, training), requests)
    found = run(PackedTrainer(double, task, training, 3), requests)
    assert found.keys() == oracle.keys()
    for number, result in found.items():
        assert result.outcome is oracle[number].outcome is Outcome.COMPLETE
        assert result.scores == oracle[number].scores
        assert result.proofs == oracle[number].proofs
        for one, other in zip(result.measurements, oracle[number].measurements, strict=True):
            assert (one.step, one.epoch, one.value) == (other.step, other.epoch, other.value)
            assert one.tokens == other.tokens
            assert one.loss == pytest.approx(other.loss, rel=1e-8)
