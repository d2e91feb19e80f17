"""What tests of packed training share: the small base and task, and masks that are alike."""

from functools import partial

import pytest
import torch
from torch import Tensor

from harness.adapters.fast_layers import DroppedPositions, _SparseDropout, dropout
from harness.training.packed.lora_math import Dropout, Dropped
from tests.toy_fixtures import base, double, model_folder, task

__all__ = ["base", "double", "masks_of_the_trial_alone", "model_folder", "task"]


@pytest.fixture
def masks_of_the_trial_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws each layer's mask with a seed of its own, as the layers of a trial alone do."""

    def draw(self: Dropout, rows: Tensor) -> Dropped | None:
        if not self._p:
            return None
        places = DroppedPositions(self._p, self._seed()).take(rows.numel())
        return partial(dropout, positions=places.to(rows.device), p=self._p)

    def alone(x: Tensor, p: float, training: bool = True, inplace: bool = False) -> Tensor:
        """What `QuickDropout` leaves to torch on a GPU, drawn as on a processor."""
        assert not inplace
        if not training or not p:
            return x
        places = DroppedPositions(p, int(torch.randint(1 << 62, ()))).take(x.numel())
        found: Tensor = _SparseDropout.apply(x, places.to(x.device), p)
        return found

    monkeypatch.setattr(Dropout, "draw", draw)
    monkeypatch.setattr(torch.nn.functional, "dropout", alone)
