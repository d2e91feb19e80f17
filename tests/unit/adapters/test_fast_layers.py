from unittest import mock

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import LoraLayer
from torch import nn

from harness.adapters import attach, fast_layers
from harness.adapters.adapter import merged
from harness.adapters.fast_layers import DroppedPositions, FastDropout, use_fast_dropout
from harness.config.settings import ModelSettings
from harness.models.base_model import BaseModel, load
from tests.unit.adapters.test_attach import IDS, config, stir

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


def step(base: BaseModel, variant: str, dropout: float, fused: bool) -> list[torch.Tensor]:
    """Logits, then the gradient of each adapter weight, of one training step."""
    way = fast_layers.fuse_lora_layers if fused else lambda _: 0
    with (
        mock.patch.object(attach, "fuse_lora_layers", way),
        attach.attached_adapter(base, config(variant, dropout=dropout)),
    ):
        stir(base)
        attach.set_dropout(base.model, on=True)
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
    for actual, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def taken(base: BaseModel) -> int:
    return sum(
        "forward" in module.__dict__
        for module in base.model.modules()
        if isinstance(module, LoraLayer)
    )


@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_every_layer_is_taken(base: BaseModel, variant: str) -> None:
    with attach.attached_adapter(base, config(variant)):
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
            assert fast_layers.fuse_lora_layers(model) == 1
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.3 * torch.randn(parameter.shape)
        x = torch.randn(5, 12, requires_grad=True)
        torch.manual_seed(1)
        out = model.train()(x)
        out.square().sum().backward()
        gradients = [p.grad for p in model.parameters() if p.requires_grad]
        results.append([out.detach(), x.grad, *gradients])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_a_layer_is_taken_again_after_merged_scoring(base: BaseModel) -> None:
    with attach.attached_adapter(base, config("lora")):
        stir(base)
        before = [m.__dict__["forward"] for m in base.model.modules() if isinstance(m, LoraLayer)]
        with merged(base.model):
            assert taken(base) == 14  # by the base layers' own
        after = [m.__dict__["forward"] for m in base.model.modules() if isinstance(m, LoraLayer)]
        assert after == before


def test_a_switched_off_adapter_gives_the_base(base: BaseModel) -> None:
    with torch.no_grad():
        bare = base.model(input_ids=IDS).logits
    with attach.attached_adapter(base, config("lora")) as adapter:
        stir(base)
        with adapter.model.disable_adapter(), torch.no_grad():
            assert torch.equal(base.model(input_ids=IDS).logits, bare)


@pytest.mark.filterwarnings("ignore")  # of bitsandbytes and what it stands on
def test_mixed_precision_and_quantised_layers_keep_the_usual_way(model_folder: str) -> None:
    for settings in ({"dtype": "bfloat16"}, {"quantization": "nf4"}):
        base = load(ModelSettings(name=str(model_folder), **settings))
        with attach.attached_adapter(base, config("lora")):
            assert taken(base) == 0


def dropped(p: float, *shape: int, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return FastDropout(p).train()(torch.ones(shape))


@pytest.mark.parametrize("p", [0.001, 0.05, 0.1, 0.5, 0.9])
def test_the_share_of_zeros_is_p_and_the_mean_stays(p: float) -> None:
    out = dropped(p, 1000, 1000)
    deviation = (p * (1 - p)) ** 0.5 / 1000
    assert abs((out == 0).double().mean().item() - p) < 4 * deviation
    assert abs(out.double().mean().item() - 1) < 4 * deviation / (1 - p)
    assert out.unique().numel() == 2


def test_elements_are_independent_of_their_neighbours_and_of_the_next_call() -> None:
    torch.manual_seed(3)
    layer = FastDropout(0.5).train()
    first, second = ((layer(torch.ones(400_000)) == 0).double() for _ in range(2))
    for left, right in ((first[1:], first[:-1]), (first[4:], first[:-4]), (first, second)):
        assert abs(torch.corrcoef(torch.stack((left, right)))[0, 1].item()) < 0.007


@pytest.mark.parametrize("p", [0.02, 0.3, 0.8])
def test_gaps_between_dropped_elements_are_geometric(p: float) -> None:
    places = DroppedPositions(p, 1).take(1_000_000).unique()
    assert int(places[0]) >= 0
    assert int(places[-1]) < 1_000_000
    gaps = places.diff()
    for gap in (1, 2, 5):
        expected = p * (1 - p) ** (gap - 1)
        deviation = (expected * (1 - expected) / len(gaps)) ** 0.5
        assert abs((gaps == gap).double().mean().item() - expected) < 4 * deviation


@pytest.mark.parametrize("count", [1, 2, 17])
def test_short_rows_are_dropped_from_to_their_ends(count: int) -> None:
    seen = [DroppedPositions(0.5, seed).take(count).unique() for seed in range(2000)]
    shares = torch.stack(
        [torch.bincount(row_positions, minlength=count) for row_positions in seen]
    ).double()
    assert shares.max() == 1
    assert torch.allclose(shares.mean(0), torch.full((count,), 0.5).double(), atol=0.05)


@pytest.mark.parametrize("p", [0.0003, 0.05, 0.7])
def test_one_row_does_not_depend_on_the_pieces_in_which_it_is_asked_for(p: float) -> None:
    positions = DroppedPositions(p, 4).take(30_011)
    pieces, start = [], 0
    source = DroppedPositions(p, 4)
    for count in (1, 10_000, 3, 20_000, 7):
        pieces.append(source.take(count) + start)
        start += count
    seen = torch.cat(pieces)
    assert seen.max() < 30_011
    assert seen.numel() > 0
    # The last draw may be cut elsewhere, so only what both drew alike is compared.
    alike = min(500, len(positions), len(seen))
    assert torch.equal(seen[:alike], positions[:alike])


@pytest.mark.parametrize("count", [1, 64, 5000])
def test_a_row_asked_for_piece_by_piece_is_dropped_evenly(count: int) -> None:
    source = DroppedPositions(0.2, 9)
    seen = torch.stack(
        [
            torch.bincount(source.take(count).unique(), minlength=count)
            for _ in range(2_000_000 // count // 4)
        ]
    ).double()
    assert seen.max() == 1
    halves = torch.stack(seen.mean(1).chunk(2)[:2]).mean(1)
    assert torch.allclose(halves, torch.full((2,), 0.2).double(), atol=0.004)
    if count > 1:
        ends = seen[:, [0, -1]].mean(0)
        deviation = (0.16 / len(seen)) ** 0.5
        assert torch.allclose(ends, torch.full((2,), 0.2).double(), atol=4 * deviation)


def test_the_seed_of_torch_governs_it() -> None:
    assert torch.equal(dropped(0.3, 7, 13, seed=5), dropped(0.3, 7, 13, seed=5))
    assert not torch.equal(dropped(0.3, 7, 13, seed=5), dropped(0.3, 7, 13, seed=6))


def test_gradients_pass_where_values_do() -> None:
    x = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    out = FastDropout(0.4).train()(x)
    out.sum().backward()
    assert out.dtype == torch.float64
    torch.testing.assert_close(x.grad * x.detach(), out.detach())


@pytest.mark.parametrize(("p", "training"), [(0.4, False), (0.0, True)])
def test_without_dropout_the_very_same_tensor_comes_back(p: float, training: bool) -> None:
    x = torch.randn(4)
    assert FastDropout(p).train(training)(x) is x


def test_only_dropout_of_adapters_is_replaced() -> None:
    bare = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.2))
    model = get_peft_model(bare, LoraConfig(r=2, target_modules=["0"], lora_dropout=0.1))
    use_fast_dropout(model)
    kinds = {type(module) for module in model.modules() if "Dropout" in type(module).__name__}
    assert kinds == {FastDropout, nn.Dropout}
    assert model.base_model.model[0].lora_dropout["default"].p == 0.1
