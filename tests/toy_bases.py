"""Small random bases of many architectures, in double precision."""

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    MistralConfig,
    Phi3Config,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from harness.models import base_model
from harness.models.base_model import BaseModel
from tests import toy

#: Shorter than every training example.
WINDOW = 8
COMMON = {
    "vocab_size": len(toy.tokenizer()),
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.15,
}
GROUPED = COMMON | {"num_key_value_heads": 1}
MIXED = ["sliding_attention", "full_attention"]
ARCHITECTURES: dict[str, PretrainedConfig] = {
    "llama": toy.llama_config(),
    "mistral": MistralConfig(**GROUPED, sliding_window=WINDOW),
    "qwen2": Qwen2Config(**GROUPED),
    "qwen2_window": Qwen2Config(
        **GROUPED, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
    ),
    "qwen3": Qwen3Config(**GROUPED, head_dim=16),
    "gemma2": Gemma2Config(
        **GROUPED,
        head_dim=16,
        sliding_window=WINDOW,
        layer_types=MIXED,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=5.0,
    ),
    "gemma3": Gemma3TextConfig(**GROUPED, head_dim=16, sliding_window=WINDOW, layer_types=MIXED),
    "phi3": Phi3Config(**GROUPED),
    "phi3_window": Phi3Config(**GROUPED, sliding_window=WINDOW),
    "gpt2": GPT2Config(
        vocab_size=COMMON["vocab_size"],
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=256,
        initializer_range=0.15,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "gpt_neox": GPTNeoXConfig(**COMMON),
}


class ExactNorm(nn.Module):
    """Root mean square normalisation in the precision of what it is given.

    Transformers' own goes by float32 whatever the model's precision: an error of 1e-8.
    """

    def __init__(self, weight: nn.Parameter, epsilon: float) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = weight, epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon
        return self.weight * (x * torch.rsqrt(size))


def with_exact_norms(base: BaseModel) -> BaseModel:
    """Replaces the norms of a Llama-like base by ones that compute in its own precision."""
    for name, module in [*base.model.named_modules()]:
        if hasattr(module, "variance_epsilon"):
            norm = ExactNorm(module.weight, module.variance_epsilon)
            base.model.set_submodule(name, norm)
    return base


def random_base(config: PretrainedConfig, dtype: torch.dtype = torch.float64) -> BaseModel:
    """A random model, frozen."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).to(dtype)
    base_model.freeze(model)
    tokenizer, device = (
        toy.tokenizer(),
        torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    )
    fingerprint = base_model.fingerprint(model, tokenizer)
    return BaseModel(config.model_type, model.to(device), tokenizer, device, fingerprint)
