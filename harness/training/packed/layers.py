"""Two ways to go through the adapters' parts of one layer: slot by slot, or all in one product.

Knows layouts and parts, nothing of models, variants or trials.

Trained adapters in a shared forward pass without a way back: as answers are decoded.

Knows PEFT's layers and layouts, nothing of tasks or trials.

A frozen linear layer that several adapters share: one matrix product for the rows of all.

Knows layouts and parts, nothing of models, variants or trials.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, cast

import torch
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from harness.adapters.proofs import NAME
from harness.models import base_model
from harness.training.packed.layout import Blocks, Layout, SlotRows, current_layout
from harness.training.packed.lora_math import (
    AdapterOp,
    Dropped,
    FourBitWeight,
    FrozenWeight,
    LoraOp,
    TrainedWeight,
    row_norms,
)


class Kernel(Protocol):
    """Goes through the parts of one layer, forwards and backwards; keeps nothing itself."""

    def forward(
        self,
        parts: Mapping[int, AdapterOp],
        rows: Tensor,
        out: Tensor,
        frozen: FrozenWeight,
        layout: Layout,
    ) -> Any:
        """Adds to `out` what the adapters make of their rows; answers what the way back needs.

        Args:
            parts: by slot.
            rows: inputs of all slots, shape (rows, in).
            out: what the frozen weights made of them, without bias, shape (rows, out).
            frozen: these weights.
            layout: whose rows they are.
        """
        ...

    def backward_outputs(self, kept: Any, gradient: Tensor, needed: bool) -> Tensor:
        """The gradient that flows through the frozen weights; adds up those of the adapters.

        Args:
            kept: what `forward` answered.
            gradient: of the outputs, shape (rows, out); not changed.
            needed: whether the answer is of use.
        """
        ...

    def backward_inputs(self, kept: Any, into: Tensor, frozen: FrozenWeight) -> None:
        """Adds to the inputs' gradient what flows through the adapters, shape (rows, in)."""
        ...


class LoopKernel:
    """Each slot with its exact rank: nothing is computed in vain, as a processor likes it."""

    def forward(
        self,
        parts: Mapping[int, AdapterOp],
        rows: Tensor,
        out: Tensor,
        frozen: FrozenWeight,
        layout: Layout,
    ) -> Any:
        """See `Kernel`."""
        kept = []
        for slot, start, end in layout.shares:
            part = parts.get(slot)
            if part is not None:
                here = slice(start, end)
                found = part.forward(rows[here], out[here], frozen)
                kept.append((part, here, found))
        return kept

    def backward_outputs(self, kept: Any, gradient: Tensor, needed: bool) -> Tensor:
        """See `Kernel`."""
        through: Tensor | None = None
        for part, here, found in kept:
            own = gradient[here]
            flowing = part.backward_outputs(found, own)
            if flowing is not own and needed:
                through = gradient.clone() if through is None else through
                through[here] = flowing
        return gradient if through is None else through

    def backward_inputs(self, kept: Any, into: Tensor, frozen: FrozenWeight) -> None:
        """See `Kernel`."""
        for part, here, found in kept:
            part.backward_inputs(found, into[here], frozen)


class _Batch(NamedTuple):
    """What the way back needs of the slots that share products.

    Attributes:
        parts: one a slot.
        blocks: their rows, each slot's filled up to the longest.
        seen: the inputs that dropout left, shape (slots, longest, in).
        low: scale times their products with A, zero where a block is filled up, shape
            (slots, longest, rank).
        dropped: by place among the slots, what dropout took of its rows.
        first: A of all, filled up to the highest rank, (slots, rank, in).
        second: B of all, (slots, out, rank).
        scales: of all, (slots, 1, 1).
        back: the gradient of `low`, once it is known.
    """

    parts: Sequence[LoraOp]
    blocks: Blocks
    seen: Tensor
    low: Tensor
    dropped: Mapping[int, Dropped]
    first: Tensor
    second: Tensor
    scales: Tensor
    back: list[Tensor]


class BatchedKernel:
    """All plain LoRA slots in one batched product, ranks and rows filled up with zeros.

    On a GPU a product of rank 8 is over before the next one is launched, so fewer and larger ones
    win. What is not a plain A and B (DoRA, PiSSA, OLoRA) goes slot by slot.
    """

    def __init__(self) -> None:
        self._apart = LoopKernel()

    def forward(
        self,
        parts: Mapping[int, AdapterOp],
        rows: Tensor,
        out: Tensor,
        frozen: FrozenWeight,
        layout: Layout,
    ) -> Any:
        """See `Kernel`."""
        plain: list[tuple[SlotRows, LoraOp]] = []
        for share in layout.shares:
            part = parts.get(share.slot)
            if type(part) is LoraOp and part.removed is None and share.end > share.start:
                plain.append((share, part))
        if len(plain) < 2:
            return None, self._apart.forward(parts, rows, out, frozen, layout)
        together = {share.slot for share, _ in plain}
        rest = {slot: part for slot, part in parts.items() if slot not in together}
        others = self._apart.forward(rest, rows, out, frozen, layout)
        return self._batched(plain, rows, out, layout), others

    def _batched(
        self, plain: Sequence[tuple[SlotRows, LoraOp]], rows: Tensor, out: Tensor, layout: Layout
    ) -> _Batch:
        parts = [part for _, part in plain]
        blocks = layout.blocks(tuple(share.slot for share, _ in plain))
        seen, dropped = rows, dict[int, Dropped]()
        for place, (share, part) in enumerate(plain):
            here = rows[share.start : share.end]
            drawn = part.dropout.draw(here)
            if drawn is not None:
                seen = rows.clone() if seen is rows else seen
                seen[share.start : share.end] = drawn.of(here)
                dropped[place] = drawn
        seen = blocks.of(seen)
        first, second = _filled(parts, layout)
        scales = layout.numbers(tuple(part.scale for part in parts), seen.dtype)[:, None, None]
        low = blocks.emptied(torch.bmm(seen, first.mT)).mul_(scales)
        out.index_add_(0, blocks.rows, blocks.back(torch.bmm(low, second.mT)))
        return _Batch(parts, blocks, seen, low, dropped, first, second, scales, [])

    def backward_outputs(self, kept: Any, gradient: Tensor, needed: bool) -> Tensor:
        """See `Kernel`."""
        batch: _Batch | None
        batch, others = kept
        if batch is not None:
            flowing = batch.blocks.of(gradient)
            back = batch.blocks.emptied(torch.bmm(flowing, batch.second)).mul_(batch.scales)
            batch.back.append(back)
            _add([part.first for part in batch.parts], torch.bmm(back.mT, batch.seen))
            _add([part.second for part in batch.parts], torch.bmm(flowing.mT, batch.low))
        return self._apart.backward_outputs(others, gradient, needed)

    def backward_inputs(self, kept: Any, into: Tensor, frozen: FrozenWeight) -> None:
        """See `Kernel`."""
        batch: _Batch | None
        batch, others = kept
        if batch is not None:
            flowing = batch.blocks.back(torch.bmm(batch.back[0], batch.first))
            for place, drawn in batch.dropped.items():
                here = batch.blocks.parts[place]
                flowing[here] = drawn.of(flowing[here])
            into.index_add_(0, batch.blocks.rows, flowing)
        self._apart.backward_inputs(others, into, frozen)


def _filled(parts: Sequence[LoraOp], layout: Layout) -> tuple[Tensor, Tensor]:
    """A and B of all, filled up to the highest rank: (slots, rank, in), (slots, out, rank).

    In as many operations for thirty slots as for two.
    """
    ranks = tuple(len(part.first.value) for part in parts)
    first = [part.first.value for part in parts]
    second = [part.second.value for part in parts]
    if len(set(ranks)) == 1:
        return torch.stack(first), torch.stack(second)
    rank = max(ranks)
    # The row behind the last is the one that fills up.
    of_all = torch.cat([*first, first[0].new_zeros(1, first[0].shape[1])])
    beside = torch.cat([*second, second[0].new_zeros(len(second[0]), 1)], dim=1)
    places = layout.filling(ranks)
    return (
        of_all[places].view(len(parts), rank, -1),
        beside[:, places].view(-1, len(parts), rank).transpose(0, 1),
    )


def _add(trained: Sequence[TrainedWeight], gradients: Tensor) -> None:
    """Adds each slot's corner of the filled-up gradients, (slots, rows, columns), to its own."""
    wide = next((each.gradient.dtype for each in trained if each.gradient is not None), None)
    if wide is None:
        return
    pairs = [
        (each.gradient, found[: each.value.shape[0], : each.value.shape[1]])
        for each, found in zip(trained, gradients.to(wide), strict=True)
        if each.gradient is not None
    ]
    torch._foreach_add_([gradient for gradient, _ in pairs], [found for _, found in pairs])


def kernel_for(device: torch.device) -> Kernel:
    """The kernel for a device."""
    return BatchedKernel() if device.type == "cuda" else LoopKernel()


class InferenceLora(NamedTuple):
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
def make_inference_lora(layer: LoraLayer, part: LoraOp, frozen: FrozenWeight) -> InferenceLora:
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
        return InferenceLora(first, scale * second, share)
    taken = part.removed
    below = torch.cat((first, taken.first.to(first.dtype)))
    beside = torch.cat((scale * second, -taken.scale * taken.second.to(second.dtype)), dim=1)
    return InferenceLora(below, beside, share)


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
        self._kernel: Kernel = kernel or LoopKernel()
        weight = layer.get_parameter("weight").detach()
        own = cast("Tensor | None", layer.bias)
        bias = None if own is None else own.detach()
        if base_model.is_4bit(layer):
            self.frozen: FrozenWeight = FourBitWeight(layer, bias)
        else:
            self.frozen = FrozenWeight(weight.T if isinstance(layer, Conv1D) else weight, bias)
        #: Parts by slot.
        self.parts: dict[int, AdapterOp] = {}
        #: Where there are some, they are what runs; see `Pack.standing`.
        self.still: dict[int, InferenceLora] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """`x` is (..., in); answers (..., out)."""
        layout = current_layout()
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

    def run(self, rows: Tensor, layout: Layout) -> tuple[Tensor, Kept]:
        """Goes forward.

        Args:
            rows: shape (rows, in).
            layout: whose they are.

        Returns:
            The outputs, and what the way back needs.
        """
        frozen = self.frozen
        with frozen.held():
            out = frozen.forward(rows)
            kept = self._kernel.forward(self.parts, rows, out, frozen, layout)
        if frozen.bias is not None:
            out += frozen.bias
        return out, kept

    def back(self, kept: Kept, gradient: Tensor, needed: bool) -> Tensor | None:
        """Adds up gradients of the parts; answers that of the inputs, where it is needed."""
        through = self._kernel.backward_outputs(kept, gradient, needed)
        if not needed:
            return None
        with self.frozen.held():
            into = self.frozen.backward(through)
            self._kernel.backward_inputs(kept, into, self.frozen)
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
def packed_layers(layers: Mapping[str, PackedLinear]) -> Iterator[None]:
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
