"""Each variant's proofs hold for it, and fail for plain LoRA under its name."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    Phi3Config,
    PretrainedConfig,
)

from harness.adapters.proofs import PROOFS
from harness.config.settings import ModelSettings, TrainingSettings
from harness.config.variants import FULL, VARIANTS, Variant
from harness.models import base_model
from harness.models.base_model import BaseModel, checksum
from harness.registry import Registry
from harness.tasks.task import Task
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest, TrialResult
from tests import toy

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

JOINED = ("dora+lora_plus", "rslora+pissa", "lora_plus+eva", "dora+rslora", "adalora+lora_plus")


def train(
    base: BaseModel, task: Task, name: str, variants: Registry[Variant] = VARIANTS
) -> TrialResult:
    """A short training; one example is scored, for this is not about scores."""
    training = TrainingSettings(steps=12, batch_size=4, max_length=200)
    trainer = SequentialTrainer(base, task, training, variants)
    config = TrialConfig(name, 4, 8.0, 0.0, "all_linear", 5e-3, 7)
    requests = iter([TrialRequest(0, config, splits=())])
    before = checksum(base.model)
    (result,) = trainer.train(requests, lambda _number, _reading: True)
    assert checksum(base.model) == before
    return result


@pytest.mark.parametrize("name", [*VARIANTS.names(), *JOINED])
def test_a_variant_does_what_its_name_says(name: str, base: BaseModel, task: Task) -> None:
    from harness.config.variants import resolve_variant

    result = train(base, task, name)
    assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
    assert result.proofs == resolve_variant(name).proofs


@pytest.mark.parametrize("name", [name for name in VARIANTS.names() if name != "lora"])
def test_plain_lora_under_a_variants_name_is_found_out(
    name: str, base: BaseModel, task: Task
) -> None:
    """For each variant: what it would be if its keyword, trait or method were silently ignored."""
    false: Registry[Variant] = Registry("variant")
    variant = VARIANTS.get(name)
    false.add(name, replace(variant, peft={}, optimizer={}, method="lora", frozen=()))
    result = train(base, task, name, false)
    assert result.outcome is Outcome.FAILED
    assert (result.error or "").startswith("not what the variant's name says: ")
    assert result.proofs == ()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"peft": {"init_lora_weights": False}},
            "logits differ from the base model's at the start",
        ),
        ({"peft": {"use_rslora": True}}, "scale 4, not 2"),
        ({"frozen": ("lora_B",)}, "no B has changed"),
    ],
)
def test_a_lora_that_is_none_is_found_out(
    changed: dict[str, object], message: str, base: BaseModel, task: Task
) -> None:
    false: Registry[Variant] = Registry("variant")
    false.add("lora", replace(VARIANTS.get("lora"), **changed))
    assert message in (train(base, task, "lora", false).error or "")


def test_lora_plus_with_another_ratio_is_found_out(base: BaseModel, task: Task) -> None:
    from harness.training import loop

    real = loop.make_optimizer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_optimizer", lambda *arguments: real(*arguments[:3], {}))
        result = train(base, task, "lora_plus")
    assert "B learns 1 times as fast, not 16" in (result.error or "") or "several" in (
        result.error or ""
    )


def test_adalora_that_is_never_told_to_move_ranks_is_found_out(
    base: BaseModel, task: Task
) -> None:
    from harness.adapters.methods.adalora import AdaLora

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AdaLora, "after_step", lambda *_: None)
        result = train(base, task, "adalora")
    assert "no rank has changed" in (result.error or "")


def test_every_proof_is_named_by_a_variant_and_says_its_fact() -> None:
    used = {proof for _, variant in VARIANTS for proof in variant.proofs}
    used |= {*FULL.proofs, "quantised", "head_trained"}
    assert used == set(PROOFS.names())
    for _, proof in PROOFS:
        assert (proof.__doc__ or "").strip()


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
OTHERS: dict[str, PretrainedConfig] = {
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=256),
    "gemma": GemmaConfig(
        **SMALL, intermediate_size=64, head_dim=16, num_key_value_heads=1, pad_token_id=0
    ),
    "phi3": Phi3Config(**SMALL, intermediate_size=64, num_key_value_heads=1, pad_token_id=0),
}
#: PEFT cannot initialise OLoRA on transposed weights.
CASES = [
    (model, name)
    for model in OTHERS
    for name in VARIANTS.names()
    if (model, name) != ("gpt2", "olora")
]


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BaseModel]:
    bases = {}
    for name, config in OTHERS.items():
        folder: Path = tmp_path_factory.mktemp(name)
        words = toy.tokenizer()
        config.vocab_size, config.initializer_range = len(words), 0.1
        config.bos_token_id, config.eos_token_id = 1, 2
        with torch.random.fork_rng():
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        words.save_pretrained(folder)
        bases[name] = base_model.load(ModelSettings(name=str(folder)), threads=1)
    return bases


@pytest.mark.parametrize(("model", "name"), CASES)
def test_a_variant_does_so_on_other_architectures(
    model: str, name: str, others: dict[str, BaseModel], task: Task
) -> None:
    result = train(others[model], task, name)
    assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
    assert result.proofs == VARIANTS.get(name).proofs


def test_olora_on_transposed_weights_is_told(others: dict[str, BaseModel], task: Task) -> None:
    assert "use pissa" in (train(others["gpt2"], task, "olora").error or "")
