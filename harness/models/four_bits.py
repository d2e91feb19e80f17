"""Keeps 4-bit weights as they are. Knows bitsandbytes' layers, nothing of harness's settings."""

from torch import nn


def keep_layout(model: nn.Module) -> None:
    """Has a model's 4-bit layers compute alike on every processor, in scoring as in training.

    On one with AVX512-BF16, bitsandbytes 0.50 lays the weights out anew at the first forward pass
    in evaluation mode: scales are rounded to bfloat16 for good, layers narrower than a block fail,
    and no gradient comes through such a layer in training afterwards.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
