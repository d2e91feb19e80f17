"""A frozen linear layer that several adapters share: one matrix product for the rows of all.

Knows layouts and parts, nothing of models, variants or trials.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from harness.models import four_bits
from harness.packed.four_bits import FourBits
from harness.packed.kernels import Kernel, SlotBySlot
from harness.packed.layout import Layout, active
from harness.packed.parts import Frozen, Part

if TYPE_CHECKING:
    from harness.packed.still import Still

#: What a layer's way back needs: whatever its kernel kept.
Kept = Any


class PackedLinear:
    """Stands in for the `forward` of one frozen layer.

    Args:
        layer: `nn.Linear`, `Conv1D` or bitsandbytes' layer of 4-bit weights, frozen.
        anchor: a scalar that requires a gradient, so that there is a way back to the adapters
            although nothing below the lowest one requires a gradient.
        kernel: how the adapters' parts are gone through; slot by slot by default.
    """

    def __init__(self, layer: nn.Module, anchor: Tensor, kernel: Kernel | None = None) -> None:
        """Keeps a view of the weights; the layer goes on as it is until `parts` has a part."""
        self.layer, self._anchor = layer, anchor
        self._kernel: Kernel = kernel or SlotBySlot()
        weight = layer.get_parameter("weight").detach()
        own = cast("Tensor | None", layer.bias)
        bias = None if own is None else own.detach()
        if four_bits.holds(layer):
            self.frozen: Frozen = FourBits(layer, bias)
        else:
            self.frozen = Frozen(weight.T if isinstance(layer, Conv1D) else weight, bias)
        #: Parts by slot.
        self.parts: dict[int, Part] = {}
        #: Where there are some, they are what runs; see `Pack.standing`.
        self.still: dict[int, Still] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """`x` is (..., in); answers (..., out)."""
        layout = active()
        if layout is not None and self.still:
            return self._stands(x, layout)
        if layout is None or not self.learns(layout):
            return functional.linear(x, self.frozen.weight, self.frozen.bias)
        rows = x.reshape(-1, x.shape[-1])
        out = _Packed.apply(rows, self._anchor, self, layout)  # type: ignore[no-untyped-call]
        return cast("Tensor", out.view(*x.shape[:-1], out.shape[-1]))

    def _stands(self, x: Tensor, layout: Layout) -> Tensor:
        """Nothing is learnt."""
        frozen, rows = self.frozen, x.reshape(-1, x.shape[-1])
        out = functional.linear(rows, frozen.weight)
        for slot, start, end in layout.shares:
            if slot in self.still:
                self.still[slot].add(rows[start:end], out[start:end])
        if frozen.bias is not None:
            out += frozen.bias
        return out.view(*x.shape[:-1], out.shape[-1])

    def learns(self, layout: Layout) -> bool:
        """Whether anybody in this pass has a part here."""
        return any(share.slot in self.parts for share in layout.shares)

    def run(self, rows: Tensor, layout: Layout, cast: Tensor | None = None) -> tuple[Tensor, Kept]:
        """Goes forward.

        Args:
            rows: shape (rows, in).
            layout: whose they are.
            cast: `frozen.cast(rows)`, where several layers see the same rows.

        Returns:
            The outputs, and what the way back needs.
        """
        frozen = self.frozen
        with frozen.held():
            out = frozen.forward(rows, cast)
            kept = self._kernel.forward(self.parts, rows, out, frozen, layout)
        if frozen.bias is not None:
            out += frozen.bias
        return out, kept

    def back(self, kept: Kept, gradient: Tensor, needed: bool) -> Tensor | None:
        """Adds up gradients of the parts; answers that of the inputs, where it is needed."""
        through = self._kernel.early(kept, gradient, needed)
        if not needed:
            return None
        with self.frozen.held():
            into = self.frozen.backward(through)
            self._kernel.late(kept, into, self.frozen)
        return into


class _Packed(Function):
    """All slots' parts of one layer; gradients of adapters go straight into their buffers."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, anchor: Tensor, layer: PackedLinear, layout: Layout
    ) -> Tensor:
        del anchor
        out, ctx.kept = layer.run(rows, layout)
        ctx.layer = layer
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kept, ctx.kept = ctx.kept, None  # freed before the layers below are gone through
        layer: PackedLinear = ctx.layer
        return layer.back(kept, gradient, ctx.needs_input_grad[0]), None, None, None


@contextmanager
def installed(layers: Mapping[str, PackedLinear]) -> Iterator[None]:
    """Has the layers of a model run as packed ones; on leaving they are as they were.

    Args:
        layers: by name.
    """
    modules: list[Any] = [each.layer for each in layers.values()]
    before = [module.__dict__.get("forward") for module in modules]
    try:
        for module, each in zip(modules, layers.values(), strict=True):
            module.forward = each
        yield
    finally:
        for module, forward in zip(modules, before, strict=True):
            module.__dict__.pop("forward", None)
            if forward is not None:
                module.forward = forward
