"""Dropout whose random numbers cost little on a processor.

`torch.nn.Dropout` draws one number of a sequential generator for each element, which on a CPU
takes longer than the small matrix product that follows. Here only the gaps between the elements
that are dropped are drawn, from a generator of NumPy that is seeded by one draw of torch's: of a
hundred elements five numbers, not a hundred. Knows nothing of data or trials.
"""

import math
from typing import Any

import numpy as np
import torch
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn
from torch.autograd import Function


def dropped_places(count: int, p: float, seed: int) -> Tensor:
    """Which of `count` elements are dropped, each with probability `p`, independently.

    Gaps between successes of a Bernoulli sequence are geometric; `ceil(E / -log(1 - p))` of a
    standard exponential `E` is (Devroye 1986, Non-Uniform Random Variate Generation, X.2.1).

    Args:
        count: elements.
        p: in (0, 1).
        seed: of the generator.

    Returns:
        Their indices, ascending, int64.
    """
    generator = np.random.Generator(np.random.SFC64(seed))
    rate = -math.log1p(-p)
    expected = count * p
    more = int(expected + 4 * math.sqrt(expected) + 8)
    found: list[np.ndarray[Any, Any]] = []
    last = -1
    while last < count:
        gaps = np.ceil(generator.standard_exponential(more) / rate).astype(np.int64)
        np.maximum(gaps, 1, out=gaps)  # an exponential may be exactly 0
        places = np.cumsum(gaps) + last
        found.append(places)
        last = int(places[-1])
    whole = found[0] if len(found) == 1 else np.concatenate(found)
    return torch.from_numpy(whole[: np.searchsorted(whole, count)])


def drop(x: Tensor, places: Tensor, p: float) -> Tensor:
    """Elements of `x` at these places are zero; the others are scaled so that the mean stays."""
    out = torch.mul(x, 1 / (1 - p)).contiguous()
    out.view(-1).index_fill_(0, places, 0)
    return out


class _Drop(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, p: float) -> Tensor:
        ctx.places, ctx.p = places, p
        return drop(x, places, p)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return drop(gradient, ctx.places, ctx.p), None, None


class QuickDropout(nn.Module):
    """Takes the place of `torch.nn.Dropout`: the same distribution, other numbers.

    `torch.manual_seed` governs it.

    Args:
        p: share of elements set to zero, in [0, 1).
    """

    def __init__(self, p: float) -> None:
        """Draws nothing."""
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Zeroes elements while training; `x` itself in evaluation mode."""
        if not self.training or not self.p:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.p)
        places = dropped_places(x.numel(), self.p, int(torch.randint(1 << 62, ())))
        found: Tensor = _Drop.apply(x, places, self.p)  # type: ignore[no-untyped-call]
        return found

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
