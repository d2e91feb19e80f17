import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from harness.adapters.quick_dropout import QuickDropout, dropped_places, quicken


def dropped(p: float, *shape: int, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return QuickDropout(p).train()(torch.ones(shape))


@pytest.mark.parametrize("p", [0.001, 0.05, 0.1, 0.5, 0.9])
def test_the_share_of_zeros_is_p_and_the_mean_stays(p: float) -> None:
    out = dropped(p, 1000, 1000)
    deviation = (p * (1 - p)) ** 0.5 / 1000
    assert abs((out == 0).double().mean().item() - p) < 4 * deviation
    assert abs(out.double().mean().item() - 1) < 4 * deviation / (1 - p)
    assert out.unique().numel() == 2


def test_elements_are_independent_of_their_neighbours_and_of_the_next_call() -> None:
    torch.manual_seed(3)
    layer = QuickDropout(0.5).train()
    first, second = ((layer(torch.ones(400_000)) == 0).double() for _ in range(2))
    for one, other in ((first[1:], first[:-1]), (first[4:], first[:-4]), (first, second)):
        assert abs(torch.corrcoef(torch.stack((one, other)))[0, 1].item()) < 0.007


@pytest.mark.parametrize("p", [0.02, 0.3, 0.8])
def test_gaps_between_dropped_elements_are_geometric(p: float) -> None:
    places = dropped_places(1_000_000, p, seed=1)
    assert int(places[0]) >= 0
    assert int(places[-1]) < 1_000_000
    gaps = places.diff()
    for gap in (1, 2, 5):
        wanted = p * (1 - p) ** (gap - 1)
        deviation = (wanted * (1 - wanted) / len(gaps)) ** 0.5
        assert abs((gaps == gap).double().mean().item() - wanted) < 4 * deviation


@pytest.mark.parametrize("count", [1, 2, 17])
def test_short_rows_are_dropped_from_to_their_ends(count: int) -> None:
    seen = [dropped_places(count, 0.5, seed) for seed in range(2000)]
    shares = torch.stack([torch.bincount(each, minlength=count) for each in seen]).double()
    assert shares.max() == 1
    assert torch.allclose(shares.mean(0), torch.full((count,), 0.5).double(), atol=0.05)


def test_the_seed_of_torch_governs_it() -> None:
    assert torch.equal(dropped(0.3, 7, 13, seed=5), dropped(0.3, 7, 13, seed=5))
    assert not torch.equal(dropped(0.3, 7, 13, seed=5), dropped(0.3, 7, 13, seed=6))


def test_gradients_pass_where_values_do() -> None:
    x = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    out = QuickDropout(0.4).train()(x)
    out.sum().backward()
    assert out.dtype == torch.float64
    torch.testing.assert_close(x.grad * x.detach(), out.detach())


@pytest.mark.parametrize(("p", "training"), [(0.4, False), (0.0, True)])
def test_without_dropout_the_very_same_tensor_comes_back(p: float, training: bool) -> None:
    x = torch.randn(4)
    assert QuickDropout(p).train(training)(x) is x


def test_only_dropout_of_adapters_is_replaced() -> None:
    bare = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.2))
    model = get_peft_model(bare, LoraConfig(r=2, target_modules=["0"], lora_dropout=0.1))
    quicken(model)
    kinds = {type(module) for module in model.modules() if "Dropout" in type(module).__name__}
    assert kinds == {QuickDropout, nn.Dropout}
    assert model.base_model.model[0].lora_dropout["default"].p == 0.1
