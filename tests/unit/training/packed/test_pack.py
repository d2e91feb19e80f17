"""A step is cut into passes; where memory runs out they are halved, with the same result."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.models.batches import TokenSequence
from harness.tasks.task import Task
from harness.training.packed.pack import AdapterPack, MicroBatcher
from harness.training.packed.slot import SlotTrainingRun
from harness.training.packed.trainer import PackedTrainer
from harness.training.trainer import Report
from harness.trial import Measurement, Outcome, TrialConfig, TrialRequest, TrialResult
from tests import packs

CONFIGS = (
    TrialConfig("lora", 4, 8.0, 0.0, "all_linear", 5e-3, 5),
    TrialConfig("dora", 2, 4.0, 0.0, "qv", 1e-2, 6),
    TrialConfig("lora", 1, 2.0, 0.0, "mlp", 1e-3, 7),
)
TRAINING = TrainingSettings(steps=3, batch_size=4, micro_batch_size=4, readings=2)
Batches = Mapping[int, Sequence[TokenSequence]]


class StepOutcome(NamedTuple):
    """Losses, gradients and tokens of a step, by slot."""

    losses: dict[int, float]
    gradients: dict[int, list[Tensor]]
    tokens: dict[int, int]


class Memory:
    """Raises an error in passes of more than so many sequences, and records all passes."""

    def __init__(self, patch: pytest.MonkeyPatch, limit: int, error: Exception) -> None:
        self.passes: list[dict[int, int]] = []
        plain = AdapterPack.accumulate_gradients

        def gradients(
            pack: AdapterPack, batches: Batches, answers: Mapping[int, int]
        ) -> dict[int, float]:
            sizes = {slot: len(batch) for slot, batch in batches.items()}
            self.passes.append(sizes)
            outcome = plain(pack, batches, answers)
            if sum(sizes.values()) > limit:
                raise error
            return outcome

        patch.setattr(AdapterPack, "accumulate_gradients", gradients)


def step(base: BaseModel, task: Task, training: TrainingSettings = TRAINING) -> StepOutcome:
    """One step's gradients, before they are made use of."""
    with packs.adapter_pack(base, task, CONFIGS, TRAINING) as (pack, runs):
        assert MicroBatcher(pack, training).step(runs) == {}
        return step_outcome(runs)


def step_outcome(runs: Mapping[int, SlotTrainingRun]) -> StepOutcome:
    trained = {
        slot: [run.weights.of(each).gradient for each in run.parameters]
        for slot, run in runs.items()
    }
    return StepOutcome(
        {slot: run._loss_value for slot, run in runs.items()},
        {slot: [one.clone() for one in each if one is not None] for slot, each in trained.items()},
        {slot: run._progress.tokens for slot, run in runs.items()},
    )


def assert_equal(outcome: StepOutcome, expected: StepOutcome) -> None:
    assert outcome.losses == pytest.approx(expected.losses, rel=1e-12)
    assert outcome.tokens == expected.tokens
    for slot, each in expected.gradients.items():
        assert len(outcome.gradients[slot]) == len(each) > 0
        for one, other in zip(outcome.gradients[slot], each, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_smaller_passes_come_to_the_same(rows: int, double: BaseModel, task: Task) -> None:
    expected = step(double, task)
    assert_equal(
        step(double, task, TRAINING.model_copy(update={"micro_batch_size": rows})), expected
    )


@pytest.mark.parametrize(
    ("limit", "rows", "together"), [(12, 4, None), (6, 2, None), (3, 1, None), (2, 1, 1)]
)
def test_where_memory_runs_out_rows_are_halved_and_then_slots(
    limit: int,
    rows: int,
    together: int | None,
    double: BaseModel,
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = step(double, task)
    memory = Memory(monkeypatch, limit, torch.OutOfMemoryError("out of memory"))
    with packs.adapter_pack(double, task, CONFIGS, TRAINING) as (pack, runs):
        batcher = MicroBatcher(pack, TRAINING)
        assert batcher.step(runs) == {}
        assert (batcher.micro_batch, batcher.slots) == (rows, together)
        assert_equal(step_outcome(runs), expected)
        failed = [sizes for sizes in memory.passes if sum(sizes.values()) > limit]
        for run in runs.values():
            next(iter(run))
        memory.passes.clear()
        assert batcher.step(runs) == {}  # what did not fit once is not tried again
        assert all(sum(sizes.values()) <= limit for sizes in memory.passes)
    assert bool(failed) == (limit < 12)


def test_what_was_added_up_before_memory_ran_out_does_not_count_twice(
    double: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = step(double, task)
    plain, seen = AdapterPack.accumulate_gradients, [0]

    def gradients(
        pack: AdapterPack, batches: Batches, answers: Mapping[int, int]
    ) -> dict[int, float]:
        seen[0] += 1
        if seen[0] == 2:  # the first pass's gradients are there already
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")
        return plain(pack, batches, answers)

    monkeypatch.setattr(AdapterPack, "accumulate_gradients", gradients)
    assert_equal(step(double, task, TRAINING.model_copy(update={"micro_batch_size": 2})), expected)
    assert seen[0] == 2 + 4


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), KeyError("it")])
def test_what_cannot_be_helped_is_the_loss_of_whom_it_meets(
    error: Exception, double: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, plain = step(double, task), AdapterPack.accumulate_gradients

    def gradients(
        pack: AdapterPack, batches: Batches, answers: Mapping[int, int]
    ) -> dict[int, float]:
        if 1 in batches:
            raise error
        return plain(pack, batches, answers)

    monkeypatch.setattr(AdapterPack, "accumulate_gradients", gradients)
    with packs.adapter_pack(double, task, CONFIGS, TRAINING) as (pack, runs):
        batcher = MicroBatcher(pack, TRAINING)
        assert batcher.step(runs) == {1: error}
        # They were halved for a trial that is over now.
        assert (batcher.micro_batch, batcher.slots) == (4, None)
        assert error.__traceback__ is None  # it would keep the failed pass in memory
        outcome = step_outcome(runs)
    assert outcome.tokens == expected.tokens | {1: 0}
    for slot in (0, 2):
        assert outcome.losses[slot] == pytest.approx(expected.losses[slot], rel=1e-12)
        for one, other in zip(outcome.gradients[slot], expected.gradients[slot], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert not any(each.any() for each in outcome.gradients[1])


def test_any_other_error_is_no_reason_for_smaller_passes(
    double: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(monkeypatch, 0, RuntimeError("no such shape"))
    with packs.adapter_pack(double, task, CONFIGS, TRAINING) as (pack, runs):
        batcher = MicroBatcher(pack, TRAINING)
        assert {str(error) for error in batcher.step(runs).values()} == {"no such shape"}
        assert (batcher.micro_batch, batcher.slots) == (4, None)
    assert [tuple(sizes) for sizes in memory.passes] == [(0, 1, 2), (0,), (1,), (2,)]


@pytest.mark.parametrize(("micro_batch", "freed"), [(1, 0), (2, 1)])
def test_the_cache_is_freed_only_for_another_try(
    double: BaseModel,
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
    micro_batch: int,
    freed: int,
) -> None:
    Memory(monkeypatch, 0, torch.OutOfMemoryError("out of memory"))
    calls: list[None] = []
    training = TRAINING.model_copy(update={"micro_batch_size": micro_batch})
    with packs.adapter_pack(double, task, CONFIGS[:1], training) as (pack, runs):
        monkeypatch.setattr(pack, "free_cache", lambda: calls.append(None))
        assert MicroBatcher(pack, training).step(runs)
    assert len(calls) == freed


def run(base: BaseModel, task: Task, report: Report) -> dict[int, TrialResult]:
    requests = [TrialRequest(number, config) for number, config in enumerate(CONFIGS)]
    trainer = PackedTrainer(base, task, TRAINING, 3)
    return {result.number: result for result in trainer.train(iter(requests), report)}


def test_no_trial_is_lost_where_memory_runs_out(
    double: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_on(_number: int, _reading: Measurement) -> bool:
        return True

    expected = run(double, task, go_on)
    memory = Memory(monkeypatch, 2, torch.OutOfMemoryError("out of memory"))
    outcome = run(double, task, go_on)
    assert len([sizes for sizes in memory.passes if sum(sizes.values()) > 2]) == 3
    for number, result in outcome.items():
        assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
        losses = [reading.loss for reading in result.measurements]
        assert losses == pytest.approx(
            [reading.loss for reading in expected[number].measurements], rel=1e-9
        )
        assert result.scores == expected[number].scores


def test_a_trial_that_needs_too_much_takes_no_other_along(
    double: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_on(_number: int, _reading: Measurement) -> bool:
        return True

    expected, plain = run(double, task, go_on), AdapterPack.accumulate_gradients

    def gradients(
        pack: AdapterPack, batches: Batches, answers: Mapping[int, int]
    ) -> dict[int, float]:
        if 1 in batches:
            raise torch.OutOfMemoryError("out of memory")
        return plain(pack, batches, answers)

    monkeypatch.setattr(AdapterPack, "accumulate_gradients", gradients)
    outcome = run(double, task, go_on)
    assert outcome[1].outcome is Outcome.FAILED
    assert (outcome[1].error or "").startswith("out of memory; smaller")
    for number in (0, 2):
        assert (outcome[number].outcome, outcome[number].error) == (Outcome.COMPLETE, None)
        assert outcome[number].scores == expected[number].scores
