"""Dropout whose random numbers cost little on a processor.

`torch.nn.Dropout` draws one number of a sequential generator for each element, which on a CPU
takes longer than the small matrix product that follows. Here 16 bits are drawn for each element,
from a generator of NumPy that is seeded by one draw of torch's. Knows nothing of data or trials.
"""

from typing import Final

import numpy as np
import torch
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn

#: Values of 16 bits.
_VALUES: Final = 1 << 16


class QuickDropout(nn.Module):
    """Takes the place of `torch.nn.Dropout`: the same distribution, other numbers.

    `torch.manual_seed` governs it. What is kept is scaled so that the expectation stays, exactly,
    for the probability in use: `p` rounded to 1/65,536.

    Args:
        p: share of elements set to zero, in [0, 1).
    """

    def __init__(self, p: float) -> None:
        """Rounds `p`; draws nothing."""
        super().__init__()
        self.p = p
        self._dropped = round(p * _VALUES)

    def forward(self, x: Tensor) -> Tensor:
        """Zeroes elements while training; `x` itself in evaluation mode."""
        if not self.training or not self._dropped:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.p)
        seed = int(torch.randint(1 << 62, ()))
        bits = np.random.SFC64(seed).random_raw(-(-x.numel() // 4)).view(np.int16)[: x.numel()]
        kept = bits >= self._dropped - _VALUES // 2
        scaled = np.multiply(kept, _VALUES / (_VALUES - self._dropped), dtype=np.float32)
        return x * torch.from_numpy(scaled).view(x.shape).to(x.dtype)

    def extra_repr(self) -> str:
        """As `torch.nn.Dropout` shows itself."""
        return f"p={self.p}"


def quicken(model: nn.Module) -> None:
    """Replaces the dropout of each adapter layer below `model`; the base's own stays."""
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            for name, dropout in layer.lora_dropout.items():
                if type(dropout) is nn.Dropout:
                    layer.lora_dropout[name] = QuickDropout(dropout.p).train(dropout.training)
