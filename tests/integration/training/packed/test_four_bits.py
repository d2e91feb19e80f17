"""Adapters that share a base whose weights are in 4 bits, against each of them alone."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.config.settings import ModelSettings, TrainingSettings
from harness.models import base_model
from harness.models import base_model as four_bits
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.packed import compatibility
from harness.training.packed.lora_math import FourBitWeight
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest
from tests import packs
from tests.integration.training.packed.test_oracle import furthest, losses, run, weights

pytestmark = [
    pytest.mark.gpu,
    # On a GPU, where the small base is too narrow for bitsandbytes' fast kernel.
    pytest.mark.filterwarnings("ignore:inner dimension .32. is not aligned:UserWarning"),
]

TRAINING = TrainingSettings(steps=10, batch_size=4, micro_batch_size=1, warmup=0.2, readings=9)
CONFIGS = (
    TrialConfig("lora", 4, 8.0, 0.2, "all_linear", 1e-3, 5),
    TrialConfig("dora", 3, 6.0, 0.2, "qv", 1e-3, 6),
    TrialConfig("dora+lora_plus", 8, 8.0, 0.0, "all_linear", 1e-3, 7),
    TrialConfig("lora_fa", 2, 4.0, 0.0, "mlp", 1e-3, 8),
)


@pytest.fixture(scope="module")
def coded(model_folder: Path) -> BaseModel:
    return base_model.load(ModelSettings(name=str(model_folder), quantization="nf4"), 1)


@pytest.mark.usefixtures("masks_of_the_trial_alone")
def test_losses_weights_and_answers_are_those_of_each_alone(
    coded: BaseModel, task: Task, tmp_path: Path
) -> None:
    assert compatibility.why_base_not_packable(coded) is None

    def requests(folder: str) -> list[TrialRequest]:
        return [
            TrialRequest(n, each, ("test",), adapter_dir=str(tmp_path / folder / str(n)))
            for n, each in enumerate(CONFIGS)
        ]

    wanted = run(SequentialTrainer(coded, task, TRAINING), requests("alone"))
    found = run(PackedTrainer(coded, task, TRAINING, 4), requests("shared"))
    for number, result in found.items():
        oracle = wanted[number]
        assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
        assert result.cost.pack == 4
        assert losses(result) == pytest.approx(losses(oracle), rel=1e-4)
        assert furthest(weights(result), weights(oracle)) < 1e-3
        assert result.proofs == oracle.proofs
        assert "quantised" in result.proofs
        assert result.scores["test"].predictions == oracle.scores["test"].predictions


def test_weights_are_made_whole_twice_a_step_however_many_share_them(
    coded: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[nn.Module] = []
    whole = four_bits.dequantized_weight

    def counted(layer: nn.Module) -> Tensor:
        made.append(layer)
        return whole(layer)

    counts = {}
    training = TRAINING.model_copy(update={"micro_batch_size": 4})
    for slots in (1, 3):
        configs = [CONFIGS[2].replace(seed=seed) for seed in range(slots)]
        with packs.adapter_pack(coded, task, configs, training) as (pack, runs):
            batches = {slot: each.next_batch() for slot, each in runs.items()}
            answers = {slot: pack.answer_count(each) for slot, each in batches.items()}
            pack.accumulate_gradients(batches, answers)  # squared norms of rows are made once
            with monkeypatch.context() as patched:
                patched.setattr(four_bits, "dequantized_weight", counted)
                pack.accumulate_gradients(batches, answers)
            frozen = [each.frozen for each in pack.layers.values()]
        counts[slots] = len(made)
        assert {made.count(layer) for layer in made} <= {1, 2}
        made.clear()
        assert all(
            isinstance(each, FourBitWeight) and each._dequantized is None for each in frozen
        )
    assert counts[1] == counts[3] > 0


def test_eight_bits_are_trained_alone_and_that_is_said(model_folder: Path, task: Task) -> None:
    base = base_model.load(ModelSettings(name=str(model_folder), quantization="int8"), 1)
    told = PackedTrainer(base, task, TRAINING, 2).notes
    assert any("quantised, and not in 4 bits" in note for note in told)
    assert compatibility.packable_layers(base.model) == ()
    assert torch.get_num_threads() == 1
