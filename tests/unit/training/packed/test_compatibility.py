"""What is refused, each in one line, and what is not."""

from typing import Any

import pytest
import torch
from transformers import (
    BloomConfig,
    GPT2Config,
    GPTJConfig,
    LlamaForCausalLM,
    MistralConfig,
    PreTrainedModel,
)

from harness.config.variants import FULL, VARIANTS, resolve_variant
from harness.models.base_model import BaseModel
from harness.training.packed import compatibility
from harness.training.packed import layout as attention
from harness.training.packed.layout import Layout, current_layout, use_layout
from harness.trial import TrialConfig
from tests import toy, toy_bases


class AllLogits(LlamaForCausalLM):
    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor | None = None) -> Any:
        return super().forward(input_ids, position_ids=position_ids)


def held(model: PreTrainedModel) -> BaseModel:
    return BaseModel("it", model.eval(), toy.tokenizer(), torch.device("cpu"), "")


def small(length: int = 256) -> dict[str, object]:
    return toy_bases.GROUPED | {"max_position_embeddings": length}


def test_a_base_that_fits() -> None:
    assert compatibility.why_base_not_packable(toy_bases.random_base(toy.llama_config())) is None


def test_weights_that_are_quantised_otherwise_than_in_4_bits_are_refused() -> None:
    base = toy_bases.random_base(toy.llama_config())
    base.model.config.quantization_config = {"quant_method": "bitsandbytes"}
    assert (
        compatibility.why_base_not_packable(base) == "its weights are quantised, and not in 4 bits"
    )


def test_a_model_that_computes_all_logits_is_refused() -> None:
    base = held(AllLogits(toy.llama_config()))
    assert compatibility.why_base_not_packable(base) == "llama computes all logits"


def test_a_model_without_positions_is_refused() -> None:
    config = BloomConfig(vocab_size=259, hidden_size=32, n_layer=2, n_head=2)
    assert (
        compatibility.why_base_not_packable(toy_bases.random_base(config))
        == "bloom takes no positions"
    )


def test_a_model_with_attention_of_its_own_is_refused() -> None:
    config = GPTJConfig(
        vocab_size=259, n_embd=32, n_layer=2, n_head=2, rotary_dim=8, n_positions=256
    )
    refused = compatibility.why_base_not_packable(toy_bases.random_base(config))
    assert refused == "gptj does not keep sequences apart that lie end to end"


def test_a_model_that_raises_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    base = toy_bases.random_base(toy.llama_config())

    def broken(*_: object, **__: object) -> None:
        raise IndexError("no such place")

    monkeypatch.setattr(base.model.model, "forward", broken)
    assert "llama does not keep sequences apart" in (
        compatibility.why_base_not_packable(base) or ""
    )


@pytest.mark.parametrize("window", [8, 64, 300])
def test_a_window_is_tried_with_sequences_that_are_longer(
    window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = toy_bases.random_base(MistralConfig(**small(512), sliding_window=window))
    assert compatibility.why_base_not_packable(base) is None
    monkeypatch.setattr(attention, "_window_mask", lambda *_: None)  # as if it saw all before it
    assert "mistral does not keep sequences apart" in (
        compatibility.why_base_not_packable(base) or ""
    )


def test_no_sequence_is_longer_than_the_context() -> None:
    assert (
        compatibility.why_base_not_packable(toy_bases.random_base(MistralConfig(**small(24))))
        is None
    )
    gpt2 = GPT2Config(vocab_size=259, n_embd=32, n_layer=1, n_head=2, n_positions=16)
    assert compatibility.why_base_not_packable(toy_bases.random_base(gpt2)) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_many_layers_of_rounding_are_no_reason(dtype: torch.dtype) -> None:
    deep = toy.llama_config(num_hidden_layers=48, hidden_size=64)
    assert compatibility.why_base_not_packable(toy_bases.random_base(deep, dtype)) is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_sequences_that_see_each_other_are_found_out(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = toy_bases.random_base(toy.llama_config(num_hidden_layers=12), dtype)

    def leaking(*given: Any, **named: Any) -> Any:
        layout = current_layout()
        assert layout is not None
        with use_layout(Layout((), (sum(layout.lengths),))):
            return attention.packed_attention(*given, **named)

    attention.ALL_ATTENTION_FUNCTIONS.register("leaking", leaking)
    monkeypatch.setattr(attention, "NAME", "leaking")
    assert "llama does not keep sequences apart" in (
        compatibility.why_base_not_packable(base) or ""
    )


def config(variant: str = "lora") -> TrialConfig:
    return TrialConfig(variant, 4, 8.0, 0.0, "all_linear", 5e-3, 5)


PACKED = (
    "lora",
    "rslora",
    "dora",
    "lora_plus",
    "orthogonal",
    "lora_fa",
    "eva",
    "pissa",
    "olora",
    "dora+lora_plus",
)


@pytest.mark.parametrize("variant", PACKED)
def test_a_variant_whose_layers_are_plain_is_packed(variant: str) -> None:
    assert compatibility.why_config_not_packable(config(variant), resolve_variant(variant)) is None


@pytest.mark.parametrize("variant", sorted({*VARIANTS.names(), FULL.name} - {*PACKED}))
def test_any_other_is_refused(variant: str) -> None:
    refused = compatibility.why_config_not_packable(config(variant), resolve_variant(variant))
    assert refused == f"variant {variant} has layers of its own"


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("bias", "all"),
        ("modules_to_save", "lm_head"),
        ("optimizer", "adamw_8bit"),
        ("compute_dtype", "bfloat16"),
        ("gradient_checkpointing", "on"),
    ],
)
def test_a_setting_that_all_would_share_is_refused(name: str, level: str) -> None:
    wanted = config().with_level(name, level)
    assert (
        compatibility.why_config_not_packable(wanted, resolve_variant("lora"))
        == f"{name}: {level}"
    )


@pytest.mark.parametrize(
    ("name", "level"), [("b_rate_ratio", "4"), ("layers", "0-1"), ("rank_pattern", "q_proj:2")]
)
def test_a_setting_of_a_slot_s_own_is_packed(name: str, level: str) -> None:
    assert (
        compatibility.why_config_not_packable(
            config().with_level(name, level), resolve_variant("lora")
        )
        is None
    )


def test_layers_are_the_linear_ones_without_the_head() -> None:
    for name, per_block in {"llama": 7, "gpt2": 4, "gpt_neox": 4, "phi3": 4}.items():
        model = toy_bases.random_base(toy_bases.ARCHITECTURES[name]).model
        found = compatibility.packable_layers(model)
        assert len(found) == 2 * per_block
        assert all(hasattr(model.get_submodule(each), "weight") for each in found)
        head = model.get_output_embeddings()
        assert not [each for each in found if model.get_submodule(each) is head]


def test_magnitudes_of_weights_that_are_taken_apart_are_refused() -> None:
    config = TrialConfig("dora+pissa", 4, 8.0, 0.0, "qv", 1e-3, 0)
    assert "magnitudes" in (
        compatibility.why_config_not_packable(config, resolve_variant("dora+pissa")) or ""
    )


def test_attention_in_chunks_is_refused_whatever_their_size() -> None:
    base = toy_bases.random_base(toy.llama_config(attention_chunk_size=8192))
    assert compatibility.why_base_not_packable(base) == "llama attends in chunks of 8192 tokens"
