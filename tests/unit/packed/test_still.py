"""An adapter that stands still does what PEFT's layer does, in double precision."""

import pytest
import torch

from harness.adapters import attach as attaching
from harness.models.base_model import BaseModel
from harness.training.packed.layers import still
from harness.training.packed.lora_math import Dropout, Frozen, LoraPart, Removed, Trained
from harness.trial import TrialConfig
from tests import packs

#: What was taken out of the frozen weights counts; what the pack trains does not.
SCALE = 0.7


def part(removed: Removed | None) -> LoraPart:
    nothing = Trained(torch.empty(0), None)
    return LoraPart(nothing, nothing, 1.0, Dropout(0.3, torch.Generator()), removed)


@pytest.mark.parametrize("variant", ["lora", "rslora", "lora_plus", "dora"])
def test_a_layer_is_peft_s(variant: str, double: BaseModel) -> None:
    drawn = torch.Generator().manual_seed(0)
    config = TrialConfig(variant, 4, 8.0, 0.3, "all_linear", 1e-3, 0)
    with attaching.attached(double, config) as adapter, torch.no_grad():
        for weight in (each for each in double.model.parameters() if each.requires_grad):
            weight += 0.1 * torch.randn(weight.shape, generator=drawn, dtype=weight.dtype)
        layers = packs.wrapped(adapter)
        assert len(layers) > 7
        for layer in layers.values():
            layer.eval()
            frozen = Frozen(layer.get_base_layer().get_parameter("weight"), None)
            rows = torch.randn(5, frozen.weight.shape[1], generator=drawn, dtype=torch.float64)
            out = frozen.forward(rows)
            still(layer, part(None), frozen).add(rows, out)
            wanted = layer(rows)
            torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10)
            if variant == "dora":
                continue
            first = torch.randn(2, rows.shape[1], generator=drawn, dtype=torch.float64)
            second = torch.randn(out.shape[1], 2, generator=drawn, dtype=torch.float64)
            less = frozen.forward(rows)
            still(layer, part(Removed(first, second, SCALE)), frozen).add(rows, less)
            missing = SCALE * rows @ first.T @ second.T
            torch.testing.assert_close(less, wanted - missing, rtol=1e-10, atol=1e-10)
