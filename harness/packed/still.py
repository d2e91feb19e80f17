"""Trained adapters in a shared forward pass without a way back: as answers are decoded.

Knows PEFT's layers and layouts, nothing of tasks or trials.
"""

from typing import NamedTuple

import torch
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor, nn

from harness.adapters.proof import NAME
from harness.packed.parts import Frozen, LoraPart, row_norms


class Still(NamedTuple):
    """What one adapter does to its rows of a linear layer, all that is constant made once.

    Attributes:
        first: A, shape (rank, in); the matrices that PiSSA or OLoRA took out below it.
        second: scale B, shape (out, rank); what was taken out beside it, with a minus.
        share: DoRA's magnitude by norm, shape (out,), or None.
    """

    first: Tensor
    second: Tensor
    share: Tensor | None

    def add(self, rows: Tensor, out: Tensor) -> None:
        """Makes of the frozen weights' outputs those of the adapted ones.

        Args:
            rows: inputs, shape (rows, in).
            out: outputs without bias, shape (rows, out); changed in place.
        """
        low = rows.to(self.first.dtype) @ self.first.T
        if out.dtype == low.dtype:
            out.addmm_(low, self.second.T)
        else:
            out.add_(low @ self.second.T)
        if self.share is not None:
            out.mul_(self.share)


@torch.no_grad()
def still(layer: LoraLayer, part: LoraPart, frozen: Frozen) -> Still:
    """An adapter's layer as it is now.

    Args:
        layer: PEFT's, whose weights count.
        part: the same in the pack, which knows what was taken out of the frozen weights.
        frozen: these weights.
    """
    first = layer.lora_A[NAME].get_parameter("weight").detach()
    second = layer.lora_B[NAME].get_parameter("weight").detach()
    scale = float(layer.scaling[NAME])
    share = None
    if isinstance(layer.lora_variant.get(NAME), DoraLinearVariant):
        vector: nn.Module = layer.lora_magnitude_vector[NAME]
        norms = row_norms(frozen, first, second, scale)
        share = (vector.get_parameter("weight").to(norms.dtype) / norms).to(first.dtype)
    if part.removed is None:
        return Still(first, scale * second, share)
    taken = part.removed
    below = torch.cat((first, taken.first.to(first.dtype)))
    beside = torch.cat((scale * second, -taken.scale * taken.second.to(second.dtype)), dim=1)
    return Still(below, beside, share)
