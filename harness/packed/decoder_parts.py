"""The pieces of a Llama-like decoder layer, each with its way back written by hand.

Rows of all sequences lie end to end, shape (rows, width), in float32 or better whatever the
precision of the products. Knows no layer, slot or model.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from harness.packed.attention import packed_attention

_NO_MODULE: Final = nn.Identity()


class KeptNorm(NamedTuple):
    """What the way back needs: rows of unit size, and the factor that made them so."""

    unit: Tensor
    factor: Tensor


class Norm:
    """Root mean square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4).

    Args:
        module: has `weight` and `variance_epsilon`.
        dtype: of the rows.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        """Takes a view of the weight, or a copy in the rows' precision."""
        self._weight = module.get_parameter("weight").detach().to(dtype)
        self._epsilon = float(module.variance_epsilon)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, KeptNorm]:
        """`x` is (..., width)."""
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        factor = size.square_().mul_(1 / x.shape[-1]).add_(self._epsilon).rsqrt_()
        unit = x * factor
        return unit * self._weight, KeptNorm(unit, factor)

    def backward(self, kept: KeptNorm, gradient: Tensor) -> Tensor:
        """The gradient of `x`."""
        unit, factor = kept
        found = gradient * self._weight
        along = (found * unit).mean(dim=-1, keepdim=True)
        return found.addcmul_(unit, along, value=-1).mul_(factor)


class Turn:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864, eq. 34), halves as in Transformers.

    Args:
        cosines: shape (rows, width of a head); both halves alike.
        sines: the same.
    """

    def __init__(self, cosines: Tensor, sines: Tensor) -> None:
        """Keeps one half."""
        half = cosines.shape[-1] // 2
        self._cosines, self._sines = cosines[:, None, :half], sines[:, None, :half]

    def forward(self, x: Tensor) -> Tensor:
        """`x` is (rows, heads, width)."""
        return self._turned(x, 1)

    def backward(self, gradient: Tensor) -> Tensor:
        """Turns back."""
        return self._turned(gradient, -1)

    def _turned(self, x: Tensor, sign: int) -> Tensor:
        half = x.shape[-1] // 2
        first, second = x[..., :half], x[..., half:]
        out = torch.empty_like(x)
        one = torch.mul(first, self._cosines, out=out[..., :half])
        one.addcmul_(second, self._sines, value=-sign)
        other = torch.mul(second, self._cosines, out=out[..., half:])
        other.addcmul_(first, self._sines, value=sign)
        return out


class KeptAttention(NamedTuple):
    """The graph of one core: what went in, and what came out."""

    given: tuple[Tensor, Tensor, Tensor]
    out: Tensor


class Core:
    """Softmax attention within each sequence of the layout in progress.

    The way back is autograd's: torch's own kernel computes it best.

    Args:
        scaling: of the products.
        window: tokens that a token sees, itself included; None for all before it.
    """

    def __init__(self, scaling: float, window: int | None = None) -> None:
        """Keeps them."""
        self._scaling, self._window = scaling, window

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, learns: bool
    ) -> tuple[Tensor, KeptAttention | None]:
        """All are (rows, heads, width), key and value of fewer heads perhaps.

        Returns:
            Shape (rows, heads * width), and what the way back needs where something is learnt.
        """
        if not learns:
            return self._attended(query, key, value), None
        with torch.enable_grad():
            given = tuple(each.detach().requires_grad_() for each in (query, key, value))
            out = self._attended(*given)
        return out.detach(), KeptAttention(given, out)  # type: ignore[arg-type]

    def backward(self, kept: KeptAttention, gradient: Tensor) -> tuple[Tensor, ...]:
        """Gradients of query, key and value."""
        return torch.autograd.grad(kept.out, kept.given, gradient)

    def _attended(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key, value = (each.transpose(0, 1)[None] for each in (query, key, value))
        out, _ = packed_attention(
            _NO_MODULE,
            query,
            key,
            value,
            None,
            scaling=self._scaling,
            sliding_window=self._window,
        )
        return out[0].flatten(1)


class KeptGate(NamedTuple):
    """Sigmoid and SiLU of the gate, and what it lets through."""

    share: Tensor
    gate: Tensor
    up: Tensor


def gated(gate: Tensor, up: Tensor) -> tuple[Tensor, KeptGate]:
    """`silu(gate) * up` (Shazeer 2020, arXiv:2002.05202, eq. 6), shape (rows, width)."""
    share = torch.sigmoid(gate)
    silu = gate.mul_(share)
    return silu * up, KeptGate(share, silu, up)


def ungated(kept: KeptGate, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of gate and up; silu' is `share + silu (1 - share)`."""
    share, silu, up = kept
    for_up = gradient * silu
    slope = torch.addcmul(share, silu, share, value=-1).add_(silu)
    return slope.mul_(up).mul_(gradient), for_up
