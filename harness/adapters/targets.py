"""Resolves a sweep's target modules (`qv`, `all_linear`, ...) to a model's module names.

Uses the names and classes of the modules, so it works with and without weights. The output head
and the embeddings are never targets. PEFT silently accepts names that match only some of the
layers; here that is an error.
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
#: One matrix for query, key and value: it cannot be split, so only `qkv` selects it.
_FUSED: Final = frozenset(
    {"c_attn", "query_key_value", "qkv_proj", "qkv", "Wqkv", "wqkv", "W_pack", "in_proj"}
)


def target_names(model: nn.Module, group: str, layers: str = "all") -> tuple[str, ...]:
    """Module names for `peft.LoraConfig(target_modules=...)`.

    Where query, key and value are one matrix (GPT-2, GPT-NeoX, BLOOM, Falcon, Phi-3), `qkv` is
    that matrix, and `q` and `qv` are errors.

    Args:
        model: a causal language model, with or without weights, without adapter.
        group: one of `GROUPS`, or names of groups and modules joined by `+`.
        layers: `all`, `upper_half` (those next to the output), `lower_half`, or layer numbers
            joined by commas.

    Returns:
        The shortest suffixes that match these modules and no others, sorted.

    Raises:
        UserError: a part matches nothing, or not every layer, or only part of a fused matrix; the
            message lists the names that exist.
    """
    linear = _linear_modules(model)
    targets: set[str] = set()
    for part in map(str.strip, group.split("+")):
        matching = _matching_modules(linear, part)
        if not matching:
            raise UserError(_no_match_message(part, linear))
        # A name with a number means one layer; all others must match every layer.
        if not any(piece.isdigit() for piece in part.split(".")):
            _require_every_block(part, matching, linear)
        targets.update(matching)
    if layers != "all":
        blocks = _blocks_of_layers(layers, linear)
        targets = {name for name in targets if _block_of(name) in blocks}
    others = [name for name, _ in model.named_modules() if name and name not in targets]
    return _suffixes(sorted(targets), others)


def is_transposed(model: nn.Module, names: Iterable[str]) -> bool:
    """Whether these targets store their weights as (in, out), as GPT-2's `Conv1D` does."""
    suffixes = tuple(names)
    return any(
        isinstance(module, Conv1D) and has_suffix(name, *suffixes)
        for name, module in model.named_modules()
    )


def has_suffix(name: str, *suffixes: str) -> bool:
    """Whether one of some suffixes names this module, whole parts of the name compared."""
    return any(name == suffix or name.endswith(f".{suffix}") for suffix in suffixes)


def _linear_modules(model: nn.Module) -> tuple[str, ...]:
    """Full names of the linear layers in numbered blocks, without output head and MoE routers."""
    head = None
    if isinstance(model, PreTrainedModel):
        head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return tuple(
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and module is not head
        and any(part.isdigit() for part in name.split("."))
        and _last_name(name) not in _ROUTERS
    )


def _matching_modules(linear: Iterable[str], part: str) -> set[str]:
    attention = {name for name in linear if _ATTENTION.search(name.rpartition(".")[0])}
    if part == "all_linear":
        return set(linear)
    if part == "attention":
        return attention
    if part == "mlp":
        return set(linear) - attention
    if part in GROUPS:
        leaf_names = frozenset().union(*(_ROLES[letter] for letter in part))
        separate = {name for name in attention if _last_name(name) in leaf_names}
        fused = {name for name in attention if _last_name(name) in _FUSED}
        if fused and not separate and part != "qkv":
            raise UserError(
                f"target modules '{part}' do not exist on this model: query, key and value are "
                f"one matrix ({', '.join(sorted({_last_name(name) for name in fused}))}); use qkv"
            )
        return separate or fused
    return {name for name in linear if has_suffix(name, part)}


def _suffixes(targets: list[str], others: list[str]) -> tuple[str, ...]:
    # GPT-2 has attn.c_proj and mlp.c_proj: a name is lengthened until it matches no other module.
    suffixes: set[str] = set()
    for name in targets:
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            suffix = ".".join(parts[-length:])
            if suffix in suffixes or not any(has_suffix(other, suffix) for other in others):
                suffixes.add(suffix)
                break
    return tuple(sorted(suffixes))


def _require_every_block(part: str, matching: set[str], linear: tuple[str, ...]) -> None:
    """Raises a `UserError` where some of the blocks have no matching module."""
    blocks = dict.fromkeys(_block_of(name) for name in linear)
    covered = {_block_of(name) for name in matching}
    missing = [block for block in blocks if block not in covered]
    if missing:
        raise UserError(
            f"target modules '{part}' match only {len(covered)} of {len(blocks)} layers of this "
            f"model, not {missing[0]}; name the modules of each type of layer, joined by +"
        )


def _blocks_of_layers(layers: str, linear: tuple[str, ...]) -> set[str]:
    """The blocks of these layers, numbered within each stack of blocks (T5 has two)."""
    stacks: dict[str, list[str]] = {}
    for block in dict.fromkeys(_block_of(name) for name in linear):
        stacks.setdefault(block.rpartition(".")[0], []).append(block)
    selected: set[str] = set()
    for blocks in stacks.values():
        middle = len(blocks) // 2
        if layers in ("upper_half", "lower_half"):
            selected.update(blocks[middle:] if layers == "upper_half" else blocks[:middle])
            continue
        for number in map(int, layers.split(",")):
            if number >= len(blocks):
                raise UserError(
                    f"layers: this model has no layer {number}, only 0 to {len(blocks) - 1}"
                )
            selected.add(blocks[number])
    return selected


def _block_of(name: str) -> str:
    """The block that contains a module: its name up to the first number."""
    parts = name.split(".")
    return ".".join(parts[: next(i for i, part in enumerate(parts) if part.isdigit()) + 1])


def _last_name(name: str) -> str:
    return name.rpartition(".")[2]


def _no_match_message(part: str, linear: tuple[str, ...]) -> str:
    leaves = sorted({_last_name(name) for name in linear})
    hint = did_you_mean(part, (*GROUPS, *leaves))
    existing = ", ".join(leaves) or "no linear layer inside numbered blocks"
    suggestion = "" if hint.startswith("known:") else f"; {hint}"
    return f"target modules '{part}' match no layer of this model{suggestion}; it has: {existing}"
