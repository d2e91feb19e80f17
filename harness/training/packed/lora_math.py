"""The math of one slot's adapter on its rows of a linear layer: LoRA, DoRA, dropout, 4-bit bases.

Formulas are PEFT's. Their gradients are written out here and added up in buffers: autograd's
bookkeeping for the many small tensors of a pack costs more than the products.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.adapters.fast_layers import DroppedPositions, dropout
from harness.models import base_model

#: Applies the dropout drawn for some rows to them, or to a gradient with respect to them.
Dropped = Callable[[Tensor], Tensor]


class Dropout:
    """Dropout of one slot, with a generator for this slot alone: no neighbour can shift it.

    On a processor it is drawn as in `harness.adapters.fast_layers`, but for all layers from one
    stream: there is no checkpointing here, which would have to draw the same once more.

    Args:
        p: share of elements set to zero, in [0, 1).
        generator: seeds that stream.
    """

    def __init__(self, p: float, generator: torch.Generator) -> None:
        self._p, self._generator = p, generator
        self._stream: DroppedPositions | None = None
        self._gpu_generator: torch.Generator | None = None

    def draw(self, rows: Tensor) -> Dropped | None:
        """Draws the elements to drop; None where the probability is 0.

        Args:
            rows: shape (rows, in).
        """
        if not self._p:
            return None
        return (self._by_index if rows.device.type == "cpu" else self._by_mask)(rows)

    def _by_index(self, rows: Tensor) -> Dropped:
        """By index: on a processor few numbers are the fastest."""
        if self._stream is None:
            self._stream = DroppedPositions(self._p, self._seed())
        return partial(dropout, positions=self._stream.take(rows.numel()), p=self._p)

    def _by_mask(self, rows: Tensor) -> Dropped:
        """As a mask: its size is known, so that no GPU has to be waited for."""
        if self._gpu_generator is None:
            self._gpu_generator = torch.Generator(rows.device).manual_seed(self._seed())
        uniform = torch.rand(rows.shape, generator=self._gpu_generator, device=rows.device)
        return partial(_masked, dropped=uniform < self._p, p=self._p)

    def _seed(self) -> int:
        return int(torch.randint(1 << 62, (), generator=self._generator))


def _masked(rows: Tensor, dropped: Tensor, p: float) -> Tensor:
    return rows.masked_fill(dropped, 0).mul_(1 / (1 - p))


class FrozenWeight:
    """The frozen weights of a layer, and the two products with them.

    Args:
        weight: shape (out, in).
        bias: shape (out,), or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias
        self._squares: Tensor | None = None

    @property
    def squares(self) -> Tensor:
        """The squared norm of each row, shape (out,), in float32 or better."""
        if self._squares is None:
            is_double = self.weight.dtype == torch.float64
            self._squares = (self.weight if is_double else self.weight.float()).square().sum(dim=1)
        return self._squares

    @property
    def dtype(self) -> torch.dtype:
        """What products are computed in."""
        return self.weight.dtype

    def dequantized(self) -> AbstractContextManager[None]:
        """A context for several uses of the weights: those in 4 bits are dequantized once."""
        return nullcontext()

    def forward(self, rows: Tensor) -> Tensor:
        """`rows Wᵀ` without bias in the rows' precision; (rows, in) to (rows, out)."""
        return functional.linear(rows.to(self.dtype), self.weight).to(rows.dtype)

    def backward(self, gradient: Tensor) -> Tensor:
        """`gradient W` in the gradient's precision, shape (rows, in)."""
        return (gradient.to(self.dtype) @ self.weight).to(gradient.dtype)


class TrainedWeight:
    """One trained matrix or vector of a slot.

    Attributes:
        value: as products take it, in the base's precision.
        gradient: the sum of gradients, in the precision it is trained in; None where it is not
            trained.
    """

    __slots__ = ("gradient", "value")

    def __init__(self, value: Tensor, gradient: Tensor | None) -> None:
        self.value, self.gradient = value, gradient

    def add(self, gradient: Tensor) -> None:
        """Adds to the gradient."""
        if self.gradient is not None:
            self.gradient.add_(gradient)

    def add_product(self, a: Tensor, b: Tensor, scale: float = 1.0) -> None:
        """Adds `scale a b` to the gradient of a matrix."""
        if self.gradient is None:
            return
        if self.gradient.dtype == a.dtype:
            self.gradient.addmm_(a, b, alpha=scale)
        else:
            self.gradient.add_(a @ b, alpha=scale)


class RemovedInit:
    """`out -= scale (rows A₀ᵀ) B₀ᵀ`: what PiSSA and OLoRA took out of the frozen weights.

    Args:
        first: A₀, shape (rank, in).
        second: B₀, shape (out, rank).
        scale: on B₀ A₀.
    """

    def __init__(self, first: Tensor, second: Tensor, scale: float) -> None:
        self.first, self.second, self.scale = first, second, scale

    def forward(self, rows: Tensor, out: Tensor) -> None:
        """Subtracts it from the frozen weights' outputs."""
        out.addmm_(rows @ self.first.T, self.second.T, alpha=-self.scale)

    def backward(self, gradient: Tensor, into: Tensor) -> None:
        """Subtracts it from the inputs' gradient."""
        into.addmm_(gradient @ self.second, self.first, alpha=-self.scale)


class LoraOp:
    """`out += scale (drop(rows) Aᵀ) Bᵀ` (Hu et al. 2021, arXiv:2106.09685, eq. 3).

    Args:
        first: A, shape (rank, in).
        second: B, shape (out, rank).
        scale: on B A.
        dropout: of the inputs.
        removed: what the frozen weights have given up for this adapter, if anything.
    """

    def __init__(
        self,
        first: TrainedWeight,
        second: TrainedWeight,
        scale: float,
        dropout: Dropout,
        removed: RemovedInit | None = None,
    ) -> None:
        self.first, self.second, self.scale, self.dropout = first, second, scale, dropout
        self.removed = removed

    def _through_first(self, rows: Tensor) -> tuple[Tensor, Dropped | None, Tensor]:
        """The rows after dropout, what was dropped, and their products with A."""
        dropped = self.dropout.draw(rows)
        inputs = rows if dropped is None else dropped(rows)
        return inputs, dropped, inputs @ self.first.value.T

    def forward(self, rows: Tensor, out: Tensor, layer: FrozenWeight) -> tuple[Any, ...]:
        """Adds the adapter's outputs to `out`; returns the state that `backward_*` need.

        Args:
            rows: the slot's inputs, shape (rows, in).
            out: outputs of the frozen weights, without bias, shape (rows, out).
            layer: the frozen weights.
        """
        del layer
        inputs, dropped, low = self._through_first(rows)
        out.addmm_(low, self.second.value.T, alpha=self.scale)
        if self.removed is not None:
            self.removed.forward(rows, out)
        return inputs, dropped, low, []

    def backward_outputs(self, state: Any, gradient: Tensor) -> Tensor:
        """The gradient for the frozen weights' product; adds up those of the adapter."""
        inputs, _, low, gradients = state
        low_gradient = (gradient @ self.second.value).mul_(self.scale)
        self.first.add_product(low_gradient.T, inputs)
        self.second.add_product(gradient.T, low, self.scale)
        gradients += [low_gradient, gradient]
        return gradient

    def backward_inputs(self, state: Any, into: Tensor, layer: FrozenWeight) -> None:
        """Adds the adapter's share to the inputs' gradient, shape (rows, in)."""
        del layer
        _, dropped, _, (low_gradient, gradient) = state
        if dropped is None:
            into.addmm_(low_gradient, self.first.value)
        else:
            into.add_(dropped(low_gradient @ self.first.value))
        if self.removed is not None:
            self.removed.backward(gradient, into)


def row_norms(layer: FrozenWeight, first: Tensor, second: Tensor, scale: float) -> Tensor:
    """Norms of the rows of `W + scale B A`, shape (out,), without making that matrix.

    The square of each is `|W|² + 2 scale rowsum((W Aᵀ) * B) + scale² rowsum((B A Aᵀ) * B)`.

    Args:
        layer: W, shape (out, in).
        first: A, shape (rank, in).
        second: B, shape (out, rank).
        scale: on B A.
    """
    products = layer.weight.to(first.dtype) @ first.T
    products.addmm_(second, first @ first.T, beta=2 * scale, alpha=scale**2)
    squares = layer.squares
    update = products.mul_(second).sum(dim=1, dtype=squares.dtype)
    return (squares + update).clamp_(min=0).sqrt_()


class DoraOp(LoraOp):
    """LoRA on the direction, `share` on the size (Liu et al. 2024, arXiv:2402.09353, eq. 5).

    `out = inputs Wᵀ share + scale (inputs Aᵀ) Bᵀ share`, share being the magnitude over the norm
    of each row of `W + scale B A`; that norm is a constant in the backward pass (section 4.3).
    Under dropout the direction's frozen product is that of the inputs after dropout, as in PEFT.

    Args:
        first: A.
        second: B.
        scale: on B A.
        dropout: of the inputs.
        magnitude: shape (out,).
    """

    def __init__(
        self,
        first: TrainedWeight,
        second: TrainedWeight,
        scale: float,
        dropout: Dropout,
        magnitude: TrainedWeight,
    ) -> None:
        super().__init__(first, second, scale, dropout)
        self.magnitude = magnitude

    def forward(self, rows: Tensor, out: Tensor, layer: FrozenWeight) -> tuple[Any, ...]:
        """See `LoraOp`."""
        norm = row_norms(layer, self.first.value, self.second.value, self.scale)
        share = (self.magnitude.value.to(norm.dtype) / norm).to(rows.dtype)
        inputs, dropped, low = self._through_first(rows)
        if dropped is None:
            direction = out.addmm(low, self.second.value.T, alpha=self.scale)
            torch.mul(direction, share, out=out)
        else:
            frozen = layer.forward(inputs)
            direction = torch.addmm(frozen, low, self.second.value.T, alpha=self.scale)
            out.sub_(frozen).addcmul_(direction, share)
        return inputs, dropped, low, [], direction, norm, share, []

    def backward_outputs(self, state: Any, gradient: Tensor) -> Tensor:
        """See `LoraOp`."""
        share: Tensor
        inputs, dropped, low, gradients, direction, norm, share, frozen_gradient = state
        self.magnitude.add((gradient * direction).sum(dim=0, dtype=norm.dtype) / norm)
        scaled: Tensor = gradient * share
        super().backward_outputs((inputs, dropped, low, gradients), scaled)
        if dropped is None:
            return scaled
        # With dropout, out = rows Wᵀ + inputs Wᵀ (share - 1) + ...: the second term goes back
        # through the dropout, in `backward_inputs`.
        frozen_gradient.append(scaled - gradient)
        return gradient

    def backward_inputs(self, state: Any, into: Tensor, layer: FrozenWeight) -> None:
        """See `LoraOp`."""
        _, dropped, _, gradients, *_, frozen_gradient = state
        low_gradient = gradients[0]
        if dropped is None:
            into.addmm_(low_gradient, self.first.value)
        else:
            through = layer.backward(frozen_gradient[0]).addmm_(low_gradient, self.first.value)
            into.add_(dropped(through))


class FourBitWeight(FrozenWeight):
    """Weights in 4 bits, dequantized in each forward and backward pass once for all slots.

    In between the result is not kept: a base in full precision is what 4 bits are to avoid.

    Args:
        layer: bitsandbytes' own.
        bias: shape (out,), or None.
    """

    def __init__(self, layer: nn.Module, bias: Tensor | None) -> None:
        self._layer, self._dtype = layer, base_model.compute_dtype(layer)
        self._dequantized: Tensor | None = None
        self.bias = bias
        self._squares = None

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """Shape (out, in); dequantized anew outside of `dequantized`."""
        if self._dequantized is not None:
            return self._dequantized
        return base_model.dequantized_weight(self._layer)

    @property
    def dtype(self) -> torch.dtype:
        """What products are computed in."""
        return self._dtype

    @contextmanager
    def dequantized(self) -> Iterator[None]:
        """See `FrozenWeight`."""
        self._dequantized = base_model.dequantized_weight(self._layer)
        try:
            yield
        finally:
            self._dequantized = None
