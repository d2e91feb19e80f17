"""What only a GPU can show: memory that really runs out, equal numbers again, half precision."""

import pytest
import torch
from transformers import LlamaConfig

from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.packed import layers
from harness.training.packed.layers import BatchedKernel
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest
from tests import toy, toy_bases
from tests.integration.training.packed.test_oracle import losses, run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: pytest --gpu"),
]

TRAINING = TrainingSettings(steps=20, batch_size=4, warmup=0.2, readings=19)
REQUESTS = [
    TrialRequest(0, TrialConfig("lora", 4, 8.0, 0.1, "all_linear", 5e-3, 5), ("test",)),
    TrialRequest(1, TrialConfig("lora", 16, 16.0, 0.0, "all_linear", 5e-3, 6), ("test",)),
    TrialRequest(2, TrialConfig("dora", 4, 8.0, 0.0, "qv", 5e-3, 7), ("test",)),
    TrialRequest(3, TrialConfig("lora", 8, 8.0, 0.1, "mlp", 5e-3, 8), ("test",)),
]


def test_the_base_is_on_the_gpu_and_gets_its_kernel(base: BaseModel) -> None:
    assert base.device.type == "cuda"
    assert {each.device.type for each in base.model.parameters()} == {"cuda"}
    assert isinstance(layers.kernel_for(base.device), BatchedKernel)


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_seeds_give_equal_numbers(slots: int, dtype: torch.dtype, task: Task) -> None:
    base = toy_bases.random_base(toy.llama_config(), dtype)
    one, other = (run(PackedTrainer(base, task, TRAINING, slots), REQUESTS) for _ in range(2))
    for number, result in one.items():
        assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
        assert losses(result) == losses(other[number])
        assert result.scores == other[number].scores


def test_so_they_do_one_after_the_other(base: BaseModel, task: Task) -> None:
    one, other = (run(SequentialTrainer(base, task, TRAINING), REQUESTS) for _ in range(2))
    for number, result in one.items():
        assert losses(result) == losses(other[number])
        assert result.scores == other[number].scores


def test_memory_that_runs_out_makes_passes_smaller_and_takes_no_trial(task: Task) -> None:
    """Really: the allocator is bounded to less than the whole step takes."""
    wide = {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048}
    base = toy_bases.random_base(LlamaConfig(**toy_bases.GROUPED | wide), torch.float32)
    training = TRAINING.model_copy(update={"steps": 3, "readings": 2, "batch_size": 16})
    requests = [
        TrialRequest(n, TrialConfig("lora", 4, 8.0, 0.0, "all_linear", 1e-3, n), ())
        for n in range(8)
    ]
    torch.cuda.empty_cache()
    bare = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    whole = run(PackedTrainer(base, task, training, 8), requests)
    room = bare + 0.6 * (torch.cuda.max_memory_reserved() - bare)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(room / total)
    try:
        found = run(PackedTrainer(base, task, training, 8), requests)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for number, result in found.items():
        assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
        assert (result.changed or "").startswith("memory ran out: micro-batches of ")
        assert whole[number].changed is None
        assert losses(result) == pytest.approx(losses(whole[number]), rel=1e-3)


def test_float16_is_trained_with_a_scaler(base: BaseModel, task: Task) -> None:
    plain = TrialConfig("lora", 8, 16.0, 0.0, "all_linear", 1e-2, 5)
    requests = [
        TrialRequest(0, plain, ()),
        TrialRequest(1, plain.with_level("compute_dtype", "float16"), ()),
    ]
    found = run(SequentialTrainer(base, task, TRAINING), requests)
    assert found[1].error is None
    assert losses(found[1])[-1] < 0.9 * losses(found[1])[0]
    assert losses(found[1]) == pytest.approx(losses(found[0]), rel=0.05)
    assert losses(found[1]) != losses(found[0])


def test_memory_is_told_by_the_allocator(base: BaseModel, task: Task) -> None:
    found = run(PackedTrainer(base, task, TRAINING, 4), REQUESTS)
    weights = sum(each.nbytes for each in base.model.parameters())
    for result in found.values():
        assert weights < result.cost.peak_memory < 1 << 30


def test_half_precision_is_near_whole(task: Task) -> None:
    whole, half = (
        run(
            PackedTrainer(toy_bases.random_base(toy.llama_config(), dtype), task, TRAINING, 4),
            REQUESTS,
        )
        for dtype in (torch.float32, torch.bfloat16)
    )
    for number, result in half.items():
        assert losses(result) == pytest.approx(losses(whole[number]), rel=0.1)
