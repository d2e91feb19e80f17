from unittest import mock

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import LoraLayer

from harness.adapters import adapter as merging
from harness.adapters import attach as attaching
from harness.adapters import fast_layers as fused_lora
from harness.config.settings import ModelSettings
from harness.models.base_model import BaseModel, load
from tests.unit.adapters.test_attaching import IDS, config, stir

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


def step(base: BaseModel, variant: str, dropout: float, fused: bool) -> list[torch.Tensor]:
    """Logits, then the gradient of each adapter weight, of one training step."""
    way = fused_lora.fuse if fused else lambda _: 0
    with (
        mock.patch.object(attaching, "fuse", way),
        attaching.attached(base, config(variant, dropout=dropout)),
    ):
        stir(base)
        attaching.dropout_mode(base.model, on=True)
        torch.manual_seed(3)
        logits = base.model(input_ids=IDS).logits
        logits.logsumexp(-1).sum().backward()
        gradients = [p.grad for p in base.model.parameters() if p.requires_grad]
        assert all(gradient is not None for gradient in gradients)
        return [logits.detach(), *(gradient for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("variant", ["lora", "rslora", "lora_plus", "dora"])
def test_outputs_and_gradients_are_those_of_peft(
    base: BaseModel, variant: str, dropout: float
) -> None:
    ours, theirs = (step(base, variant, dropout, fused) for fused in (True, False))
    assert len(ours) == len(theirs) > 20
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def taken(base: BaseModel) -> int:
    return sum(
        "forward" in module.__dict__
        for module in base.model.modules()
        if isinstance(module, LoraLayer)
    )


@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_every_layer_is_taken(base: BaseModel, variant: str) -> None:
    with attaching.attached(base, config(variant)):
        assert taken(base) == 14


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_a_layer_with_a_bias_is_that_of_peft(variant: str, dropout: float) -> None:
    """Llama's layers have none, those of other models do."""
    results = []
    for fused in (True, False):
        torch.manual_seed(0)
        plain = torch.nn.Sequential(torch.nn.Linear(12, 20))
        model = get_peft_model(
            plain,
            LoraConfig(
                r=3, target_modules=["0"], lora_dropout=dropout, use_dora=variant == "dora"
            ),
        )
        if fused:
            assert fused_lora.fuse(model) == 1
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.3 * torch.randn(parameter.shape)
        x = torch.randn(5, 12, requires_grad=True)
        torch.manual_seed(1)
        out = model.train()(x)
        out.square().sum().backward()
        gradients = [p.grad for p in model.parameters() if p.requires_grad]
        results.append([out.detach(), x.grad, *gradients])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_layer_is_taken_again_after_merged_scoring(base: BaseModel) -> None:
    with attaching.attached(base, config("lora")):
        stir(base)
        before = [m.__dict__["forward"] for m in base.model.modules() if isinstance(m, LoraLayer)]
        with merging.merged(base.model):
            assert taken(base) == 14  # by the base layers' own
        after = [m.__dict__["forward"] for m in base.model.modules() if isinstance(m, LoraLayer)]
        assert after == before


def test_a_switched_off_adapter_gives_the_base(base: BaseModel) -> None:
    with torch.no_grad():
        bare = base.model(input_ids=IDS).logits
    with attaching.attached(base, config("lora")) as adapter:
        stir(base)
        with adapter.model.disable_adapter(), torch.no_grad():
            assert torch.equal(base.model(input_ids=IDS).logits, bare)


@pytest.mark.filterwarnings("ignore")  # of bitsandbytes and what it stands on
def test_mixed_precision_and_quantised_layers_keep_the_usual_way(model_folder: str) -> None:
    for settings in ({"dtype": "bfloat16"}, {"quantization": "nf4"}):
        other = load(ModelSettings(name=str(model_folder), **settings))
        with attaching.attached(other, config("lora")):
            assert taken(other) == 0
