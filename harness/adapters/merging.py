"""Runs an adapter inside the base's matrices while answers are decoded.

Knows PEFT's layers, nothing of variants, data or trials.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

#: Kinds of layers whose weights can be added to.
_PLAIN: Final = frozenset({nn.Linear, Conv1D})
#: Weights that are copied for merged scoring at most: 256 MB. Larger models lose little unmerged.
_MERGED_NUMBERS: Final = 64_000_000


def possible(layers: Iterable[BaseTunerLayer]) -> bool:
    """Whether adapters can run inside the base's matrices, unrounded and without large copies."""
    bases: list[nn.Module] = [layer.get_base_layer() for layer in layers]
    weights = [base.get_parameter("weight") for base in bases]
    plain = all(type(base) in _PLAIN for base in bases)
    full = all(weight.dtype == torch.float32 for weight in weights)
    return plain and full and sum(weight.numel() for weight in weights) <= _MERGED_NUMBERS


@contextmanager
def merged(model: PreTrainedModel) -> Iterator[None]:
    """Runs the attached adapter inside the base's matrices, which saves decoding a third.

    The sums are new tensors that take the place of the frozen ones for the time being; those are
    neither written to nor recomputed, but put back. Where the sum would be rounded (a base in half
    precision or quantised) or large (`_MERGED_NUMBERS`), and without an adapter, nothing happens.
    """
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    if not possible(layers):
        yield
        return
    bases: list[nn.Module] = [layer.get_base_layer() for layer in layers]
    weights = [base.get_parameter("weight") for base in bases]
    frozen = [weight.data for weight in weights]
    before = [layer.__dict__.get("forward") for layer in layers]
    try:
        with torch.no_grad():
            for layer, base in zip(layers, bases, strict=True):
                layer.merge(safe_merge=True)  # makes a new tensor, unlike an unsafe merge
                layer.forward = base.forward  # past PEFT's checks, which cost as much as the rest
        yield
    finally:
        for layer, weight, data, forward in zip(layers, weights, frozen, before, strict=True):
            weight.data = data
            layer.merged_adapters.clear()
            layer.__dict__.pop("forward", None)
            if forward is not None:
                layer.forward = forward
