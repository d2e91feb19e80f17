"""A plain LoRA layer in as few operations as it takes: PEFT's result, sooner.

PEFT writes `W x + (B A x) * scale` as separate steps, each a pass over the whole output, and again
on the way back. Here the update is added inside the matrix products (`addmm`), forwards and
backwards. Only layers of which PEFT's own formula is known are taken: plain LoRA and what shares
its formula (rsLoRA, LoRA+) on an unquantised `nn.Linear`, in one precision throughout. All others
keep PEFT's way. Knows nothing of data, optimisers or trials.
"""

from types import MethodType
from typing import Any

from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional


def fuse(model: nn.Module) -> int:
    """Gives each layer that allows it the short way; call it once an adapter is attached.

    Args:
        model: with one adapter.

    Returns:
        How many layers were taken.
    """
    layers = [module for module in model.modules() if _is_plain(module)]
    for layer in layers:
        layer.forward = MethodType(_forward, layer)
    return len(layers)


def _is_plain(module: nn.Module) -> bool:
    if type(module) is not LoraLinear or module.lora_variant or len(module.active_adapters) != 1:
        return False
    base, name = module.base_layer, module.active_adapters[0]
    if type(base) is not nn.Linear or name not in module.lora_A or module.fan_in_fan_out:
        return False
    first, second = module.lora_A[name], module.lora_B[name]
    matrices = (base.weight, first.weight, second.weight)
    return first.bias is second.bias is None and len({one.dtype for one in matrices}) == 1


def _forward(layer: LoraLinear, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """In place of `peft.tuners.lora.layer.Linear.forward`."""
    base, name = layer.base_layer, layer.active_adapters[0]
    first, second = layer.lora_A[name].weight, layer.lora_B[name].weight
    if layer.disable_adapters or layer.merged or args or kwargs or x.dtype != first.dtype:
        usual: Tensor = LoraLinear.forward(layer, x, *args, **kwargs)
        return usual
    rows = x.reshape(-1, x.shape[-1])
    dropped = layer.lora_dropout[name](x)
    seen = rows if dropped is x else dropped.reshape(rows.shape)
    out: Tensor = _Fused.apply(  # type: ignore[no-untyped-call]
        rows, seen, base.weight, base.bias, first, second, float(layer.scaling[name])
    )
    return out.view(*x.shape[:-1], out.shape[-1])


class _Fused(Function):
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
        for_first = back.T @ seen
        for_second = (gradient.T @ low).mul_(scale)
        for_rows = for_seen = None
        if ctx.needs_input_grad[0]:
            for_rows = gradient @ weight
            if ctx.same:
                for_rows.addmm_(back, first)
        if not ctx.same and ctx.needs_input_grad[1]:
            for_seen = back @ first
        return for_rows, for_seen, None, None, for_first, for_second, None
