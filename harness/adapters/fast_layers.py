"""A LoRA or DoRA layer in as few operations as it takes: PEFT's result, sooner.

PEFT writes `W x + (B A x) * scale` as separate steps, each a pass over the whole output, and again
on the way back. Here the update is added inside the matrix products (`addmm`), forwards and
backwards. Only layers of which PEFT's own formula is known are taken: plain LoRA and what shares
its formula (rsLoRA, LoRA+), and DoRA, on an unquantised `nn.Linear`, in one precision throughout.
All others keep PEFT's way, and so does all scoring, to the last bit. Knows nothing of data,
optimisers or trials.

Dropout whose random numbers cost little on a processor.

`torch.nn.Dropout` draws one number of a sequential generator for each element, which on a CPU
takes longer than the small matrix product that follows. Here only the gaps between the elements
that are dropped are drawn, from a generator of NumPy that is seeded by one draw of torch's: of a
hundred elements five numbers, not a hundred. Knows nothing of data or trials.
"""

import math
from collections.abc import Callable
from types import MethodType
from typing import Any, Final

import numpy as np
import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional


def fuse_lora_layers(model: nn.Module) -> int:
    """Gives each layer that allows it the short way; call it once an adapter is attached.

    Args:
        model: with one adapter.

    Returns:
        How many layers were taken.
    """
    taken = 0
    for module in model.modules():
        forward = _forward_of(module)
        if forward is not None:
            module.forward = MethodType(forward, module)
            taken += 1
    return taken


def _forward_of(module: nn.Module) -> Callable[..., Tensor] | None:
    """What can take the place of the layer's `forward`; None where PEFT's has to stay."""
    if type(module) is not LoraLinear or len(module.active_adapters) != 1:
        return None
    base, name = module.base_layer, module.active_adapters[0]
    if type(base) is not nn.Linear or name not in module.lora_A or module.fan_in_fan_out:
        return None
    first, second = module.lora_A[name], module.lora_B[name]
    matrices = (base.weight, first.weight, second.weight)
    if not (first.bias is second.bias is None and len({one.dtype for one in matrices}) == 1):
        return None
    if not module.lora_variant:
        return _lora
    plain = type(module.lora_variant.get(name)) is DoraLinearVariant
    return _dora if plain and first.weight.dtype == torch.float32 else None


def _lora(layer: LoraLinear, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """In place of `peft.tuners.lora.layer.Linear.forward`."""
    return _run(_FusedLora, layer, x, (), args, kwargs)


def _dora(layer: LoraLinear, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The same with DoRA's magnitude."""
    name = layer.active_adapters[0]
    magnitude = layer.lora_magnitude_vector[name].get_parameter("weight")
    return _run(_FusedDora, layer, x, (magnitude,), args, kwargs)


def _run(
    function: type[Function],
    layer: LoraLinear,
    x: Tensor,
    further: tuple[Tensor, ...],
    args: Any,
    kwargs: Any,
) -> Tensor:
    base, name = layer.base_layer, layer.active_adapters[0]
    first, second = layer.lora_A[name].weight, layer.lora_B[name].weight
    other = layer.disable_adapters or layer.merged or args or kwargs or x.dtype != first.dtype
    if other or not torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type):
        usual: Tensor = LoraLinear.forward(layer, x, *args, **kwargs)
        return usual
    rows = x.reshape(-1, x.shape[-1])
    dropped = layer.lora_dropout[name](x)
    seen = rows if dropped is x else dropped.reshape(rows.shape)
    out: Tensor = function.apply(  # type: ignore[no-untyped-call]
        rows, seen, base.weight, base.bias, first, second, float(layer.scaling[name]), *further
    )
    return out.view(*x.shape[:-1], out.shape[-1])


class _FusedLora(Function):
    """`rows Wᵀ + bias + scale (seen Aᵀ) Bᵀ`; W and bias are frozen.

    `seen` is `rows`, or what dropout left of it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        seen: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        first: Tensor,
        second: Tensor,
        scale: float,
    ) -> Tensor:
        low = seen @ first.T
        ctx.save_for_backward(seen, weight, first, second, low)
        ctx.scale, ctx.same = scale, seen is rows
        return functional.linear(rows, weight, bias).addmm_(low, second.T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        seen, weight, first, second, low = ctx.saved_tensors
        scale: float = ctx.scale
        back = (gradient @ second).mul_(scale)
        for_first = back.T @ seen if ctx.needs_input_grad[4] else None
        for_second = (gradient.T @ low).mul_(scale)
        for_rows = for_seen = None
        if ctx.needs_input_grad[0]:
            for_rows = gradient @ weight
            if ctx.same:
                for_rows.addmm_(back, first)
        if not ctx.same and ctx.needs_input_grad[1]:
            for_seen = back @ first
        return for_rows, for_seen, None, None, for_first, for_second, None


class _FusedDora(Function):
    """`rows Wᵀ + bias + share (seen Wᵀ + scale (seen Aᵀ) Bᵀ) - seen Wᵀ`.

    The share of each output is its magnitude over the norm of its row in `W + scale B A`; that
    norm is a constant on the way back (Liu et al. 2024, arXiv 2402.09353, section 4.3). As in
    PEFT, dropout is before the frozen weights too wherever they count for the direction. Without
    dropout `seen` is `rows`, and what the frozen weights make is made once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        seen: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        first: Tensor,
        second: Tensor,
        scale: float,
        magnitude: Tensor,
    ) -> Tensor:
        norm = torch.linalg.vector_norm(torch.addmm(weight, second, first, alpha=scale), dim=1)
        share = magnitude / norm
        low = seen @ first.T
        if seen is rows:
            direction = functional.linear(rows, weight).addmm_(low, second.T, alpha=scale)
            out = direction * share if bias is None else torch.addcmul(bias, direction, share)
        else:
            frozen = functional.linear(seen, weight)
            direction = torch.addmm(frozen, low, second.T, alpha=scale)
            out = functional.linear(rows, weight, bias).sub_(frozen).addcmul_(direction, share)
        ctx.save_for_backward(seen, weight, first, second, low, direction, norm, share)
        ctx.scale, ctx.same = scale, seen is rows
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        seen, weight, first, second, low, direction, norm, share = ctx.saved_tensors
        scale: float = ctx.scale
        for_magnitude = (gradient * direction).sum(0) / norm
        shared = gradient * share
        back = (shared @ second).mul_(scale)
        for_first = back.T @ seen if ctx.needs_input_grad[4] else None
        for_second = (shared.T @ low).mul_(scale)
        for_rows = for_seen = None
        if ctx.same:
            if ctx.needs_input_grad[0]:
                for_rows = (shared @ weight).addmm_(back, first)
        else:
            if ctx.needs_input_grad[0]:
                for_rows = gradient @ weight
            if ctx.needs_input_grad[1]:
                for_seen = ((shared - gradient) @ weight).addmm_(back, first)
        return for_rows, for_seen, None, None, for_first, for_second, None, for_magnitude


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


def dropout(x: Tensor, places: Tensor, p: float) -> Tensor:
    """Elements of `x` at these places are zero; the others are scaled so that the mean stays."""
    out = torch.mul(x, 1 / (1 - p)).contiguous()
    out.view(-1).index_fill_(0, places, 0)
    return out


class _Drop(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, p: float) -> Tensor:
        ctx.places, ctx.p = places, p
        return dropout(x, places, p)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return dropout(gradient, ctx.places, ctx.p), None, None


class FastDropout(nn.Module):
    """Takes the place of `torch.nn.Dropout`: the same distribution, other numbers.

    `torch.manual_seed` governs it.

    Args:
        p: share of elements set to zero, in [0, 1).
    """

    def __init__(self, p: float) -> None:
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


def use_fast_dropout(model: nn.Module) -> None:
    """Replaces the dropout of each adapter layer below `model`; the base's own stays."""
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            for name, dropout in layer.lora_dropout.items():
                if type(dropout) is nn.Dropout:
                    layer.lora_dropout[name] = FastDropout(dropout.p).train(dropout.training)
