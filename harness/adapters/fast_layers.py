"""Faster training of LoRA and DoRA layers: fused forward and backward, and cheap CPU dropout.

PEFT computes `W x + (B A x) * scale` in separate steps, each a pass over the output, and again in
the backward pass. Here the update is added inside the matrix products (`addmm`). Only layers with
a known formula are replaced: plain LoRA and what shares its formula (rsLoRA, LoRA+), and DoRA, on
an unquantised `nn.Linear`, in one precision throughout. All other layers, and all scoring, run
PEFT's own code, bit for bit.

`torch.nn.Dropout` draws one number of a sequential generator for each element, which on a CPU
takes longer than the small matrix product that follows. `FastDropout` draws only the gaps between
dropped elements: at p = 0.05 five numbers for a hundred elements.
"""

import math
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
    """Replaces the forward pass of each layer that can be fused, and returns how many can.

    Call it on a model with one attached adapter.
    """
    layers = [module for module in model.modules() if _can_fuse(module)]
    for layer in layers:
        layer.forward = MethodType(_fused_forward, layer)
    return len(layers)


def _can_fuse(module: nn.Module) -> bool:
    """Whether a layer has a fused `forward`; elsewhere PEFT's own has to stay."""
    if type(module) is not LoraLinear or len(module.active_adapters) != 1:
        return False
    base, name = module.base_layer, module.active_adapters[0]
    # Exact types: a subclass, such as a quantised layer, may compute something else.
    if type(base) is not nn.Linear or name not in module.lora_A or module.fan_in_fan_out:
        return False
    lora_a, lora_b = module.lora_A[name], module.lora_B[name]
    matrices = (base.weight, lora_a.weight, lora_b.weight)
    dtypes = {matrix.dtype for matrix in matrices}
    if lora_a.bias is not None or lora_b.bias is not None or len(dtypes) != 1:
        return False
    if not module.lora_variant:
        return True
    is_dora = type(module.lora_variant.get(name)) is DoraLinearVariant
    return is_dora and dtypes == {torch.float32}


def _fused_forward(layer: LoraLinear, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Replaces `peft.tuners.lora.layer.Linear.forward`."""
    base, name = layer.base_layer, layer.active_adapters[0]
    lora_a, lora_b = layer.lora_A[name].weight, layer.lora_B[name].weight
    unsupported = (
        layer.disable_adapters or layer.merged or args or kwargs or x.dtype != lora_a.dtype
    )
    if unsupported or not torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type):
        # Scoring (no gradient) takes this branch too, so that its bits are PEFT's.
        output: Tensor = LoraLinear.forward(layer, x, *args, **kwargs)
        return output
    rows = x.reshape(-1, x.shape[-1])
    dropped = layer.lora_dropout[name](x)
    lora_rows = rows if dropped is x else dropped.reshape(rows.shape)
    tensors = (rows, lora_rows, base.weight, base.bias, lora_a, lora_b)
    scale = float(layer.scaling[name])
    out: Tensor
    if layer.lora_variant:  # DoRA
        magnitude = layer.lora_magnitude_vector[name].get_parameter("weight")
        out = _FusedDora.apply(*tensors, scale, magnitude)  # type: ignore[no-untyped-call]
    else:
        out = _FusedLora.apply(*tensors, scale)  # type: ignore[no-untyped-call]
    return out.view(*x.shape[:-1], out.shape[-1])


class _FusedLora(Function):
    """`rows Wᵀ + bias + scale (seen Aᵀ) Bᵀ`; W and bias are frozen.

    `lora_rows` is `rows`, or what dropout left of it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        lora_rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        lora_a: Tensor,
        lora_b: Tensor,
        scale: float,
    ) -> Tensor:
        low_rank = lora_rows @ lora_a.T
        ctx.save_for_backward(lora_rows, weight, lora_a, lora_b, low_rank)
        ctx.scale, ctx.no_dropout = scale, lora_rows is rows
        return functional.linear(rows, weight, bias).addmm_(low_rank, lora_b.T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        lora_rows, weight, lora_a, lora_b, low_rank = ctx.saved_tensors
        scale: float = ctx.scale
        low_rank_gradient = (gradient @ lora_b).mul_(scale)
        gradient_a = low_rank_gradient.T @ lora_rows if ctx.needs_input_grad[4] else None
        gradient_b = (gradient.T @ low_rank).mul_(scale)
        gradient_rows = gradient_lora_rows = None
        if ctx.needs_input_grad[0]:
            gradient_rows = gradient @ weight
            if ctx.no_dropout:
                gradient_rows.addmm_(low_rank_gradient, lora_a)
        if not ctx.no_dropout and ctx.needs_input_grad[1]:
            gradient_lora_rows = low_rank_gradient @ lora_a
        return gradient_rows, gradient_lora_rows, None, None, gradient_a, gradient_b, None


class _FusedDora(Function):
    """`rows Wᵀ + bias + share (seen Wᵀ + scale (seen Aᵀ) Bᵀ) - seen Wᵀ`.

    The share of each output is its magnitude over the norm of its row in `W + scale B A`; that
    norm is a constant in the backward pass (Liu et al. 2024, arXiv 2402.09353, section 4.3). As in
    PEFT, the direction sees dropout before the frozen weights too. Without dropout `lora_rows` is
    `rows`, and the product with the frozen weights is computed once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        lora_rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        lora_a: Tensor,
        lora_b: Tensor,
        scale: float,
        magnitude: Tensor,
    ) -> Tensor:
        norm = torch.linalg.vector_norm(torch.addmm(weight, lora_b, lora_a, alpha=scale), dim=1)
        ratio = magnitude / norm
        low_rank = lora_rows @ lora_a.T
        if lora_rows is rows:
            direction = functional.linear(rows, weight).addmm_(low_rank, lora_b.T, alpha=scale)
            out = direction * ratio if bias is None else torch.addcmul(bias, direction, ratio)
        else:
            base_output = functional.linear(lora_rows, weight)
            direction = torch.addmm(base_output, low_rank, lora_b.T, alpha=scale)
            out = functional.linear(rows, weight, bias)
            out.sub_(base_output).addcmul_(direction, ratio)
        ctx.save_for_backward(lora_rows, weight, lora_a, lora_b, low_rank, direction, norm, ratio)
        ctx.scale, ctx.no_dropout = scale, lora_rows is rows
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        lora_rows, weight, lora_a, lora_b, low_rank, direction, norm, ratio = ctx.saved_tensors
        scale: float = ctx.scale
        gradient_magnitude = (gradient * direction).sum(0) / norm
        scaled_gradient = gradient * ratio
        low_rank_gradient = (scaled_gradient @ lora_b).mul_(scale)
        gradient_a = low_rank_gradient.T @ lora_rows if ctx.needs_input_grad[4] else None
        gradient_b = (scaled_gradient.T @ low_rank).mul_(scale)
        gradient_rows = gradient_lora_rows = None
        if ctx.no_dropout:
            if ctx.needs_input_grad[0]:
                gradient_rows = (scaled_gradient @ weight).addmm_(low_rank_gradient, lora_a)
        else:
            if ctx.needs_input_grad[0]:
                gradient_rows = gradient @ weight
            if ctx.needs_input_grad[1]:
                gradient_lora_rows = (scaled_gradient - gradient) @ weight
                gradient_lora_rows.addmm_(low_rank_gradient, lora_a)
        gradients = (gradient_a, gradient_b, None, gradient_magnitude)
        return gradient_rows, gradient_lora_rows, None, None, *gradients


#: Fewest events drawn by one call of the generator, whose fixed cost they share.
_MIN_EVENTS: Final = 1024


class DroppedPositions:
    """Positions of dropped elements in an endless sequence, each dropped with probability `p`.

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
        self._positions: np.ndarray[Any, Any] = np.empty(0, np.int64)
        self._reached = 0.0

    def take(self, count: int) -> Tensor:
        """The dropped positions among the next `count` elements.

        Returns:
            Their indices, ascending, int64; an element hit by two events appears twice.
        """
        while self._reached < count:
            self._draw(count)
        end = int(np.searchsorted(self._positions, count))
        positions, self._positions = self._positions[:end], self._positions[end:] - count
        self._reached -= count
        return torch.from_numpy(positions)

    def _draw(self, count: int) -> None:
        missing = (count - self._reached) * self._rate
        events = max(_MIN_EVENTS, int(missing + 4 * math.sqrt(missing) + 8))
        times = np.cumsum(self._generator.standard_exponential(events))
        times *= 1 / self._rate
        times += self._reached
        self._reached = float(times[-1])
        self._positions = np.concatenate((self._positions, times.astype(np.int64)))


def dropout(x: Tensor, positions: Tensor, p: float) -> Tensor:
    """`x` with zeros at these flat positions and the rest scaled by 1 / (1 - p)."""
    out = torch.mul(x, 1 / (1 - p)).contiguous()
    out.view(-1).index_fill_(0, positions, 0)
    return out


class _SparseDropout(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, positions: Tensor, p: float) -> Tensor:
        ctx.positions, ctx.p = positions, p
        return dropout(x, positions, p)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return dropout(gradient, ctx.positions, ctx.p), None, None


class FastDropout(nn.Module):
    """Replaces `torch.nn.Dropout`: the same distribution from other random numbers.

    Reproducible with `torch.manual_seed`.

    Args:
        p: share of elements set to zero, in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """`x` with dropout in training mode, `x` itself in evaluation mode."""
        if not self.training or not self.p:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.p)
        seed = int(torch.randint(1 << 62, ()))
        positions = DroppedPositions(self.p, seed).take(x.numel())
        output: Tensor = _SparseDropout.apply(x, positions, self.p)  # type: ignore[no-untyped-call]
        return output

    def extra_repr(self) -> str:
        """As `torch.nn.Dropout`'s."""
        return f"p={self.p}"


def use_fast_dropout(model: nn.Module) -> None:
    """Replaces the dropout modules of the adapter layers in `model`; the base's own stay."""
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            for name, dropout in layer.lora_dropout.items():
                if type(dropout) is nn.Dropout:
                    layer.lora_dropout[name] = FastDropout(dropout.p).train(dropout.training)
