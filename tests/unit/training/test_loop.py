from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import nn

from harness.adapters import attach
from harness.config.settings import TrainingSettings
from harness.config.variants import VARIANTS
from harness.models.base_model import BaseModel
from harness.models.batches import Batch
from harness.tasks.task import Task
from harness.training.loop import (
    DivergedError,
    TrainingProgress,
    TrainingRun,
    make_optimizer,
    schedule_factor,
    set_rate,
    step_count,
)
from harness.training.losses import CompletionLoss
from harness.training.tokenization import TokenizedTask
from harness.trial import TrialConfig

Weights = dict[str, torch.Tensor]


class Recording(CompletionLoss):
    """Keeps the batches that it was called with."""

    def __init__(self, base: BaseModel) -> None:
        super().__init__(base.model)
        self.seen: list[Batch] = []

    def __call__(self, batch: Batch) -> torch.Tensor:
        self.seen.append(batch)
        return super().__call__(batch)


class Bounded(Recording):
    """Runs out of memory in the forward pass of more than so many sequences."""

    def __init__(self, base: BaseModel, sequences: int) -> None:
        super().__init__(base)
        self.sequences = sequences

    def __call__(self, batch: Batch) -> torch.Tensor:
        loss = super().__call__(batch)  # which draws dropout, as a pass that fails late does
        if len(batch.ids) > self.sequences:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss


def train(
    base: BaseModel,
    task: Task,
    config: TrialConfig,
    loss: Recording | None = None,
    **settings: object,
) -> tuple[Weights, TrainingProgress, list[Batch]]:
    """Adapter weights after training, what was counted, and the batches seen."""
    training = TrainingSettings(**({"steps": 6, "batch_size": 4} | settings))
    sequences = TokenizedTask(base, task, 200).training().sequences
    loss, progress = loss or Recording(base), TrainingProgress()
    with attach.attached_adapter(base, config) as adapter:
        run = TrainingRun(base, loss, sequences, adapter, training, training.steps or 0, progress)
        assert list(run) == list(range(1, (training.steps or 0) + 1))
        weights = {
            name: p.detach().clone()
            for name, p in base.model.named_parameters()
            if "lora_" in name
        }
    return weights, progress, loss.seen


def config(**changes: object) -> TrialConfig:
    return TrialConfig("lora", 4, 8.0, 0.0, "all_linear", 1e-2, 3).replace(**changes)


def ids(batches: list[Batch]) -> list[list[list[int]]]:
    return [batch.ids.tolist() for batch in batches]


def test_ranks_and_variants_see_identical_batches(base: BaseModel, task: Task) -> None:
    _, _, low = train(base, task, config(rank=1))
    for changed in (
        config(rank=64),
        config(variant="dora"),
        config(dropout=0.1, target_modules="q"),
    ):
        _, _, other = train(base, task, changed)
        assert ids(other) == ids(low)
    _, _, reseeded = train(base, task, config(rank=1, seed=4))
    assert ids(reseeded) != ids(low)


def test_equal_trials_end_with_equal_weights(base: BaseModel, task: Task) -> None:
    torch.manual_seed(1)
    first, _, _ = train(base, task, config(dropout=0.2))
    torch.manual_seed(2)
    again, _, _ = train(base, task, config(dropout=0.2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def masks(base: BaseModel, task: Task, wanted: TrialConfig) -> Iterator[torch.Tensor]:
    """What the dropout of the first query projection keeps, step by step."""
    from peft.tuners.lora.layer import LoraLayer

    kept: list[torch.Tensor] = []
    training = TrainingSettings(steps=3, batch_size=4)
    sequences = TokenizedTask(base, task, 200).training().sequences
    loss = CompletionLoss(base.model)
    with attach.attached_adapter(base, wanted) as adapter:
        layer = next(m for m in base.model.modules() if isinstance(m, LoraLayer))
        layer.lora_dropout["default"].register_forward_hook(
            lambda _module, _input, output: kept.append(output != 0)
        )
        list(TrainingRun(base, loss, sequences, adapter, training, 3, TrainingProgress()))
    yield from kept


def test_dropout_has_a_generator_of_its_own(base: BaseModel, task: Task) -> None:
    # Rank 64 draws more first weights than rank 1; the masks must not notice.
    low = list(masks(base, task, config(rank=1, dropout=0.3, target_modules="q")))
    high = list(masks(base, task, config(rank=64, dropout=0.3, target_modules="q")))
    other = list(masks(base, task, config(rank=1, dropout=0.3, target_modules="q", seed=9)))
    assert low
    assert all(torch.equal(a, b) for a, b in zip(low, high, strict=True))
    assert not all(
        a.shape == b.shape and torch.equal(a, b) for a, b in zip(low, other, strict=True)
    )
    assert 0.6 < torch.cat([mask.flatten() for mask in low]).float().mean() < 0.8


@pytest.mark.parametrize("micro", [1, 2])
def test_accumulation_equals_one_large_batch(base: BaseModel, task: Task, micro: int) -> None:
    whole, large, seen = train(base, task, config())
    parts, small, pieces = train(base, task, config(), micro_batch_size=micro)
    assert len(pieces) > len(seen)
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=2e-3, atol=2e-4)
    assert small.losses == pytest.approx(large.losses, rel=1e-3)
    assert (small.tokens, small.step) == (large.tokens, large.step)


@pytest.mark.parametrize(("fits", "sequences"), [(2, "2 sequences"), (1, "1 sequence")])
def test_where_memory_runs_out_the_micro_batch_is_halved(
    fits: int, sequences: str, base: BaseModel, task: Task
) -> None:
    bounded = Bounded(base, fits)
    weights, progress, batches = train(base, task, config(dropout=0.2), bounded)
    smaller, expected, _ = train(base, task, config(dropout=0.2), micro_batch_size=fits)
    # To the last bit, dropout too: a failed pass leaves nothing behind.
    assert all(torch.equal(weights[name], smaller[name]) for name in smaller)
    assert progress.losses == expected.losses
    assert progress.tokens == expected.tokens
    assert progress.changed == f"memory ran out: micro-batches of {sequences} instead of 4"
    assert expected.changed is None
    # What did not fit once is not tried again.
    sizes = [len(batch.ids) for batch in batches]
    assert 1 <= sum(size > fits for size in sizes) <= 2  # from 4 to 1 it is halved twice


def test_gradients_of_a_failed_attempt_do_not_count_twice(base: BaseModel, task: Task) -> None:
    class Once(Recording):
        def __call__(self, batch: Batch) -> torch.Tensor:
            loss = super().__call__(batch)
            if len(self.seen) == 2:  # the first micro-batch has added its gradients
                raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")
            return loss

    # All examples in each batch: none is shorter, and the first has several micro-batches.
    size = len(TokenizedTask(base, task, 200).training().sequences)
    settings = {"batch_size": size, "steps": 2}
    weights, progress, _ = train(base, task, config(), Once(base), **settings, micro_batch_size=2)
    smaller, expected, _ = train(base, task, config(), **settings, micro_batch_size=1)
    assert all(torch.equal(weights[name], smaller[name]) for name in smaller)
    assert (progress.losses, progress.tokens) == (expected.losses, expected.tokens)


def test_one_sequence_that_does_not_fit_is_out_of_memory(base: BaseModel, task: Task) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        train(base, task, config(), Bounded(base, 0))


def test_any_other_error_is_no_reason_for_smaller_micro_batches(
    base: BaseModel, task: Task
) -> None:
    class Broken(Recording):
        def __call__(self, batch: Batch) -> torch.Tensor:
            super().__call__(batch)
            raise RuntimeError("no such shape")

    broken = Broken(base)
    with pytest.raises(RuntimeError, match="no such shape"):
        train(base, task, config(), broken)
    assert len(broken.seen) == 1


def test_tokens_are_counted_without_padding(base: BaseModel, task: Task) -> None:
    _, progress, seen = train(base, task, config())
    pad = base.tokenizer.pad_token_id
    assert progress.tokens == sum(int((batch.ids != pad).sum()) for batch in seen)
    assert progress.step == 6
    assert progress.seconds > 0


def test_the_loss_of_a_small_set_falls(base: BaseModel, task: Task) -> None:
    _, progress, _ = train(base, task, config(rank=16), steps=60)
    thirds = [sum(progress.losses[i : i + 20]) / 20 for i in (0, 20, 40)]
    assert all(later < earlier for earlier, later in pairwise(thirds))
    assert thirds[-1] < 0.6 * thirds[0]


def test_weights_decay_when_asked(base: BaseModel, task: Task) -> None:
    free, _, _ = train(base, task, config())
    decayed, _, _ = train(base, task, config(), weight_decay=1.0)
    # First weights of A are far from zero and hardly move otherwise.
    assert sum(float(w.norm()) for w in decayed.values()) < sum(
        float(w.norm()) for w in free.values()
    )


def test_clipping_bounds_the_gradient(
    base: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *given: object) -> object:
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.stack([g.norm() for g in grads if g is not None]).norm()))
        return step(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    train(base, task, config(), max_gradient_norm=0.01)
    assert len(norms) == 6
    assert max(norms) <= 0.01 * 1.001


def test_a_loss_above_the_bound_is_divergence(base: BaseModel, task: Task) -> None:
    with pytest.raises(DivergedError, match=r"diverged at step 1: running loss .* above 0\.1"):
        train(base, task, config(), divergence=0.1)


def test_a_loss_that_is_no_number_is_divergence(base: BaseModel, task: Task) -> None:
    with pytest.raises(DivergedError, match="diverged at step"):
        train(base, task, config(learning_rate=1e30, rank=16), steps=40)


def test_the_loss_is_forgotten_when_it_was_read() -> None:
    progress = TrainingProgress(losses=[1.0, 3.0])
    assert progress.take_loss() == 2.0
    assert progress.losses == []


def settings(**changes: object) -> TrainingSettings:
    return TrainingSettings(**({"steps": 100} | changes))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_rate_rises_to_its_peak_and_falls_to_the_floor(schedule: str) -> None:
    training = settings(schedule=schedule, warmup=0.1, floor=0.05)
    shares = [schedule_factor(step, 100, training) for step in range(100)]
    assert 0 < shares[0] < shares[5] < shares[9] < 1
    assert shares[10] == max(shares) == 1.0
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[-1] == pytest.approx(0.05)
    assert shares[54] == pytest.approx(0.525, abs=0.01)  # half way both have fallen by half


def test_a_constant_rate_stays() -> None:
    training = settings(schedule="constant", warmup=0.0)
    assert {schedule_factor(step, 100, training) for step in range(100)} == {1.0}


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
def test_the_shortest_runs_have_rates_too(steps: int, warmup: float) -> None:
    training = settings(warmup=warmup)
    shares = [schedule_factor(step, steps, training) for step in range(steps)]
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
    with attach.attached_adapter(base, config):
        names = {id(p): name for name, p in base.model.named_parameters()}
        made = make_optimizer(
            base.model.named_parameters(), 1e-3, decay, VARIANTS.get(variant).optimizer
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
    made = make_optimizer(weights.items(), 1e-3, 0.0, {"b_rate_ratio": 16.0})
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
    with pytest.raises(ValueError, match="unknown optimizer traits: b_ratio"):
        make_optimizer([("a", nn.Parameter(torch.ones(2, 2)))], 1e-3, 0.0, {"b_ratio": 2.0})
