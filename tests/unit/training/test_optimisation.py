import pytest
import torch
from torch import nn

from harness.adapters import attach as attaching
from harness.config.settings import TrainingSettings
from harness.config.variants import VARIANTS
from harness.models.base_model import BaseModel
from harness.training.loop import optimiser, rate_share, set_rate, step_count
from harness.trial import TrialConfig


def settings(**changes: object) -> TrainingSettings:
    return TrainingSettings(**({"steps": 100} | changes))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_rate_rises_to_its_peak_and_falls_to_the_floor(schedule: str) -> None:
    training = settings(schedule=schedule, warmup=0.1, floor=0.05)
    shares = [rate_share(step, 100, training) for step in range(100)]
    assert 0 < shares[0] < shares[5] < shares[9] < 1
    assert shares[10] == max(shares) == 1.0
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[-1] == pytest.approx(0.05)
    assert shares[54] == pytest.approx(0.525, abs=0.01)  # half way both have fallen by half


def test_a_constant_rate_stays() -> None:
    training = settings(schedule="constant", warmup=0.0)
    assert {rate_share(step, 100, training) for step in range(100)} == {1.0}


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
def test_the_shortest_runs_have_rates_too(steps: int, warmup: float) -> None:
    training = settings(warmup=warmup)
    shares = [rate_share(step, steps, training) for step in range(steps)]
    assert all(0 < share <= 1 for share in shares)


def test_steps_follow_epochs_and_budget() -> None:
    epochs = TrainingSettings(epochs=4, batch_size=8)
    assert step_count(epochs, 500, 1.0) == 63 * 4
    assert step_count(epochs, 500, 0.5) == 63 * 2
    assert step_count(epochs, 500, 1 / 3) == 84
    assert step_count(TrainingSettings(epochs=0.5, batch_size=8), 64, 1.0) == 4
    assert step_count(settings(steps=10), 500, 0.5) == 5
    assert step_count(settings(steps=1), 500, 0.01) == 1


def attached_groups(base: BaseModel, variant: str, decay: float) -> list[dict]:
    config = TrialConfig(variant, 4, 8.0, 0.0, "qv", 1e-3, 0)
    with attaching.attached(base, config):
        names = {id(p): name for name, p in base.model.named_parameters()}
        made = optimiser(
            base.model.named_parameters(), 1e-3, decay, VARIANTS.get(variant).optimiser
        )
        return [
            {**group, "params": [names[id(p)] for p in group["params"]]}
            for group in made.param_groups
        ]


def test_lora_plus_trains_b_faster_by_its_ratio() -> None:
    weights = {
        "x.lora_A.default.weight": nn.Parameter(torch.ones(2, 3)),
        "x.lora_B.default.weight": nn.Parameter(torch.ones(3, 2)),
        "x.weight": nn.Parameter(torch.ones(3, 3), requires_grad=False),
    }
    made = optimiser(weights.items(), 1e-3, 0.0, {"b_rate_ratio": 16.0})
    rates = {id(p): group["lr"] for group in made.param_groups for p in group["params"]}
    assert rates == {
        id(weights["x.lora_A.default.weight"]): 1e-3,
        id(weights["x.lora_B.default.weight"]): pytest.approx(1.6e-2),
    }
    set_rate(made, 0.5)
    assert sorted(group["lr"] for group in made.param_groups) == [5e-4, pytest.approx(8e-3)]


def test_the_groups_of_a_real_lora_plus_adapter(base: BaseModel) -> None:
    groups = attached_groups(base, "lora_plus", 0.0)
    by_rate = {round(group["lr"] / 1e-3): group["params"] for group in groups}
    assert set(by_rate) == {1, 16}
    assert all("lora_A" in name for name in by_rate[1])
    assert all("lora_B" in name for name in by_rate[16])
    assert len(by_rate[1]) == len(by_rate[16]) == 4  # q and v of two layers


def test_magnitudes_do_not_decay(base: BaseModel) -> None:
    groups = attached_groups(base, "dora", 0.1)
    decays = {name: group["weight_decay"] for group in groups for name in group["params"]}
    assert {d for name, d in decays.items() if "magnitude" in name} == {0.0}
    assert {d for name, d in decays.items() if "magnitude" not in name} == {0.1}


def test_a_trait_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown optimiser traits: b_ratio"):
        optimiser([("a", nn.Parameter(torch.ones(2, 2)))], 1e-3, 0.0, {"b_ratio": 2.0})
