"""What one slot's adapter does to its own rows of a linear layer, forwards and backwards.

Formulas are PEFT's; gradients are written here by hand, and added up in buffers, since a pack
has many small ones. Knows nothing of models, optimisers or trials.

Dropout of one slot's inputs, drawn apart from its neighbours'. Knows no layer.

FrozenWeight weights in 4 bits that many adapters share: made whole once for all of them.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.adapters.fast_layers import DroppedPositions, dropout
from harness.models import base_model


class Dropped(Protocol):
    """What dropout takes from some rows."""

    def of(self, rows: Tensor) -> Tensor:
        """What is left of rows, or of a gradient with respect to them."""
        ...


class Places(NamedTuple):
    """Dropped elements as a processor likes them: few numbers.

    Attributes:
        places: of the elements, counted through all rows.
        p: with which probability.
    """

    places: Tensor
    p: float

    def of(self, rows: Tensor) -> Tensor:
        """See `Dropped`."""
        return dropout(rows, self.places, self.p)


class Mask(NamedTuple):
    """Dropped elements as a GPU likes them: nothing whose size it has to be asked for.

    Attributes:
        dropped: whether an element is, shape of the rows.
        p: with which probability.
    """

    dropped: Tensor
    p: float

    def of(self, rows: Tensor) -> Tensor:
        """See `Dropped`."""
        return rows.masked_fill(self.dropped, 0).mul_(1 / (1 - self.p))


class Dropout:
    """Dropout of one slot, from a generator of its own: no neighbour can shift it.

    On a processor as `harness.adapters.fast_layers` draws it, but all layers from one stream:
    there is no checkpointing here, which would have to draw the same once more.

    Args:
        p: share of elements set to zero, in [0, 1).
        generator: seeds that stream.
    """

    def __init__(self, p: float, generator: torch.Generator) -> None:
        self._p, self._generator = p, generator
        self._stream: DroppedPositions | None = None
        self._own: torch.Generator | None = None

    def draw(self, rows: Tensor) -> Dropped | None:
        """What is dropped this time; None where nothing ever is.

        Args:
            rows: shape (rows, in).
        """
        if not self._p:
            return None
        return (self._places if rows.device.type == "cpu" else self._mask)(rows)

    def _places(self, rows: Tensor) -> Places:
        if self._stream is None:
            self._stream = DroppedPositions(self._p, self._seed())
        return Places(self._stream.take(rows.numel()), self._p)

    def _mask(self, rows: Tensor) -> Mask:
        if self._own is None:
            self._own = torch.Generator(rows.device).manual_seed(self._seed())
        drawn = torch.rand(rows.shape, generator=self._own, device=rows.device)
        return Mask(drawn < self._p, self._p)

    def _seed(self) -> int:
        return int(torch.randint(1 << 62, (), generator=self._generator))


class AdapterOp(Protocol):
    """One slot's share in one layer."""

    def forward(
        self,
        rows: Tensor,
        out: Tensor,
        layer: "FrozenWeight",
    ) -> Any:
        """Adds to `out` what the adapter makes of `rows`; answers what `backward` needs.

        Args:
            rows: the slot's inputs, shape (rows, in).
            out: what the frozen weights made of them, without bias, shape (rows, out).
            layer: the frozen weights.
        """
        ...

    def backward_outputs(self, kept: Any, gradient: Tensor) -> Tensor:
        """The gradient that flows through the frozen weights; adds up those of the adapter."""
        ...

    def backward_inputs(self, kept: Any, into: Tensor, layer: "FrozenWeight") -> None:
        """Adds to the inputs' gradient what flows through the adapter, shape (rows, in)."""
        ...


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
            wide = self.weight if self.weight.dtype == torch.float64 else self.weight.float()
            self._squares = wide.square().sum(dim=1)
        return self._squares

    @property
    def dtype(self) -> torch.dtype:
        """What products are made in."""
        return self.weight.dtype

    def held(self) -> AbstractContextManager[None]:
        """Around several uses of the weights, which need them in full only once."""
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
        gradient: where gradients are added up, in the precision it is trained in; None where it
            is not trained.
    """

    __slots__ = ("gradient", "value")

    def __init__(self, value: Tensor, gradient: Tensor | None) -> None:
        self.value, self.gradient = value, gradient

    def add(self, gradient: Tensor) -> None:
        """Adds to the gradient."""
        if self.gradient is not None:
            self.gradient.add_(gradient)

    def add_product(self, left: Tensor, right: Tensor, scale: float = 1.0) -> None:
        """Adds `scale left right` to the gradient of a matrix."""
        if self.gradient is None:
            return
        if self.gradient.dtype == left.dtype:
            self.gradient.addmm_(left, right, alpha=scale)
        else:
            self.gradient.add_(left @ right, alpha=scale)


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
        """Takes it away from what the frozen weights made."""
        out.addmm_(rows @ self.first.T, self.second.T, alpha=-self.scale)

    def backward(self, gradient: Tensor, into: Tensor) -> None:
        """Takes it away from the inputs' gradient."""
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

    def _seen(self, rows: Tensor) -> tuple[Tensor, Dropped | None, Tensor]:
        """What dropout leaves of the rows, what it takes, and the products of the rest with A."""
        dropped = self.dropout.draw(rows)
        seen = rows if dropped is None else dropped.of(rows)
        return seen, dropped, seen @ self.first.value.T

    def forward(
        self,
        rows: Tensor,
        out: Tensor,
        layer: FrozenWeight,
    ) -> tuple[Any, ...]:
        """See `AdapterOp`."""
        del layer
        seen, dropped, low = self._seen(rows)
        out.addmm_(low, self.second.value.T, alpha=self.scale)
        if self.removed is not None:
            self.removed.forward(rows, out)
        return seen, dropped, low, []

    def backward_outputs(self, kept: Any, gradient: Tensor) -> Tensor:
        """See `AdapterOp`."""
        seen, _, low, back = kept
        back.append((gradient @ self.second.value).mul_(self.scale))
        self.first.add_product(back[0].T, seen)
        self.second.add_product(gradient.T, low, self.scale)
        back.append(gradient)
        return gradient

    def backward_inputs(self, kept: Any, into: Tensor, layer: FrozenWeight) -> None:
        """See `AdapterOp`."""
        del layer
        _, dropped, _, back = kept
        if dropped is None:
            into.addmm_(back[0], self.first.value)
        else:
            into.add_(dropped.of(back[0] @ self.first.value))
        if self.removed is not None:
            self.removed.backward(back[1], into)


def row_norms(layer: FrozenWeight, first: Tensor, second: Tensor, scale: float) -> Tensor:
    """Norms of the rows of `W + scale B A`, shape (out,), without making that matrix.

    The square of each is `|W|² + 2 scale rowsum((W Aᵀ) * B) + scale² rowsum((B A Aᵀ) * B)`.

    Args:
        layer: W, shape (out, in).
        first: A, shape (rank, in).
        second: B, shape (out, rank).
        scale: on B A.
    """
    across = layer.weight.to(first.dtype) @ first.T
    across.addmm_(second, first @ first.T, beta=2 * scale, alpha=scale**2)
    squares = layer.squares
    return (squares + across.mul_(second).sum(dim=1, dtype=squares.dtype)).clamp_(min=0).sqrt_()


class DoraOp(LoraOp):
    """LoRA on the direction, `share` on the size (Liu et al. 2024, arXiv:2402.09353, eq. 5).

    `out = seen Wᵀ share + scale (seen Aᵀ) Bᵀ share`, share being the magnitude over the norm of
    each row of `W + scale B A`; that norm is a constant on the way back (section 4.3). Under
    dropout the frozen product of what dropout leaves counts for the direction, as in PEFT.

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

    def forward(
        self,
        rows: Tensor,
        out: Tensor,
        layer: FrozenWeight,
    ) -> tuple[Any, ...]:
        """See `AdapterOp`."""
        norm = row_norms(layer, self.first.value, self.second.value, self.scale)
        share = (self.magnitude.value.to(norm.dtype) / norm).to(rows.dtype)
        seen, dropped, low = self._seen(rows)
        if dropped is None:
            direction = out.addmm(low, self.second.value.T, alpha=self.scale)
            torch.mul(direction, share, out=out)
        else:
            frozen = layer.forward(seen)
            direction = torch.addmm(frozen, low, self.second.value.T, alpha=self.scale)
            out.sub_(frozen).addcmul_(direction, share)
        return seen, dropped, low, [], direction, norm, share, []

    def backward_outputs(self, kept: Any, gradient: Tensor) -> Tensor:
        """See `AdapterOp`."""
        share: Tensor
        seen, dropped, low, back, direction, norm, share, mixed = kept
        self.magnitude.add((gradient * direction).sum(dim=0, dtype=norm.dtype) / norm)
        shared: Tensor = gradient * share
        super().backward_outputs((seen, dropped, low, back), shared)
        if dropped is None:
            return shared
        mixed.append(shared - gradient)
        return gradient

    def backward_inputs(self, kept: Any, into: Tensor, layer: FrozenWeight) -> None:
        """See `AdapterOp`."""
        _, dropped, _, back, *_, mixed = kept
        if dropped is None:
            into.addmm_(back[0], self.first.value)
        else:
            through = layer.backward(mixed[0]).addmm_(back[0], self.first.value)
            into.add_(dropped.of(through))


class FourBitWeight(FrozenWeight):
    """Made whole for the way forward and again for the way back, for all slots together.

    In between they are not kept: a base in full precision is what 4 bits are to avoid.

    Args:
        layer: bitsandbytes' own.
        bias: shape (out,), or None.
    """

    def __init__(self, layer: nn.Module, bias: Tensor | None) -> None:
        self._layer, self._dtype = layer, base_model.compute_dtype(layer)
        self._whole: Tensor | None = None
        self.bias = bias
        self._squares = None

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """Shape (out, in), made anew unless it is held."""
        return base_model.dequantized_weight(self._layer) if self._whole is None else self._whole

    @property
    def dtype(self) -> torch.dtype:
        """What products are made in."""
        return self._dtype

    @contextmanager
    def held(self) -> Iterator[None]:
        """Made whole once meanwhile."""
        self._whole = base_model.dequantized_weight(self._layer)
        try:
            yield
        finally:
            self._whole = None
