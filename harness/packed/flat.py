"""All trained weights of one adapter in a few flat buffers: one operation where there were many.

Weights, gradients and Adam's states of a group lie end to end; the adapter's own parameters are
views of them. Knows nothing of models, layouts or trials.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harness.packed.parts import Trained


class _Views(NamedTuple):
    parameter: nn.Parameter
    trained: Trained


class FlatWeights:
    """One adapter's trained weights, with their optimiser.

    Args:
        groups: as `harness.training.optimisation.groups` makes them.
        dtype: what matrix products take; the weights themselves stay in their own precision.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]], dtype: torch.dtype) -> None:
        """Moves the parameters of all groups into flat buffers."""
        self._dtype = dtype
        self._views: dict[int, _Views] = {}
        self._buffers: list[nn.Parameter] = []
        self._products: list[Tensor | None] = []
        settings: list[dict[str, Any]] = []
        for group in groups:
            buffer, product = self._flatten(group["params"], dtype)
            settings.append({**group, "params": [buffer]})
            self._buffers.append(buffer)
            self._products.append(product)
        self.optimiser = torch.optim.AdamW(settings, lr=1.0, fused=True)
        self.refresh()

    def _flatten(
        self, parameters: Sequence[nn.Parameter], dtype: torch.dtype
    ) -> tuple[nn.Parameter, Tensor | None]:
        buffer = nn.Parameter(torch.cat([each.detach().flatten() for each in parameters]))
        buffer.grad = torch.zeros_like(buffer)
        # Vectors scale whole outputs: they are never rounded.
        plain = buffer.dtype == dtype or parameters[0].ndim < 2
        product = None if plain else torch.empty_like(buffer, dtype=dtype)
        start = 0
        for each in parameters:
            here = slice(start, start + each.numel())
            each.data = buffer.data[here].view(each.shape)
            value = each.data if product is None else product[here].view(each.shape)
            trained = Trained(value, buffer.grad[here].view(each.shape))
            self._views[id(each)] = _Views(each, trained)
            start += each.numel()
        return buffer, product

    def of(self, parameter: nn.Parameter) -> Trained:
        """How products see a parameter; one that is not trained has no gradient."""
        found = self._views.get(id(parameter))
        if found is not None:
            return found.trained
        return Trained(parameter.detach().to(self._dtype), None)

    def refresh(self) -> None:
        """Rounds the weights anew to what products take; after each step."""
        for buffer, product in zip(self._buffers, self._products, strict=True):
            if product is not None:
                product.copy_(buffer.data)

    def clip(self, bound: float) -> Tensor:
        """Scales gradients so that their norm is `bound` at most; answers the norm before."""
        return nn.utils.clip_grad_norm_(self._buffers, bound)

    def step(self) -> None:
        """AdamW's step; gradients are zero afterwards."""
        self.optimiser.step()
        self.clear()
        self.refresh()

    def clear(self) -> None:
        """Gradients are zero again."""
        for buffer in self._buffers:
            assert buffer.grad is not None
            buffer.grad.zero_()

    def release(self) -> None:
        """Gives each parameter its own memory back."""
        for parameter, _ in self._views.values():
            parameter.data = parameter.data.clone()
        self._views.clear()
