"""What tests of packed training share: the small base and task, and masks that are alike."""

import pytest
import torch

from harness.adapters.quick_dropout import DroppedPlaces
from harness.packed.dropping import Dropout
from tests.toy_fixtures import base, double, model_folder, task

__all__ = ["base", "double", "masks_of_the_trial_alone", "model_folder", "task"]


@pytest.fixture
def masks_of_the_trial_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws each layer's mask with a seed of its own, as the layers of a trial alone do."""

    def following(self: Dropout, count: int, _: torch.device) -> torch.Tensor:
        return DroppedPlaces(self._p, self._seed()).following(count)

    monkeypatch.setattr(Dropout, "_following", following)
