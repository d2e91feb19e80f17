"""The pretrained model, its tokenizer, its optimizer and data-parallel processes on a CPU.

`FusedLlama` has the weights of `LlamaForCausalLM`, one to one; it fuses the projections and
computes logits only where there is a loss. The tokenizer is a cased byte-level BPE: a blank
belongs to the word that follows, each digit and each punctuation mark is a token, so that a span
has the same tokens in a note and in an answer. Muon (K. Jordan et al., 2024, "Muon: An optimizer
for hidden layers in neural networks") trains the block matrices, AdamW the embeddings and norms.

Two processes of one thread each train nearly twice as fast as one, where one process of two
threads gains a third: the matrices of this model are small.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as distributed
import torch.nn.functional as functional
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
PAD_ID, BOS_ID, EOS_ID = 0, 1, 2
_PIECE = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]|\s+(?!\S)|\s"


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """A BPE of `vocabulary_size` tokens, the three special ones and all bytes included."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECE), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=4,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # Each document of the pretraining begins with <s>; a prompt without it scores worse.
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, BOS_ID)]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, longest: int) -> None:
    """Writes `tokenizer` as `transformers.AutoTokenizer` reads it."""
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=longest,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    wrapped.save_pretrained(folder)


_EPSILON = 1e-6


@dataclass(frozen=True)
class LlamaShape:
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

    def __init__(self, shape: LlamaShape) -> None:
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
        gate, up_projection = functional.linear(normed, torch.cat([self.gate, self.up])).chunk(
            2, -1
        )
        return stream + functional.linear(functional.silu(gate) * up_projection, self.down)


def _rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = heads.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


class FusedLlama(nn.Module):
    """A Llama with tied embeddings and fused projections."""

    def __init__(self, shape: LlamaShape) -> None:
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

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Logits (places, vocabulary) at `positions`, indices into the flattened `ids`."""
        length = ids.shape[1]
        stream = functional.embedding(ids, self.embedding)
        cosine = self.get_buffer("cosine")[:length]
        sine = self.get_buffer("sine")[:length]
        for block in self.blocks:
            stream = block(stream, cosine, sine)
        flat = stream.reshape(-1, stream.shape[-1]).index_select(0, positions)
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


def to_llama(fused: FusedLlama) -> LlamaForCausalLM:
    """The same weights as a `LlamaForCausalLM` in float32."""
    shape = fused.shape
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
        "model.embed_tokens.weight": fused.embedding,
        "model.norm.weight": fused.norm,
        "lm_head.weight": fused.embedding,
    }
    for number, block in enumerate(fused.blocks):
        prefix = f"model.layers.{number}."
        weights |= {prefix + theirs: getattr(block, ours) for ours, theirs in _NAMES.items()}
    model = LlamaForCausalLM(config)
    model.load_state_dict({name: weight.detach() for name, weight in weights.items()})
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False, pad_token_id=PAD_ID, bos_token_id=BOS_ID, eos_token_id=EOS_ID
    )
    return model


def save_model(fused: FusedLlama, folder: Path) -> None:
    """Writes config, generation config and weights in half precision."""
    llama = to_llama(fused)
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


@dataclass(frozen=True)
class ProcessGroup:
    """The rank of this process among `size` data-parallel processes with equal weights."""

    rank: int = 0
    size: int = 1

    def local_rows(self, rows: Tensor) -> Tensor:
        """This process's rows of a step; their number must be a multiple of `size`."""
        if len(rows) % self.size:
            raise ValueError(f"{len(rows)} rows cannot be shared among {self.size} processes")
        return rows.view(self.size, -1, *rows.shape[1:])[self.rank]

    def sum_gradients(self, weights: Sequence[nn.Parameter]) -> None:
        """Replaces each gradient by its sum over all processes."""
        if self.size == 1:
            return
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = torch.cat([gradient.view(-1) for gradient in gradients])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def share(self, stack: Tensor, action: Callable[[Tensor], Tensor]) -> Tensor:
        """`action` on a stack of matrices, each process doing an equal part of them."""
        if self.size == 1:
            return action(stack)
        part = action(self.local_rows(stack)).contiguous()
        parts = [torch.empty_like(part) for _ in range(self.size)]
        distributed.all_gather(parts, part)
        return torch.cat(parts)


def run_processes(size: int, rendezvous: Path, work: Callable[[ProcessGroup], None]) -> None:
    """Runs `work` in `size` processes of one thread each; returns when all have ended.

    Args:
        size: processes; 1 runs in this one.
        rendezvous: a file that does not exist yet, on a disk all can see.
        work: what each does; must be picklable.
    """
    if size == 1:
        torch.set_num_threads(1)
        work(ProcessGroup())
        return
    spawn(_run_rank, (size, str(rendezvous), work), nprocs=size)  # type: ignore[no-untyped-call]


def _run_rank(rank: int, size: int, rendezvous: str, work: Callable[[ProcessGroup], None]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size
    )
    try:
        work(ProcessGroup(rank, size))
    finally:
        distributed.destroy_process_group()


_MOMENTUM = 0.95
_DECAY = 0.05


def orthogonalize(gradients: Tensor) -> Tensor:
    """Nearest semi-orthogonal matrices to (count, rows, columns), rows <= columns.

    Newton-Schulz with the quintic of the Muon paper. In float32: bfloat16 is slower on a CPU
    without matrix units.
    """
    iterate: Tensor = gradients / (gradients.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = iterate @ iterate.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        iterate = torch.baddbmm(iterate, polynomial, iterate, beta=3.4445)
    return iterate


class Optimizer:
    """Muon and AdamW; `step(factor)` scales both learning rates by the schedule."""

    def __init__(
        self,
        matrices: Sequence[Sequence[nn.Parameter]],
        others: Sequence[nn.Parameter],
        matrix_rate: float,
        other_rate: float,
        processes: ProcessGroup,
    ) -> None:
        """`matrices` come in groups of one shape, up to transposition."""
        self._processes = processes
        self._others = list(others)
        self._groups = [list(group) for group in matrices]
        self._momenta = [[torch.zeros_like(matrix) for matrix in group] for group in self._groups]
        self._matrix_rate, self._other_rate = matrix_rate, other_rate
        self._adamw = torch.optim.AdamW(
            [
                {
                    "params": [weight for weight in others if weight.dim() > 1],
                    "weight_decay": 0.01,
                },
                {"params": [weight for weight in others if weight.dim() < 2], "weight_decay": 0.0},
            ],
            lr=other_rate,
            betas=(0.9, 0.97),
        )

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Sums the gradients of all processes, updates all weights and clears the gradients."""
        self._processes.sum_gradients(
            [weight for group in (*self._groups, self._others) for weight in group]
        )
        for group, momenta in zip(self._groups, self._momenta, strict=True):
            self._muon(group, momenta, self._matrix_rate * factor)
        for options in self._adamw.param_groups:
            options["lr"] = self._other_rate * factor
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        for group in self._groups:
            for matrix in group:
                matrix.grad = None

    def _muon(self, group: list[nn.Parameter], momenta: list[Tensor], rate: float) -> None:
        updates: list[Tensor] = []
        for matrix, momentum in zip(group, momenta, strict=True):
            gradient = matrix.grad if matrix.grad is not None else torch.zeros_like(matrix)
            momentum.lerp_(gradient, 1 - _MOMENTUM)
            update = gradient.lerp(momentum, _MOMENTUM)
            updates.append(update if update.shape[0] <= update.shape[1] else update.mT)
        for matrix, update in zip(
            group, self._processes.share(torch.stack(updates), orthogonalize), strict=True
        ):
            rows, columns = matrix.shape
            matrix.mul_(1 - rate * _DECAY)
            matrix.add_(
                update if rows <= columns else update.mT,
                alpha=-rate * max(1.0, rows / columns) ** 0.5,
            )
