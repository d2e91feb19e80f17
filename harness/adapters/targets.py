"""Resolves what a sweep calls target modules (`qv`, `all_linear`, ...) to a model's own names.

Works by the names and kinds of modules that are there, on a loaded model as on one without
weights. The output head and the embeddings are never targets. PEFT takes a list that matches only
some of the layers without a word; here that is an error.
"""

import re
from collections.abc import Iterable
from typing import Final

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from harness.errors import UserError, did_you_mean

GROUPS: Final = ("q", "qv", "qkv", "attention", "mlp", "all_linear")

_ATTENTION: Final = re.compile(r"attn|attention", re.IGNORECASE)
_ROUTERS: Final = frozenset({"gate", "router", "shared_expert_gate"})
_ROLES: Final[dict[str, frozenset[str]]] = {
    "q": frozenset({"q_proj", "q_lin", "query", "wq", "q", "q_a_proj", "q_b_proj"}),
    "k": frozenset({"k_proj", "k_lin", "key", "wk", "k"}),
    "v": frozenset({"v_proj", "v_lin", "value", "wv", "v"}),
}
#: One matrix for query, key and value: it cannot be cut, so only qkv means it.
_FUSED: Final = frozenset(
    {"c_attn", "query_key_value", "qkv_proj", "qkv", "Wqkv", "wqkv", "W_pack", "in_proj"}
)


def target_names(model: nn.Module, group: str, layers: str = "all") -> tuple[str, ...]:
    """Module names for `peft.LoraConfig(target_modules=...)`.

    Where query, key and value are one matrix (GPT-2, GPT-NeoX, BLOOM, Falcon, Phi-3), `qkv` is
    that matrix, and `q` and `qv` cannot be had.

    Args:
        model: a causal language model, with or without weights, without adapter.
        group: one of `GROUPS`, or names of groups and modules joined by `+`.
        layers: `all`, `upper_half` (those next to the output), `lower_half`, or numbers of layers
            joined by commas.

    Returns:
        The shortest suffixes that match these modules and no others, sorted.

    Raises:
        UserError: a part matches nothing, or not in every layer, or cannot be had on its own;
            lists the names that exist.
    """
    linear = _linear(model)
    chosen: set[str] = set()
    for part in map(str.strip, group.split("+")):
        found = _members(linear, part)
        if not found:
            raise UserError(_nothing(part, linear))
        if not any(piece.isdigit() for piece in part.split(".")):  # else one layer is meant
            _demand_everywhere(part, found, linear)
        chosen.update(found)
    if layers != "all":
        kept = _kept(layers, linear)
        chosen = {name for name in chosen if _block(name) in kept}
    others = [name for name, _ in model.named_modules() if name and name not in chosen]
    return _suffixes(sorted(chosen), others)


def is_transposed(model: nn.Module, names: Iterable[str]) -> bool:
    """Whether these targets keep their weights as (in, out), as GPT-2's `Conv1D` does."""
    suffixes = tuple(names)
    return any(
        isinstance(module, Conv1D)
        for name, module in model.named_modules()
        if any(name == each or name.endswith(f".{each}") for each in suffixes)
    )


def _linear(model: nn.Module) -> tuple[str, ...]:
    """Full names of the linear layers inside the blocks (their names hold a block's number)."""
    head = (
        model.get_output_embeddings()  # type: ignore[no-untyped-call]
        if isinstance(model, PreTrainedModel)
        else None
    )
    return tuple(
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and module is not head
        and any(part.isdigit() for part in name.split("."))
        and _leaf(name) not in _ROUTERS
    )


def _members(linear: Iterable[str], part: str) -> set[str]:
    attention = {name for name in linear if _ATTENTION.search(name.rpartition(".")[0])}
    if part == "all_linear":
        return set(linear)
    if part == "attention":
        return attention
    if part == "mlp":
        return set(linear) - attention
    if part in GROUPS:
        wanted = frozenset().union(*(_ROLES[letter] for letter in part))
        separate = {name for name in attention if _leaf(name) in wanted}
        fused = {name for name in attention if _leaf(name) in _FUSED}
        if fused and not separate and part != "qkv":
            raise UserError(
                f"target modules '{part}' cannot be had on this model: query, key and value are "
                f"one matrix ({', '.join(sorted({_leaf(name) for name in fused}))}); use qkv"
            )
        return separate or fused
    return {name for name in linear if name == part or name.endswith(f".{part}")}


def _suffixes(chosen: list[str], others: list[str]) -> tuple[str, ...]:
    # GPT-2 has attn.c_proj and mlp.c_proj: a name is lengthened until it hits no other module.
    found: set[str] = set()
    for name in chosen:
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            suffix = ".".join(parts[-length:])
            if suffix in found or not any(
                other == suffix or other.endswith(f".{suffix}") for other in others
            ):
                found.add(suffix)
                break
    return tuple(sorted(found))


def _demand_everywhere(part: str, found: set[str], linear: tuple[str, ...]) -> None:
    """Refuses a part that some of the blocks do not have."""
    blocks = dict.fromkeys(_block(name) for name in linear)
    there = {_block(name) for name in found}
    gone = [block for block in blocks if block not in there]
    if gone:
        raise UserError(
            f"target modules '{part}' match only {len(there)} of {len(blocks)} layers of this "
            f"model, not {gone[0]}; name the modules of each kind of layer, joined by +"
        )


def _kept(layers: str, linear: tuple[str, ...]) -> set[str]:
    """The blocks of these layers, of each stack of blocks apart (T5 has two)."""
    stacks: dict[str, list[str]] = {}
    for block in dict.fromkeys(_block(name) for name in linear):
        stacks.setdefault(block.rpartition(".")[0], []).append(block)
    kept: set[str] = set()
    for blocks in stacks.values():
        half = len(blocks) // 2
        if layers in ("upper_half", "lower_half"):
            kept.update(blocks[half:] if layers == "upper_half" else blocks[:half])
            continue
        for number in map(int, layers.split(",")):
            if number >= len(blocks):
                raise UserError(
                    f"layers: this model has no layer {number}, only 0 to {len(blocks) - 1}"
                )
            kept.add(blocks[number])
    return kept


def _block(name: str) -> str:
    """The block that a module lies in: its name up to the first number."""
    parts = name.split(".")
    return ".".join(parts[: next(i for i, part in enumerate(parts) if part.isdigit()) + 1])


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _nothing(part: str, linear: tuple[str, ...]) -> str:
    leaves = sorted({_leaf(name) for name in linear})
    hint = did_you_mean(part, (*GROUPS, *leaves))
    there = ", ".join(leaves) or "no linear layer inside numbered blocks"
    told = "" if hint.startswith("known:") else f"; {hint}"
    return f"target modules '{part}' match no layer of this model{told}; it has: {there}"
