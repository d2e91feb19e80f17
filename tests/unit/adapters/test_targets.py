import re
from collections import Counter

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForTokenClassification,
    BertConfig,
    BloomConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    T5Config,
)

from harness.adapters.targets import GROUPS, is_transposed, target_names
from harness.errors import UserError
from tests.toy import llama_config

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 64}
CONFIGS: dict[str, PretrainedConfig] = {
    "llama": llama_config(),
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=64),
    "gpt_neox": GPTNeoXConfig(**SMALL, intermediate_size=64),
    "opt": OPTConfig(**SMALL, ffn_dim=64, word_embed_proj_dim=16),
    "bloom": BloomConfig(hidden_size=32, n_layer=2, n_head=2, vocab_size=64),
    "phi": PhiConfig(**SMALL, intermediate_size=64),
    "phi3": Phi3Config(**SMALL, intermediate_size=64, pad_token_id=0),
    "mixtral": MixtralConfig(**SMALL, intermediate_size=64, num_local_experts=2),
    "mistral": MistralConfig(**SMALL, intermediate_size=64, num_key_value_heads=1),
    "qwen2": Qwen2Config(**SMALL, intermediate_size=64, num_key_value_heads=1),
    "qwen3": Qwen3Config(**SMALL, intermediate_size=64, num_key_value_heads=1, head_dim=16),
    "gemma2": Gemma2Config(**SMALL, intermediate_size=64, num_key_value_heads=1, head_dim=16),
    "gemma3": Gemma3TextConfig(**SMALL, intermediate_size=64, num_key_value_heads=1, head_dim=16),
    "falcon": FalconConfig(**SMALL, alibi=False),
    "falcon_new": FalconConfig(**SMALL, new_decoder_architecture=True, num_kv_heads=1),
    "t5": T5Config(d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, vocab_size=64),
    "t5_gated": T5Config(
        d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, vocab_size=64,
        feed_forward_proj="gated-gelu",
    ),
    "bert": BertConfig(**SMALL, intermediate_size=64),
    "roberta": RobertaConfig(**SMALL, intermediate_size=64),
}  # fmt: skip
MAKERS = {
    "t5": AutoModelForSeq2SeqLM,
    "t5_gated": AutoModelForSeq2SeqLM,
    "bert": AutoModelForMaskedLM,
    "roberta": AutoModelForMaskedLM,
}
#: Query, key and value in one matrix.
FUSED = ("gpt2", "gpt_neox", "bloom", "phi3", "falcon", "falcon_new")
#: Experts are no linear layers.
IMPOSSIBLE = {(name, group) for name in FUSED for group in ("q", "qv")} | {("mixtral", "mlp")}


def on_meta(name: str) -> PreTrainedModel:
    with torch.device("meta"):
        return MAKERS.get(name, AutoModelForCausalLM).from_config(CONFIGS[name])


def hits(model: PreTrainedModel, names: tuple[str, ...]) -> set[str]:
    """Modules that PEFT would wrap."""
    return {
        name
        for name, _ in model.named_modules()
        if any(name == suffix or name.endswith(f".{suffix}") for suffix in names)
    }


EXPECTED = {
    ("llama", "q"): {"q_proj"},
    ("llama", "qv"): {"q_proj", "v_proj"},
    ("llama", "qkv"): {"q_proj", "k_proj", "v_proj"},
    ("llama", "attention"): {"q_proj", "k_proj", "v_proj", "o_proj"},
    ("llama", "mlp"): {"gate_proj", "up_proj", "down_proj"},
    ("gpt2", "qkv"): {"c_attn"},
    ("gpt2", "attention"): {"c_attn", "attn.c_proj"},
    ("gpt2", "mlp"): {"c_fc", "mlp.c_proj"},
    ("gpt2", "all_linear"): {"c_attn", "c_fc", "c_proj"},
    ("gpt_neox", "qkv"): {"query_key_value"},
    ("gpt_neox", "attention"): {"query_key_value", "dense"},
    ("gpt_neox", "mlp"): {"dense_h_to_4h", "dense_4h_to_h"},
    ("opt", "qv"): {"q_proj", "v_proj"},
    ("opt", "attention"): {"q_proj", "k_proj", "v_proj", "out_proj"},
    ("opt", "mlp"): {"fc1", "fc2"},
    ("bloom", "qkv"): {"query_key_value"},
    ("bloom", "mlp"): {"dense_h_to_4h", "dense_4h_to_h"},
    ("phi", "attention"): {"q_proj", "k_proj", "v_proj", "dense"},
    ("phi", "mlp"): {"fc1", "fc2"},
    ("phi3", "qkv"): {"qkv_proj"},
    ("phi3", "mlp"): {"gate_up_proj", "down_proj"},
    ("mixtral", "qv"): {"q_proj", "v_proj"},
    **{
        (name, group): modules
        for name in ("mistral", "qwen2", "qwen3", "gemma2", "gemma3")
        for group, modules in {
            "q": {"q_proj"},
            "attention": {"q_proj", "k_proj", "v_proj", "o_proj"},
            "mlp": {"gate_proj", "up_proj", "down_proj"},
        }.items()
    },
    ("falcon", "qkv"): {"query_key_value"},
    ("falcon", "attention"): {"query_key_value", "dense"},
    ("falcon_new", "mlp"): {"dense_h_to_4h", "dense_4h_to_h"},
    ("t5", "qv"): {"q", "v"},
    ("t5", "attention"): {"q", "k", "v", "o"},
    ("t5", "mlp"): {"wi", "wo"},
    ("t5_gated", "mlp"): {"wi_0", "wi_1", "wo"},
    ("bert", "qkv"): {"query", "key", "value"},
    ("bert", "attention"): {"query", "key", "value", "attention.output.dense"},
    ("bert", "mlp"): {"intermediate.dense", "0.output.dense", "1.output.dense"},
    ("roberta", "qv"): {"query", "value"},
}
#: Linear layers of each block that a group takes, encoder and decoder of T5 apart.
PER_BLOCK = {"q": 1, "qv": 2, "qkv": 3}


@pytest.mark.parametrize(("architecture", "group"), EXPECTED)
def test_a_group_is_resolved_by_the_names_that_are_there(architecture: str, group: str) -> None:
    assert set(target_names(on_meta(architecture), group)) == EXPECTED[architecture, group]


@pytest.mark.parametrize(("architecture", "group"), sorted(IMPOSSIBLE))
def test_an_impossible_group_is_an_error(architecture: str, group: str) -> None:
    with pytest.raises(UserError) as raised:
        target_names(on_meta(architecture), group)
    if architecture in FUSED:
        assert "query, key and value are one matrix" in str(raised.value)
        assert str(raised.value).endswith("; use qkv")


@pytest.mark.parametrize(
    ("architecture", "group"),
    [(name, group) for name in CONFIGS for group in GROUPS if (name, group) not in IMPOSSIBLE],
)
def test_a_group_hits_linear_layers_of_every_block_and_nothing_else(
    architecture: str, group: str
) -> None:
    model = on_meta(architecture)
    names = target_names(model, group)
    hit = hits(model, names)
    assert hit
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    for name in hit:
        module = model.get_submodule(name)
        assert module is not head, name
        assert module is not embeddings, name
        assert not isinstance(module, nn.ModuleList | nn.LayerNorm), name
        assert any(part.isdigit() for part in name.split(".")), name
    blocks = Counter(re.split(r"(?<=\.\d)\.", name)[0] for name in hit)
    assert len(blocks) == (4 if architecture.startswith("t5") else 2)
    if architecture not in (*FUSED, "t5", "t5_gated"):
        assert set(blocks.values()) == {PER_BLOCK.get(group, next(iter(blocks.values())))}


class Patchy(nn.Module):
    """Two blocks, of which only the first has an attention of its own, as in hybrid models."""

    def __init__(self) -> None:
        super().__init__()
        first, second = nn.Module(), nn.Module()
        first.attn = nn.ModuleDict({"q_proj": nn.Linear(4, 4), "v_proj": nn.Linear(4, 4)})
        first.mlp, second.mlp = (nn.ModuleDict({"up_proj": nn.Linear(4, 4)}) for _ in range(2))
        self.layers = nn.ModuleList([first, second])


def test_a_group_missing_in_some_blocks_is_an_error() -> None:
    for group in ("qv", "attention", "q_proj", "mlp+q_proj"):
        with pytest.raises(UserError, match=r"only 1 of 2 layers.*not layers\.1"):
            target_names(Patchy(), group)
    assert target_names(Patchy(), "mlp") == ("up_proj",)
    assert len(target_names(Patchy(), "all_linear")) == 3
    assert target_names(Patchy(), "layers.0.attn.q_proj+mlp") == ("q_proj", "up_proj")


@pytest.mark.parametrize("architecture", sorted(set(CONFIGS) - {"mixtral"}))
def test_attention_and_mlp_together_are_all_linear_layers(architecture: str) -> None:
    model = on_meta(architecture)
    attention, mlp, everything = (
        hits(model, target_names(model, group)) for group in ("attention", "mlp", "all_linear")
    )
    assert attention | mlp == everything
    assert not attention & mlp


def test_names_and_groups_may_be_joined() -> None:
    model = on_meta("llama")
    assert target_names(model, "q_proj+down_proj") == ("down_proj", "q_proj")
    assert target_names(model, "qv + mlp") == target_names(
        model, "q_proj+v_proj+gate_proj+up_proj+down_proj"
    )


def test_a_single_layer_can_be_named() -> None:
    names = target_names(on_meta("llama"), "layers.1.self_attn.q_proj")
    assert names == ("1.self_attn.q_proj",)


@pytest.mark.parametrize("wrong", ["q_prj", "qvx", "lm_head", "embed_tokens", "q+", "norm"])
def test_a_part_without_match_is_an_error_with_the_existing_names(wrong: str) -> None:
    with pytest.raises(UserError) as raised:
        target_names(on_meta("llama"), f"qv+{wrong}")
    message = str(raised.value)
    assert "match no layer of this model" in message
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in message
    assert "\n" not in message


def test_a_typo_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match=r"'q_prj' match no layer.*did you mean 'q_proj'\?"):
        target_names(on_meta("llama"), "q_prj")
    with pytest.raises(UserError, match=r"did you mean 'all_linear'\?"):
        target_names(on_meta("llama"), "all-linear")


@pytest.mark.parametrize("architecture", ["bert", "roberta", "llama", "gpt2"])
def test_a_head_that_tags_tokens_is_never_a_target(architecture: str) -> None:
    with torch.device("meta"):
        model = AutoModelForTokenClassification.from_config(CONFIGS[architecture])
        encoder = AutoModel.from_config(CONFIGS[architecture])  # BERT's has a pooler
    for group in ("qkv", "attention", "mlp", "all_linear"):
        hit = hits(model, target_names(model, group)) | hits(encoder, target_names(encoder, group))
        assert not [n for n in hit if any(w in n for w in ("classifier", "score", "pooler"))]
    for name in ("classifier", "score", "pooler", "pooler.dense"):
        with pytest.raises(UserError, match="match no layer"):
            target_names(encoder, name)


def test_only_gpt2_keeps_its_weights_transposed() -> None:
    assert is_transposed(on_meta("gpt2"), ("c_attn",))
    assert not is_transposed(on_meta("llama"), ("q_proj", "down_proj"))


def test_a_target_in_layers_that_are_left_out_is_still_a_mistake() -> None:
    with pytest.raises(UserError, match="match no layer"):
        target_names(on_meta("llama"), "q_prj", "upper_half")


def test_encoder_and_decoder_have_halves_of_their_own() -> None:
    names = target_names(on_meta("t5"), "q", "upper_half")
    assert {name.split(".")[0] for name in names} <= {"encoder", "decoder", "1"}
