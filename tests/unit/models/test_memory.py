import sys
from pathlib import Path

import pytest
import torch

from harness.config.settings import TOKEN_CLASSIFICATION, Head, ModelSettings, TrainingSettings
from harness.config.variants import VARIANTS
from harness.models import base_model, memory
from harness.models.base_model import BaseModel
from harness.models.memory import PeakMemory, footprint, is_out_of_memory
from harness.tasks.task import Task
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest
from tests import toy

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the Linux kernel's mark")
def test_the_peak_sees_what_was_freed_and_forgets_earlier_peaks() -> None:
    def use(megabytes: int) -> None:
        torch.ones(megabytes * 2**18)

    first = PeakMemory(CPU)
    before = first.bytes()
    use(300)
    assert first.bytes() - before > 250 * 2**20
    second = PeakMemory(CPU)
    assert second.bytes() < first.bytes() or first.bytes() == second.bytes() < before + 100 * 2**20


def test_without_the_kernels_files_the_peak_of_the_process_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "none" / "a")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none" / "b")
    assert PeakMemory(CPU).bytes() > 50 * 2**20


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried ..."),
        OSError(12, "Cannot allocate memory: can't allocate memory"),
    ],
)
def test_it_knows_memory_errors(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory")])
def test_it_knows_others(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_an_impossible_tensor_is_a_memory_error() -> None:
    with pytest.raises(RuntimeError) as told:
        torch.empty(2**46)
    assert is_out_of_memory(told.value)


#: Numbers of the toy model's linear layers: q, k, v, o, gate, up, down of two layers.
LINEAR = 2 * (32 * 32 + 2 * 16 * 32 + 32 * 32 + 3 * 32 * 64)
EMBEDDING = len(toy.tokenizer()) * 32


def test_a_plain_base_takes_what_its_numbers_take(base: BaseModel) -> None:
    found = footprint(base.model)
    assert found.linear == 4 * LINEAR
    assert found.linear_in_bfloat16 == 2 * LINEAR
    norms = 5 * 32
    assert 4 * (EMBEDDING + norms) <= found.rest <= 4 * (EMBEDDING + norms) + 200


def test_a_new_head_is_no_linear_layer_of_the_base(model_folder: Path) -> None:
    head = Head(TOKEN_CLASSIFICATION, ("O", "B-MED", "I-MED"))
    found = footprint(base_model.load(ModelSettings(name=str(model_folder)), 1, head).model)
    assert found.linear == 4 * LINEAR
    assert found.rest >= 4 * (EMBEDDING + 5 * 32 + 3 * 32 + 3)


@pytest.mark.filterwarnings("ignore")  # of bitsandbytes and what it stands on
@pytest.mark.parametrize(("quantization", "bytes_each"), [("nf4", 0.5), ("int8", 1.0)])
def test_a_quantised_base_takes_codes_and_scales(
    model_folder: Path, quantization: str, bytes_each: float
) -> None:
    small = base_model.load(ModelSettings(name=str(model_folder), quantization=quantization))
    found = footprint(small.model)
    # Scales of such small layers weigh more than those of a real model.
    assert bytes_each * LINEAR < found.linear < 2 * bytes_each * LINEAR + 14 * 1200
    assert found.linear_in_bfloat16 == 2 * LINEAR
    assert found.rest >= 4 * EMBEDDING


@pytest.mark.filterwarnings("ignore")  # of bitsandbytes and what it stands on
@pytest.mark.parametrize(
    ("quantization", "variant"),
    [(base, name) for name, variant in VARIANTS for base in variant.bases if base != "none"],
)
def test_variants_train_on_quantised_weights_and_prove_them(
    model_folder: Path, task: Task, quantization: str, variant: str
) -> None:
    small = base_model.load(ModelSettings(name=str(model_folder), quantization=quantization))
    training = TrainingSettings(steps=6, batch_size=4, max_length=200)
    trainer = SequentialTrainer(small, task, training)
    config = TrialConfig(variant, 4, 8.0, 0.0, "all_linear", 5e-3, 7)
    requests = iter([TrialRequest(0, config, splits=())])
    (result,) = trainer.train(requests, lambda _number, _reading: True)
    assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
    assert result.proofs[-1] == "quantised"
