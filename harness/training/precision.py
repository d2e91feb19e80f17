"""What a forward pass computes in, and the scaling of losses that float16 needs.

Knows nothing of adapters or trials.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Final

import torch

from harness.errors import UserError

_DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class Precision:
    """Mixed precision of one training.

    Args:
        name: `base` (as the weights are), `float32`, `bfloat16` or `float16`.
        device: where the model lies.

    Raises:
        UserError: float16 without a GPU.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        """Makes the scaler, where there is one."""
        if name == "float16" and device.type != "cuda":
            raise UserError("compute_dtype: float16 needs a GPU; use bfloat16 or float32")
        self._dtype, self._device = _DTYPES.get(name), device.type
        self._scaler = torch.amp.GradScaler(device.type) if name == "float16" else None

    @property
    def scales(self) -> bool:
        """Whether losses are scaled; then gradients may overflow now and then."""
        return self._scaler is not None

    def forward(self) -> AbstractContextManager[object]:
        """Around the forward pass."""
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self._device, self._dtype, enabled=self._dtype != torch.float32)

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss to go backwards from."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def unscale(self, optimiser: torch.optim.Optimizer) -> None:
        """Gradients as they are, for clipping."""
        if self._scaler is not None:
            self._scaler.unscale_(optimiser)

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """The optimiser's step; a scaler leaves it out where gradients overflowed."""
        if self._scaler is None:
            optimiser.step()
        else:
            self._scaler.step(optimiser)
            self._scaler.update()
