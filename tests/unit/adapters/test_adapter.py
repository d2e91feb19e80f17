"""Extra settings of an adapter (bias, layers, rank pattern, modules to save) act as documented."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config

from harness.adapters import attach
from harness.adapters.adapter import Adapter
from harness.config.settings import ModelSettings, TrainingSettings
from harness.models import base_model
from harness.models.base_model import BaseModel, checksum
from harness.tasks.task import Task
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest, TrialResult
from tests import toy

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
PLAIN = TrialConfig("lora", 4, 8.0, 0.0, "all_linear", 5e-3, 7)
IDS = torch.tensor([[1, 20, 30, 40, 50]])


def train(base: BaseModel, task: Task, config: TrialConfig) -> TrialResult:
    training = TrainingSettings(steps=6, batch_size=4, max_length=200)
    trainer = SequentialTrainer(base, task, training)
    before = checksum(base.model)
    requests = iter([TrialRequest(0, config, splits=())])
    (result,) = trainer.train(requests, lambda _number, _reading: True)
    assert checksum(base.model) == before
    return result


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A GPT-2, whose layers have biases."""
    folder: Path = tmp_path_factory.mktemp("gpt2")
    tokenizer = toy.tokenizer()
    config = GPT2Config(
        n_embd=32, n_layer=2, n_head=2, n_positions=256, vocab_size=len(tokenizer),
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return base_model.load(ModelSettings(name=str(folder)), threads=1)


@contextmanager
def attached(base: BaseModel, config: TrialConfig) -> Iterator[tuple[Adapter, set[str]]]:
    """The adapter, and the names of what is trained beside A and B."""
    with attach.attached_adapter(base, config) as adapter:
        named = base.model.named_parameters()
        yield adapter, {n for n, p in named if p.requires_grad and "lora_" not in n}


@pytest.mark.parametrize("extra", [("bias", "all"), ("bias", "lora_only")])
def test_biases_are_trained_and_come_back(
    extra: tuple[str, str], biased: BaseModel, task: Task, tmp_path: Path
) -> None:
    config = PLAIN.with_level(*extra).replace(target_modules="attention")
    result = train(biased, task, config)
    assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
    before = checksum(biased.model)
    with attached(biased, config) as (adapter, trained):
        assert trained
        assert all(name.endswith("bias") for name in trained)
        assert any("ln_" in name for name in trained) == (extra[1] == "all")
        with torch.no_grad():
            for name, weight in biased.model.named_parameters():
                if name in trained:
                    weight += 0.1
            logits = biased.model(input_ids=IDS).logits
        folder = attach.save_adapter(adapter, tmp_path / "adapter")
    assert checksum(biased.model) == before
    fresh = AutoModelForCausalLM.from_pretrained(biased.name)
    loaded = PeftModel.from_pretrained(fresh, str(folder)).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(input_ids=IDS).logits, logits, rtol=1e-5, atol=1e-5)


def test_layers_can_be_selected(base: BaseModel, task: Task) -> None:
    for level, numbers in (("upper_half", {"1"}), ("lower_half", {"0"}), ("0,1", {"0", "1"})):
        with attached(base, PLAIN.with_level("layers", level)) as (adapter, _):
            assert {name.split(".")[2] for name in adapter.layers()} == numbers
    half = attach.count_parameters(base.model, PLAIN.with_level("layers", "upper_half"))
    assert half * 2 == attach.count_parameters(base.model, PLAIN)
    result = train(base, task, PLAIN.with_level("layers", "1"))
    assert (result.error, result.cost.parameters) == (None, half)
    assert "no layer 2, only 0 to 1" in (
        train(base, task, PLAIN.with_level("layers", "2")).error or ""
    )


def test_single_modules_may_have_another_rank(base: BaseModel, task: Task) -> None:
    config = PLAIN.with_level("rank_pattern", "q_proj:16")
    with attached(base, config) as (adapter, _):
        ranks = {
            name.split(".")[-1]: layer.r["default"] for name, layer in adapter.layers().items()
        }
    assert ranks.pop("q_proj") == 16
    assert set(ranks.values()) == {4}
    assert train(base, task, config).error is None
    error = train(base, task, PLAIN.with_level("rank_pattern", "q_prj:16")).error or ""
    assert "'q_prj' is none of the targets" in error
    adaptive = config.replace(variant="adalora")
    assert "finds each layer's rank itself" in (train(base, task, adaptive).error or "")
    assert "share one rank" in (train(base, task, config.replace(variant="vera")).error or "")


def test_whole_modules_are_trained_in_copies(base: BaseModel, task: Task) -> None:
    config = PLAIN.with_level("modules_to_save", "norm").replace(target_modules="qv")
    with attached(base, config) as (_, trained):
        assert len(trained) == 1
        assert next(iter(trained)).startswith("model.norm.modules_to_save")
    assert isinstance(base.model.model.norm, nn.Module)
    assert "modules_to_save" not in dict(base.model.named_modules())
    result = train(base, task, config)
    assert result.error is None
    assert result.cost.parameters == 32 + attach.count_parameters(
        base.model, PLAIN.replace(target_modules="qv")
    )
    error = train(base, task, PLAIN.with_level("modules_to_save", "nrm")).error or ""
    assert "'nrm' is no module of this model" in error
