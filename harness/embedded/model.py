"""A lean twin of `LlamaForCausalLM` for pretraining on a CPU; its weights map one to one.

It fuses the projections and computes logits only where the loss looks. Knows no data.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from harness.embedded.tokenizer import BOS_ID, EOS_ID, PAD_ID

_EPSILON = 1e-6


@dataclass(frozen=True)
class Shape:
    """Sizes of the model."""

    vocabulary: int = 2000
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    mlp: int = 512
    positions: int = 1024
    theta: float = 10000.0


class Block(nn.Module):
    """One decoder layer."""

    def __init__(self, shape: Shape) -> None:
        """Draws the weights; the matrices that write to the residual stream start small."""
        super().__init__()
        hidden, mlp, self.heads = shape.hidden, shape.mlp, shape.heads
        scale = 0.6 * hidden**-0.5
        self.attention_norm = nn.Parameter(torch.ones(hidden))
        self.mlp_norm = nn.Parameter(torch.ones(hidden))
        self.query = nn.Parameter(torch.randn(hidden, hidden) * scale)
        self.key = nn.Parameter(torch.randn(hidden, hidden) * scale)
        self.value = nn.Parameter(torch.randn(hidden, hidden) * scale)
        self.output = nn.Parameter(torch.randn(hidden, hidden) * 0.01)
        self.gate = nn.Parameter(torch.randn(mlp, hidden) * scale)
        self.up = nn.Parameter(torch.randn(mlp, hidden) * scale)
        self.down = nn.Parameter(torch.randn(hidden, mlp) * 0.01)

    def forward(self, stream: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """`stream` is (rows, length, hidden); answers the same shape."""
        rows, length, hidden = stream.shape
        normed = functional.rms_norm(stream, (hidden,), self.attention_norm, _EPSILON)
        projected = functional.linear(normed, torch.cat([self.query, self.key, self.value]))
        heads = projected.view(rows, length, 3, self.heads, hidden // self.heads)
        rotated = _rotate(heads[:, :, :2], cosine, sine)
        query, key = (part.transpose(1, 2) for part in rotated.unbind(2))
        value = heads[:, :, 2].transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(rows, length, hidden)
        stream = stream + functional.linear(mixed, self.output)
        normed = functional.rms_norm(stream, (hidden,), self.mlp_norm, _EPSILON)
        gate, up = functional.linear(normed, torch.cat([self.gate, self.up])).chunk(2, -1)
        return stream + functional.linear(functional.silu(gate) * up, self.down)


def _rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = heads.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


class Twin(nn.Module):
    """The whole model with tied embeddings."""

    def __init__(self, shape: Shape) -> None:
        """Draws all weights from torch's global generator."""
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.randn(shape.vocabulary, shape.hidden) * 0.05)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.hidden))
        width = shape.hidden // shape.heads
        speeds = shape.theta ** (-torch.arange(0, width, 2).float() / width)
        angles = torch.outer(torch.arange(shape.positions).float(), speeds)
        self.register_buffer("cosine", angles.cos()[:, None, None])
        self.register_buffer("sine", angles.sin()[:, None, None])

    def forward(self, ids: Tensor, places: Tensor) -> Tensor:
        """Logits (places, vocabulary) at `places`, indices into the flattened `ids`."""
        length = ids.shape[1]
        stream = functional.embedding(ids, self.embedding)
        cosine = self.get_buffer("cosine")[:length]
        sine = self.get_buffer("sine")[:length]
        for block in self.blocks:
            stream = block(stream, cosine, sine)
        flat = stream.reshape(-1, stream.shape[-1]).index_select(0, places)
        flat = functional.rms_norm(flat, (flat.shape[-1],), self.norm, _EPSILON)
        return functional.linear(flat, self.embedding)

    def matrices(self) -> list[list[nn.Parameter]]:
        """The block matrices in groups of one shape (up to transposition)."""
        square: list[nn.Parameter] = []
        wide: list[nn.Parameter] = []
        for block in self.blocks:
            assert isinstance(block, Block)
            square += [block.query, block.key, block.value, block.output]
            wide += [block.gate, block.up, block.down]
        return [square, wide]


def to_llama(twin: Twin) -> LlamaForCausalLM:
    """The same weights as a `LlamaForCausalLM` in float32."""
    shape = twin.shape
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.positions,
        tie_word_embeddings=True,
        pad_token_id=PAD_ID,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        rms_norm_eps=_EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": shape.theta},
    )
    weights = {
        "model.embed_tokens.weight": twin.embedding,
        "model.norm.weight": twin.norm,
        "lm_head.weight": twin.embedding,
    }
    for number, block in enumerate(twin.blocks):
        prefix = f"model.layers.{number}."
        weights |= {prefix + theirs: getattr(block, ours) for ours, theirs in _NAMES.items()}
    model = LlamaForCausalLM(config)
    model.load_state_dict({name: weight.detach() for name, weight in weights.items()})
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False, pad_token_id=PAD_ID, bos_token_id=BOS_ID, eos_token_id=EOS_ID
    )
    return model


def save(twin: Twin, folder: Path) -> None:
    """Writes config, generation config and weights in half precision."""
    llama = to_llama(twin)
    nn.Module.half(llama)
    llama.save_pretrained(folder)


_NAMES = {
    "attention_norm": "input_layernorm.weight",
    "mlp_norm": "post_attention_layernorm.weight",
    "query": "self_attn.q_proj.weight",
    "key": "self_attn.k_proj.weight",
    "value": "self_attn.v_proj.weight",
    "output": "self_attn.o_proj.weight",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
}
