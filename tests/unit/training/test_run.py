from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch

from harness.adapters import attach as attaching
from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.models.batches import Batch
from harness.tasks.task import Task
from harness.training.loop import DivergedError, Progress, Run
from harness.training.losses import CompletionLoss
from harness.training.tokenization import TaskTokens
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


def train(
    base: BaseModel, task: Task, config: TrialConfig, **settings: object
) -> tuple[Weights, Progress, list[Batch]]:
    """Adapter weights after training, what was counted, and the batches seen."""
    training = TrainingSettings(**({"steps": 6, "batch_size": 4} | settings))
    sequences = TaskTokens(base, task, 200).training().sequences
    loss, progress = Recording(base), Progress()
    with attaching.attached(base, config) as adapter:
        run = Run(base, loss, sequences, adapter, training, training.steps or 0, progress)
        assert list(run) == list(range(1, (training.steps or 0) + 1))
        weights = {
            name: p.detach().clone()
            for name, p in base.model.named_parameters()
            if "lora_" in name
        }
    return weights, progress, loss.seen


def config(**changes: object) -> TrialConfig:
    return TrialConfig("lora", 4, 8.0, 0.0, "all_linear", 1e-2, 3).with_(**changes)


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
    sequences = TaskTokens(base, task, 200).training().sequences
    loss = CompletionLoss(base.model)
    with attaching.attached(base, wanted) as adapter:
        layer = next(m for m in base.model.modules() if isinstance(m, LoraLayer))
        layer.lora_dropout["default"].register_forward_hook(
            lambda _module, _input, output: kept.append(output != 0)
        )
        list(Run(base, loss, sequences, adapter, training, 3, Progress()))
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
    progress = Progress(losses=[1.0, 3.0])
    assert progress.take_loss() == 2.0
    assert progress.losses == []
