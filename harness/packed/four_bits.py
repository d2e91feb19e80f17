"""Frozen weights in 4 bits that many adapters share: made whole once for all of them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from harness.models import four_bits
from harness.packed.parts import Frozen


class FourBits(Frozen):
    """Made whole for the way forward and again for the way back, for all slots together.

    In between they are not kept: a base in full precision is what 4 bits are to avoid.

    Args:
        layer: bitsandbytes' own.
        bias: shape (out,), or None.
    """

    def __init__(self, layer: nn.Module, bias: Tensor | None) -> None:
        """Makes nothing whole yet."""
        self._layer, self._dtype = layer, four_bits.computes_in(layer)
        self._whole: Tensor | None = None
        self.bias = bias
        self._squares = None

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """Shape (out, in), made anew unless it is held."""
        return four_bits.whole(self._layer) if self._whole is None else self._whole

    @property
    def dtype(self) -> torch.dtype:
        """What products are made in."""
        return self._dtype

    @contextmanager
    def held(self) -> Iterator[None]:
        """Made whole once meanwhile."""
        self._whole = four_bits.whole(self._layer)
        try:
            yield
        finally:
            self._whole = None
