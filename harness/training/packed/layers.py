"""A frozen linear layer that several adapters share: one matrix product for the rows of all.

Two kernels go through the adapters' parts of a layer: slot by slot, or all slots in one batched
product. `InferenceLora` is an adapter in a forward pass without gradients, as answers are decoded.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, cast

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
    Dropped,
    FourBitWeight,
    FrozenWeight,
    LoraOp,
    TrainedWeight,
    row_norms,
)

#: Adapters of a layer by slot.
Parts = Mapping[int, LoraOp]


class LoopKernel:
    """Computes the adapters' parts of a layer and their gradients, slot by slot with exact ranks.

    On a processor no padding is the fastest. A kernel has no state itself.
    """

    def forward(
        self, parts: Parts, rows: Tensor, out: Tensor, frozen: FrozenWeight, layout: Layout
    ) -> Any:
        """Adds the adapters' outputs to `out`; returns what the backward pass needs.

        Args:
            parts: by slot.
            rows: inputs of all slots, shape (rows, in).
            out: outputs of the frozen weights, without bias, shape (rows, out).
            frozen: these weights.
            layout: which rows are whose.
        """
        state = []
        for slot, start, end in layout.shares:
            part = parts.get(slot)
            if part is not None:
                span = slice(start, end)
                state.append((part, span, part.forward(rows[span], out[span], frozen)))
        return state

    def backward_outputs(self, state: Any, gradient: Tensor, needed: bool) -> Tensor:
        """The gradient for the frozen weights' product; adds up those of the adapters.

        Args:
            state: what `forward` returned.
            gradient: of the outputs, shape (rows, out); not changed.
            needed: whether the returned gradient is used.
        """
        changed: Tensor | None = None
        for part, span, part_state in state:
            slot_gradient = gradient[span]
            passed_on = part.backward_outputs(part_state, slot_gradient)
            # DoRA alone scales it; the gradient itself belongs to autograd, so a copy is changed.
            if passed_on is not slot_gradient and needed:
                changed = gradient.clone() if changed is None else changed
                changed[span] = passed_on
        return gradient if changed is None else changed

    def backward_inputs(self, state: Any, into: Tensor, frozen: FrozenWeight) -> None:
        """Adds the adapters' share to the inputs' gradient, shape (rows, in)."""
        for part, span, part_state in state:
            part.backward_inputs(part_state, into[span], frozen)


class _Batch(NamedTuple):
    """What the backward pass needs of the slots that share products.

    Attributes:
        parts: one for each slot.
        blocks: their rows, each slot's padded to the longest.
        inputs: after dropout, shape (slots, longest, in).
        low: scale times their products with A, zero where a block is padded, shape
            (slots, longest, rank).
        dropped: by index among the slots, what dropout took of its rows.
        first: A of all, padded to the highest rank, (slots, rank, in).
        second: B of all, (slots, out, rank).
        scales: of all, (slots, 1, 1).
        low_gradient: the gradient of `low`; filled on the way back.
    """

    parts: Sequence[LoraOp]
    blocks: Blocks
    inputs: Tensor
    low: Tensor
    dropped: Mapping[int, Dropped]
    first: Tensor
    second: Tensor
    scales: Tensor
    low_gradient: list[Tensor]


class BatchedKernel(LoopKernel):
    """All plain LoRA slots in one batched product, ranks and rows padded with zeros.

    On a GPU a product of rank 8 is over before the next one is launched, so fewer and larger ones
    win. What is not a plain A and B (DoRA, PiSSA, OLoRA) goes slot by slot.
    """

    def forward(
        self, parts: Parts, rows: Tensor, out: Tensor, frozen: FrozenWeight, layout: Layout
    ) -> Any:
        """See `LoopKernel`."""
        plain: list[tuple[SlotRows, LoraOp]] = []
        for share in layout.shares:
            part = parts.get(share.slot)
            if type(part) is LoraOp and part.removed is None and share.end > share.start:
                plain.append((share, part))
        if len(plain) < 2:
            return None, super().forward(parts, rows, out, frozen, layout)
        batched = {share.slot for share, _ in plain}
        rest = {slot: part for slot, part in parts.items() if slot not in batched}
        others = super().forward(rest, rows, out, frozen, layout)
        return self._batched(plain, rows, out, layout), others

    def _batched(
        self, plain: Sequence[tuple[SlotRows, LoraOp]], rows: Tensor, out: Tensor, layout: Layout
    ) -> _Batch:
        parts = [part for _, part in plain]
        blocks = layout.blocks(tuple(share.slot for share, _ in plain))
        inputs, dropped = rows, dict[int, Dropped]()
        for index, (share, part) in enumerate(plain):
            slot_rows = rows[share.start : share.end]
            mask = part.dropout.draw(slot_rows)
            if mask is not None:
                inputs = rows.clone() if inputs is rows else inputs
                inputs[share.start : share.end] = mask(slot_rows)
                dropped[index] = mask
        inputs = blocks.of(inputs)
        first, second = _padded_matrices(parts, layout)
        scales = layout.numbers(tuple(part.scale for part in parts), inputs.dtype)[:, None, None]
        low = blocks.zero_padding(torch.bmm(inputs, first.mT)).mul_(scales)
        out.index_add_(0, blocks.rows, blocks.back(torch.bmm(low, second.mT)))
        return _Batch(parts, blocks, inputs, low, dropped, first, second, scales, [])

    def backward_outputs(self, state: Any, gradient: Tensor, needed: bool) -> Tensor:
        """See `LoopKernel`."""
        batch: _Batch | None
        batch, others = state
        if batch is not None:
            outputs = batch.blocks.of(gradient)
            low = batch.blocks.zero_padding(torch.bmm(outputs, batch.second)).mul_(batch.scales)
            batch.low_gradient.append(low)
            _add_gradients([part.first for part in batch.parts], torch.bmm(low.mT, batch.inputs))
            _add_gradients([part.second for part in batch.parts], torch.bmm(outputs.mT, batch.low))
        return super().backward_outputs(others, gradient, needed)

    def backward_inputs(self, state: Any, into: Tensor, frozen: FrozenWeight) -> None:
        """See `LoopKernel`."""
        batch: _Batch | None
        batch, others = state
        if batch is not None:
            inputs = batch.blocks.back(torch.bmm(batch.low_gradient[0], batch.first))
            for index, mask in batch.dropped.items():
                span = batch.blocks.parts[index]
                inputs[span] = mask(inputs[span])
            into.index_add_(0, batch.blocks.rows, inputs)
        super().backward_inputs(others, into, frozen)


def _padded_matrices(parts: Sequence[LoraOp], layout: Layout) -> tuple[Tensor, Tensor]:
    """A and B of all, padded to the highest rank: (slots, rank, in), (slots, out, rank).

    In as many operations for thirty slots as for two.
    """
    ranks = tuple(len(part.first.value) for part in parts)
    first = [part.first.value for part in parts]
    second = [part.second.value for part in parts]
    if len(set(ranks)) == 1:
        return torch.stack(first), torch.stack(second)
    rank = max(ranks)
    # The row of zeros behind the last one is what padding is taken from.
    first_rows = torch.cat([*first, first[0].new_zeros(1, first[0].shape[1])])
    second_columns = torch.cat([*second, second[0].new_zeros(len(second[0]), 1)], dim=1)
    index = layout.padding_index(ranks)
    return (
        first_rows[index].view(len(parts), rank, -1),
        second_columns[:, index].view(-1, len(parts), rank).transpose(0, 1),
    )


def _add_gradients(weights: Sequence[TrainedWeight], gradients: Tensor) -> None:
    """Adds each slot's part of padded gradients, (slots, rows, columns), to its weight's."""
    dtype = next((w.gradient.dtype for w in weights if w.gradient is not None), None)
    if dtype is None:
        return
    totals, parts = [], []
    for weight, padded in zip(weights, gradients.to(dtype), strict=True):
        if weight.gradient is not None:
            totals.append(weight.gradient)
            parts.append(padded[: weight.value.shape[0], : weight.value.shape[1]])
    torch._foreach_add_(totals, parts)


def kernel_for(device: torch.device) -> LoopKernel:
    """The kernel for a device."""
    return BatchedKernel() if device.type == "cuda" else LoopKernel()


class InferenceLora(NamedTuple):
    """What one adapter does to its rows of a linear layer, constants computed in advance.

    Attributes:
        first: A, shape (rank, in); the matrices that PiSSA or OLoRA took out below it.
        second: scale B, shape (out, rank); to its right what was taken out, negated.
        share: DoRA's magnitude by norm, shape (out,), or None.
    """

    first: Tensor
    second: Tensor
    share: Tensor | None

    def add(self, rows: Tensor, out: Tensor) -> None:
        """Turns the frozen weights' outputs for `rows`, without bias, into the adapted ones'."""
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
    removed = part.removed
    both_first = torch.cat((first, removed.first.to(first.dtype)))
    removed_second = -removed.scale * removed.second.to(second.dtype)
    both_second = torch.cat((scale * second, removed_second), dim=1)
    return InferenceLora(both_first, both_second, share)


class PackedLinear:
    """Stands in for the `forward` of one frozen layer.

    Args:
        layer: `nn.Linear`, `Conv1D` or bitsandbytes' layer of 4-bit weights, frozen.
        anchor: a scalar that requires a gradient, so that autograd goes back to the adapters
            although nothing below the lowest one requires a gradient.
        kernel: computes the adapters' parts; slot by slot by default.

    Attributes:
        frozen: the layer's weights.
        parts: the adapters' parts by slot.
        inference: where there are some, they run in the place of `parts`, without gradients;
            see `AdapterPack.inference`.
    """

    def __init__(self, layer: nn.Module, anchor: Tensor, kernel: LoopKernel | None = None) -> None:
        self.layer, self._anchor = layer, anchor
        self._kernel = kernel or LoopKernel()
        weight = layer.get_parameter("weight").detach()
        bias = cast("Tensor | None", layer.bias)
        bias = None if bias is None else bias.detach()
        if base_model.is_4bit(layer):
            self.frozen: FrozenWeight = FourBitWeight(layer, bias)
        else:
            self.frozen = FrozenWeight(weight.T if isinstance(layer, Conv1D) else weight, bias)
        self.parts: dict[int, LoraOp] = {}
        self.inference: dict[int, InferenceLora] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        layout = current_layout()
        if layout is not None and self.inference:
            return self._infer(x, layout)
        if layout is None or not self.has_adapter(layout):
            return functional.linear(x, self.frozen.weight, self.frozen.bias)
        rows = x.reshape(-1, x.shape[-1])
        out = _Packed.apply(rows, self._anchor, self, layout)  # type: ignore[no-untyped-call]
        return cast("Tensor", out.view(*x.shape[:-1], out.shape[-1]))

    def _infer(self, x: Tensor, layout: Layout) -> Tensor:
        frozen, rows = self.frozen, x.reshape(-1, x.shape[-1])
        out = functional.linear(rows, frozen.weight)
        for slot, start, end in layout.shares:
            if slot in self.inference:
                self.inference[slot].add(rows[start:end], out[start:end])
        if frozen.bias is not None:
            out += frozen.bias
        return out.view(*x.shape[:-1], out.shape[-1])

    def has_adapter(self, layout: Layout) -> bool:
        """Whether an adapter of this pass has a part in this layer."""
        return any(share.slot in self.parts for share in layout.shares)

    def run_forward(self, rows: Tensor, layout: Layout) -> tuple[Tensor, Any]:
        """The outputs of rows, shape (rows, in), and what the backward pass needs."""
        frozen = self.frozen
        with frozen.dequantized():
            out = frozen.forward(rows)
            state = self._kernel.forward(self.parts, rows, out, frozen, layout)
        if frozen.bias is not None:
            out += frozen.bias
        return out, state

    def run_backward(self, state: Any, gradient: Tensor, needed: bool) -> Tensor | None:
        """Adds up gradients of the parts; returns that of the inputs, where it is needed."""
        through = self._kernel.backward_outputs(state, gradient, needed)
        if not needed:
            return None
        with self.frozen.dequantized():
            into = self.frozen.backward(through)
            self._kernel.backward_inputs(state, into, self.frozen)
        return into


class _Packed(Function):
    """All slots' parts of one layer; gradients of adapters go straight into their buffers."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, anchor: Tensor, layer: PackedLinear, layout: Layout
    ) -> Tensor:
        del anchor
        out, ctx.state = layer.run_forward(rows, layout)
        ctx.layer = layer
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        state, ctx.state = ctx.state, None  # frees it before the layers below need memory
        layer: PackedLinear = ctx.layer
        return layer.run_backward(state, gradient, ctx.needs_input_grad[0]), None, None, None


def packed_layers(layers: Mapping[str, PackedLinear]) -> AbstractContextManager[None]:
    """Has the layers of a model, by name, run as packed ones inside the context."""
    return base_model.replaced_forwards((p.layer for p in layers.values()), layers.values())
