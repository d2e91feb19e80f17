"""A step is cut into passes; where memory runs out they are halved, and nothing else changes."""

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


class Told(NamedTuple):
    """What a step came to, of each slot."""

    losses: dict[int, float]
    gradients: dict[int, list[Tensor]]
    tokens: dict[int, int]


class Memory:
    """Lets passes of so many sequences through, and counts them."""

    def __init__(self, patch: pytest.MonkeyPatch, room: int, error: Exception) -> None:
        self.passes: list[dict[int, int]] = []
        plain = AdapterPack.gradients

        def gradients(
            pack: AdapterPack, batches: Batches, answers: Mapping[int, int]
        ) -> dict[int, float]:
            sizes = {slot: len(batch) for slot, batch in batches.items()}
            self.passes.append(sizes)
            found = plain(pack, batches, answers)
            if sum(sizes.values()) > room:
                raise error
            return found

        patch.setattr(AdapterPack, "gradients", gradients)


def step(base: BaseModel, task: Task, training: TrainingSettings = TRAINING) -> Told:
    """One step's gradients, before they are made use of."""
    with packs.adapter_pack(base, task, CONFIGS, TRAINING) as (pack, runs):
        assert MicroBatcher(pack, training).step(runs) == {}
        return told(runs)


def told(runs: Mapping[int, SlotTrainingRun]) -> Told:
    trained = {
        slot: [run.weights.of(each).gradient for each in run.parameters]
        for slot, run in runs.items()
    }
    return Told(
        {slot: run._loss_value for slot, run in runs.items()},
        {slot: [one.clone() for one in each if one is not None] for slot, each in trained.items()},
        {slot: run._progress.tokens for slot, run in runs.items()},
    )


def same(found: Told, wanted: Told) -> None:
    assert found.losses == pytest.approx(wanted.losses, rel=1e-12)
    assert found.tokens == wanted.tokens
    for slot, each in wanted.gradients.items():
        assert len(found.gradients[slot]) == len(each) > 0
        for one, other in zip(found.gradients[slot], each, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_smaller_passes_come_to_the_same(rows: int, double: BaseModel, task: Task) -> None:
    wanted = step(double, task)
    same(step(double, task, TRAINING.model_copy(update={"micro_batch_size": rows})), wanted)


@pytest.mark.parametrize(
    ("room", "rows", "together"), [(12, 4, None), (6, 2, None), (3, 1, None), (2, 1, 1)]
)
def test_where_memory_runs_out_rows_are_halved_and_then_slots(
    room: int,
    rows: int,
    together: int | None,
    double: BaseModel,
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = step(double, task)
    memory = Memory(monkeypatch, room, torch.OutOfMemoryError("out of memory"))
    with packs.adapter_pack(double, task, CONFIGS, TRAINING) as (pack, runs):
        passes = MicroBatcher(pack, TRAINING)
        assert passes.step(runs) == {}
        assert (passes.rows, passes.together) == (rows, together)
        same(told(runs), wanted)
        failed = [sizes for sizes in memory.passes if sum(sizes.values()) > room]
        for run in runs.values():
            next(iter(run))
        memory.passes.clear()
        assert passes.step(runs) == {}  # what did not fit once is not tried again
        assert all(sum(sizes.values()) <= room for sizes in memory.passes)
    assert bool(failed) == (room < 12)


def test_what_was_added_up_before_memory_ran_out_does_not_count_twice(
    double: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = step(double, task)
    plain, seen = AdapterPack.gradients, [0]

    def gradients(
        pack: AdapterPack, batches: Batches, answers: Mapping[int, int]
    ) -> dict[int, float]:
        seen[0] += 1
        if seen[0] == 2:  # the first pass's gradients are there already
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")
        return plain(pack, batches, answers)

    monkeypatch.setattr(AdapterPack, "gradients", gradients)
    same(step(double, task, TRAINING.model_copy(update={"micro_batch_size": 2})), wanted)
    assert seen[0] == 2 + 4


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), KeyError("it")])
def test_what_cannot_be_helped_is_the_loss_of_whom_it_meets(
    error: Exception, double: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, plain = step(double, task), AdapterPack.gradients

    def gradients(
        pack: AdapterPack, batches: Batches, answers: Mapping[int, int]
    ) -> dict[int, float]:
        if 1 in batches:
            raise error
        return plain(pack, batches, answers)

    monkeypatch.setattr(AdapterPack, "gradients", gradients)
    with packs.adapter_pack(double, task, CONFIGS, TRAINING) as (pack, runs):
        passes = MicroBatcher(pack, TRAINING)
        assert passes.step(runs) == {1: error}
        # They were halved for a trial that is over now.
        assert (passes.rows, passes.together) == (4, None)
        assert error.__traceback__ is None  # it would keep the failed pass in memory
        found = told(runs)
    assert found.tokens == wanted.tokens | {1: 0}
    for slot in (0, 2):
        assert found.losses[slot] == pytest.approx(wanted.losses[slot], rel=1e-12)
        for one, other in zip(found.gradients[slot], wanted.gradients[slot], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert not any(each.any() for each in found.gradients[1])


def test_any_other_error_is_no_reason_for_smaller_passes(
    double: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(monkeypatch, 0, RuntimeError("no such shape"))
    with packs.adapter_pack(double, task, CONFIGS, TRAINING) as (pack, runs):
        passes = MicroBatcher(pack, TRAINING)
        assert {str(error) for error in passes.step(runs).values()} == {"no such shape"}
        assert (passes.rows, passes.together) == (4, None)
    assert [tuple(sizes) for sizes in memory.passes] == [(0, 1, 2), (0,), (1,), (2,)]


def run(base: BaseModel, task: Task, report: Report) -> dict[int, TrialResult]:
    requests = [TrialRequest(number, config) for number, config in enumerate(CONFIGS)]
    trainer = PackedTrainer(base, task, TRAINING, 3)
    return {result.number: result for result in trainer.train(iter(requests), report)}


def test_no_trial_is_lost_where_memory_runs_out(
    double: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_on(_number: int, _reading: Measurement) -> bool:
        return True

    wanted = run(double, task, go_on)
    memory = Memory(monkeypatch, 2, torch.OutOfMemoryError("out of memory"))
    found = run(double, task, go_on)
    assert len([sizes for sizes in memory.passes if sum(sizes.values()) > 2]) == 3
    for number, result in found.items():
        assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
        losses = [reading.loss for reading in result.measurements]
        assert losses == pytest.approx(
            [reading.loss for reading in wanted[number].measurements], rel=1e-9
        )
        assert result.scores == wanted[number].scores


def test_a_trial_that_needs_too_much_takes_no_other_along(
    double: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_on(_number: int, _reading: Measurement) -> bool:
        return True

    wanted, plain = run(double, task, go_on), AdapterPack.gradients

    def gradients(
        pack: AdapterPack, batches: Batches, answers: Mapping[int, int]
    ) -> dict[int, float]:
        if 1 in batches:
            raise torch.OutOfMemoryError("out of memory")
        return plain(pack, batches, answers)

    monkeypatch.setattr(AdapterPack, "gradients", gradients)
    found = run(double, task, go_on)
    assert found[1].outcome is Outcome.FAILED
    assert (found[1].error or "").startswith("out of memory; smaller")
    for number in (0, 2):
        assert (found[number].outcome, found[number].error) == (Outcome.COMPLETE, None)
        assert found[number].scores == wanted[number].scores
