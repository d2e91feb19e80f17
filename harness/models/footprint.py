"""What the frozen base takes in memory: its linear layers, and all that stays as it is.

Knows how bitsandbytes keeps 4-bit and 8-bit weights, nothing of adapters.
"""

from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from harness.models import token_head


class Footprint(NamedTuple):
    """Bytes of a base's weights.

    Attributes:
        linear: linear layers but the output head, with all that is needed to read them.
        linear_in_bfloat16: the same at two bytes a weight.
        rest: embeddings, output head, norms and biases.
    """

    linear: int
    linear_in_bfloat16: int
    rest: int


def footprint(model: PreTrainedModel) -> Footprint:
    """Measures a base without adapter."""
    own, new = model.get_output_embeddings(), token_head.find(model)  # type: ignore[no-untyped-call]
    head = own if new is None else new.module
    linear = plain = 0
    counted: set[int] = set()
    for module in model.modules():
        if isinstance(module, nn.Linear | Conv1D) and module is not head:
            weight = module.get_parameter("weight")
            counted.add(id(weight))
            linear += _bytes(weight)
            rows, columns = _shape(module)
            plain += 2 * rows * columns
    rest = [weight for weight in model.parameters() if id(weight) not in counted]
    return Footprint(linear, plain, sum(map(_bytes, [*rest, *model.buffers()])))


def _shape(module: nn.Linear | Conv1D) -> tuple[int, int]:
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    rows, columns = module.weight.shape
    return int(rows), int(columns)


def _bytes(tensor: torch.Tensor) -> int:
    state: Any = getattr(tensor, "quant_state", None)
    parts = [tensor, getattr(tensor, "SCB", None)]
    while state is not None:  # scales, and with double quantisation the scales' scales
        parts += [state.absmax, state.code, state.offset]
        state = state.state2
    return sum(part.nbytes for part in parts if isinstance(part, torch.Tensor))
