"""Keeps 4-bit weights as they are. Knows bitsandbytes' layers, nothing of harness's settings."""

from typing import Any

import torch
from torch import Tensor, nn

#: By name, for the package is slow to import and needed for such layers alone.
_CLASS = "Linear4bit"


def holds(layer: nn.Module) -> bool:
    """Whether a layer is bitsandbytes' own of 4-bit weights."""
    kind = type(layer)
    return kind.__name__ == _CLASS and kind.__module__.startswith("bitsandbytes.")


def whole(layer: nn.Module) -> Tensor:
    """The weights that a 4-bit layer stands for, shape (out, in), in what it computes in."""
    from bitsandbytes.functional import dequantize_4bit

    weight: Any = layer.weight
    full: Tensor = dequantize_4bit(weight.data, weight.quant_state)
    return full.to(computes_in(layer))


def computes_in(layer: nn.Module) -> torch.dtype:
    """The precision of a 4-bit layer's products."""
    weight: Any = layer.weight
    found: torch.dtype = getattr(layer, "compute_dtype", None) or weight.quant_state.dtype
    return found


def keep_layout(model: nn.Module) -> None:
    """Has a model's 4-bit layers compute alike on every processor, in scoring as in training.

    On one with AVX512-BF16, bitsandbytes 0.50 lays the weights out anew at the first forward pass
    in evaluation mode: scales are rounded to bfloat16 for good, layers narrower than a block fail,
    and no gradient comes through such a layer in training afterwards.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
