"""Dropout whose random numbers cost little on a processor.

`torch.nn.Dropout` draws one number of a sequential generator for each element, which on a CPU
takes longer than the small matrix product that follows. Here only the gaps between the elements
that are dropped are drawn, from a generator of NumPy that is seeded by one draw of torch's: of a
hundred elements five numbers, not a hundred. Knows nothing of data or trials.
"""

import math
from typing import Any, Final

import numpy as np
import torch
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn
from torch.autograd import Function

#: Events are drawn so many at a time at least: each call costs something, too.
_AT_ONCE: Final = 1024


class DroppedPlaces:
    """An endless row of elements, each dropped with probability `p`, independently.

    An element is dropped if an event of a Poisson process falls on it, whose rate is
    `-log(1 - p)` an element; the time between two events is exponential (Devroye 1986,
    Non-Uniform Random Variate Generation, X.2.1).

    Args:
        p: in (0, 1).
        seed: of the generator.
    """

    def __init__(self, p: float, seed: int) -> None:
        """Draws nothing yet."""
        self._generator = np.random.Generator(np.random.SFC64(seed))
        self._rate = -math.log1p(-p)
        self._places: np.ndarray[Any, Any] = np.empty(0, np.int64)
        self._reached = 0.0

    def following(self, count: int) -> Tensor:
        """Those of the next `count` elements.

        Returns:
            Their indices, ascending, int64; one that was hit twice is named twice.
        """
        while self._reached < count:
            self._draw(count)
        end = int(np.searchsorted(self._places, count))
        found, self._places = self._places[:end], self._places[end:] - count
        self._reached -= count
        return torch.from_numpy(found)

    def _draw(self, count: int) -> None:
        missing = (count - self._reached) * self._rate
        more = max(_AT_ONCE, int(missing + 4 * math.sqrt(missing) + 8))
        times = np.cumsum(self._generator.standard_exponential(more))
        times *= 1 / self._rate
        times += self._reached
        self._reached = float(times[-1])
        self._places = np.concatenate((self._places, times.astype(np.int64)))


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
        seed = int(torch.randint(1 << 62, ()))
        places = DroppedPlaces(self.p, seed).following(x.numel())
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
