"""Each architecture by itself: packed trials are the trials that PEFT runs one after the other."""

from collections.abc import Sequence

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from harness.models.base_model import BaseModel, freeze
from harness.packed import fitting
from harness.packed.engine import PackedTrainer
from harness.settings import TrainingSettings
from harness.task import Task
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest, TrialResult
from tests import toy
from tests.integration.training.contract import go_on, losses

SMALL = {
    "vocab_size": len(toy.tokenizer()),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ONE_KEY = {**SMALL, "intermediate_size": 64, "num_key_value_heads": 1}
#: Windows are shorter than the notes, caps low enough to be felt.
CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**ONE_KEY),
    "mistral": MistralConfig(**ONE_KEY, sliding_window=7),
    "qwen2": Qwen2Config(**ONE_KEY),
    "qwen3": Qwen3Config(**ONE_KEY, head_dim=16),
    "gemma2": Gemma2Config(
        **ONE_KEY,
        head_dim=16,
        sliding_window=7,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
    ),
    "gemma3": Gemma3TextConfig(**ONE_KEY, head_dim=16, sliding_window=7),
    "phi3": Phi3Config(**ONE_KEY),
    "gpt2": GPT2Config(
        vocab_size=len(toy.tokenizer()), n_embd=32, n_layer=2, n_head=2, n_positions=256
    ),
    "gpt_neox": GPTNeoXConfig(**SMALL, intermediate_size=64),
}
TRAINING = TrainingSettings(steps=3, batch_size=2, readings=2)


def base_of(config: PretrainedConfig) -> BaseModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # Gemma 2's caps are in Transformers' plain attention alone.
        attention = "eager" if config.model_type == "gemma2" else "sdpa"
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).double()
    freeze(model)
    return BaseModel("tiny", model, toy.tokenizer(), torch.device("cpu"), "")


def run(trainer: SequentialTrainer, requests: Sequence[TrialRequest]) -> dict[int, TrialResult]:
    return {result.number: result for result in trainer.train(iter(requests), go_on)}


@pytest.mark.parametrize("name", CONFIGS)
def test_packed_trials_are_the_same_trials(name: str, task: Task) -> None:
    base = base_of(CONFIGS[name])
    assert fitting.base_refusal(base) is None
    requests = [
        TrialRequest(0, TrialConfig("lora", 4, 8.0, 0.0, "all_linear", 5e-3, 5), ()),
        TrialRequest(1, TrialConfig("dora", 2, 4.0, 0.0, "attention", 1e-2, 6), ()),
    ]
    oracle = run(SequentialTrainer(base, task, TRAINING), requests)
    found = run(PackedTrainer(base, task, TRAINING, 2), requests)
    for number in (0, 1):
        assert (found[number].outcome, found[number].error) == (Outcome.COMPLETE, None)
        assert found[number].cost.pack == 2
        # Some norms, and plain attention, compute in float32 whatever the model's precision.
        near = 1e-5 if name == "gemma2" else 1e-7
        assert losses(found[number]) == pytest.approx(losses(oracle[number]), rel=near)


def test_a_model_that_takes_no_positions_is_trained_alone_and_says_so(task: Task) -> None:
    config = OPTConfig(
        vocab_size=len(toy.tokenizer()),
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
    )
    base = base_of(config)
    trainer = PackedTrainer(base, task, TRAINING, 2)
    why = fitting.base_refusal(base)
    if why is None:
        assert not any("by itself" in note for note in trainer.notes)
    else:
        assert f"each adapter is trained by itself: {why}" in trainer.notes
    requests = [
        TrialRequest(number, TrialConfig("lora", 4, 8.0, 0.0, "all_linear", 5e-3, number), ())
        for number in (0, 1)
    ]
    found = run(trainer, requests)
    oracle = run(SequentialTrainer(base, task, TRAINING), requests)
    for number in (0, 1):
        assert losses(found[number]) == pytest.approx(losses(oracle[number]), rel=1e-7)
        assert found[number].cost.pack == (1 if why else 2)
