import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    GPTNeoXConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from harness.errors import UserError
from harness.training.targets import GROUPS, is_transposed, target_names
from tests.unit.training.toy import llama_config

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
}


def on_meta(name: str) -> PreTrainedModel:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(CONFIGS[name])


def hits(model: PreTrainedModel, names: tuple[str, ...]) -> set[str]:
    """Modules that PEFT would wrap."""
    return {
        name
        for name, _ in model.named_modules()
        if any(name == each or name.endswith(f".{each}") for each in names)
    }


EXPECTED = {
    ("llama", "q"): {"q_proj"},
    ("llama", "qv"): {"q_proj", "v_proj"},
    ("llama", "qkv"): {"q_proj", "k_proj", "v_proj"},
    ("llama", "attention"): {"q_proj", "k_proj", "v_proj", "o_proj"},
    ("llama", "mlp"): {"gate_proj", "up_proj", "down_proj"},
    ("gpt2", "qv"): {"c_attn"},
    ("gpt2", "attention"): {"c_attn", "attn.c_proj"},
    ("gpt2", "mlp"): {"c_fc", "mlp.c_proj"},
    ("gpt2", "all_linear"): {"c_attn", "c_fc", "c_proj"},
    ("gpt_neox", "q"): {"query_key_value"},
    ("gpt_neox", "attention"): {"query_key_value", "dense"},
    ("gpt_neox", "mlp"): {"dense_h_to_4h", "dense_4h_to_h"},
    ("opt", "qv"): {"q_proj", "v_proj"},
    ("opt", "attention"): {"q_proj", "k_proj", "v_proj", "out_proj"},
    ("opt", "mlp"): {"fc1", "fc2"},
    ("bloom", "qkv"): {"query_key_value"},
    ("bloom", "mlp"): {"dense_h_to_4h", "dense_4h_to_h"},
    ("phi", "attention"): {"q_proj", "k_proj", "v_proj", "dense"},
    ("phi", "mlp"): {"fc1", "fc2"},
    ("phi3", "qv"): {"qkv_proj"},
    ("phi3", "mlp"): {"gate_up_proj", "down_proj"},
    ("mixtral", "qv"): {"q_proj", "v_proj"},
}


@pytest.mark.parametrize(("architecture", "group"), EXPECTED)
def test_a_group_is_resolved_by_the_names_that_are_there(architecture: str, group: str) -> None:
    assert set(target_names(on_meta(architecture), group)) == EXPECTED[architecture, group]


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("group", GROUPS)
def test_suffixes_hit_linear_layers_of_the_blocks_only(architecture: str, group: str) -> None:
    if (architecture, group) == ("mixtral", "mlp"):
        pytest.skip("its experts are no linear layers")
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
def test_a_part_that_matches_nothing_is_told_with_the_names_that_exist(wrong: str) -> None:
    with pytest.raises(UserError) as told:
        target_names(on_meta("llama"), f"qv+{wrong}")
    message = str(told.value)
    assert "match no layer of this model" in message
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in message
    assert "\n" not in message


def test_a_typo_is_answered_with_what_was_meant() -> None:
    with pytest.raises(UserError, match=r"'q_prj' match no layer.*did you mean 'q_proj'\?"):
        target_names(on_meta("llama"), "q_prj")
    with pytest.raises(UserError, match=r"did you mean 'all_linear'\?"):
        target_names(on_meta("llama"), "all-linear")


def test_only_gpt2_keeps_its_weights_transposed() -> None:
    assert is_transposed(on_meta("gpt2"), ("c_attn",))
    assert not is_transposed(on_meta("llama"), ("q_proj", "down_proj"))
