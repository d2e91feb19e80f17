"""Scoring in parts: how many, in which order, and how it ends; training settings of a trial."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from harness.adapters import attach
from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel, checksum
from harness.tasks.task import Task
from harness.training import loop
from harness.training.loop import checkpointed
from harness.training.sequential import (
    PrunedError,
    SequentialTrainer,
    merge_scores,
    score_in_parts,
    split_parts,
)
from harness.trial import Outcome, SplitScores, TrialConfig, TrialRequest, TrialResult


@dataclass(frozen=True)
class Row:
    id: str


class Ten:
    """A task of ten examples, as far as parts know one."""

    def examples(self, _split: str) -> tuple[Row, ...]:
        return tuple(Row(f"n{index}") for index in range(10))

    def values(self, rows: list[tuple[float, ...]], unparsed: list[bool]) -> dict[str, float]:
        return {"mean": sum(row[0] for row in rows) / len(rows), "unparsed": float(sum(unparsed))}


TASK: Any = Ten()


def scores(wanted: slice | None) -> SplitScores:
    chosen = range(10)[wanted or slice(None)]
    rows = tuple((float(index),) for index in chosen)
    unparsed = tuple(index == 3 for index in chosen)
    ids, texts = (tuple(f"{letter}{index}" for index in chosen) for letter in "nt")
    return SplitScores("s", ids, texts, unparsed, rows, TASK.values([*rows], [*unparsed]))


def score(wanted: slice | None) -> Generator[Any, Any, SplitScores]:
    yield "asked"
    return scores(wanted)


def run(life: Generator[Any, Any, SplitScores]) -> SplitScores:
    try:
        while True:
            next(life)
    except StopIteration as end:
        found: SplitScores = end.value
        return found


@pytest.mark.parametrize(("batch", "many"), [(100, 1), (6, 1), (5, 2), (3, 3), (1, 4)])
def test_a_part_is_no_smaller_than_a_batch(batch: int, many: int) -> None:
    found = split_parts(TASK, "s", batch)
    assert len(found) == many
    covered = sorted(index for part in found for index in range(10)[part])
    assert covered == list(range(10))
    assert all(len(range(10)[part]) >= min(batch, 10) for part in found) or many == 4


def test_parts_come_to_the_whole() -> None:
    seen: list[int] = []

    def ask(so_far: SplitScores) -> None:
        seen.append(len(so_far.ids))
        assert so_far.values == TASK.values([*so_far.statistics], [*so_far.unparsed])

    assert run(score_in_parts(score, TASK, split_parts(TASK, "s", 3), ask)) == scores(None)
    assert seen == [4, 7]


def test_whoever_looks_on_ends_it_with_a_reason() -> None:
    with pytest.raises(PrunedError, match="enough"):
        run(score_in_parts(score, TASK, split_parts(TASK, "s", 3), lambda _: "enough"))


def test_without_anybody_looking_on_there_is_one_part() -> None:
    assert run(score_in_parts(score, TASK, (None,), None)) == scores(None)
    assert merge_scores(TASK, [scores(slice(1, None, 2)), scores(slice(0, None, 2))]) == scores(
        None
    )


PLAIN = TrialConfig("lora", 4, 8.0, 0.0, "all_linear", 5e-3, 7)
IDS = torch.tensor([[1, 20, 30, 40, 50]])


def train(base: BaseModel, task: Task, config: TrialConfig) -> TrialResult:
    """One trial of six steps, without scores, which leaves the base model unchanged."""
    training = TrainingSettings(steps=6, batch_size=4, max_length=200)
    trainer = SequentialTrainer(base, task, training)
    before = checksum(base.model)
    requests = iter([TrialRequest(0, config, splits=())])
    (result,) = trainer.train(requests, lambda _number, _reading: True)
    assert checksum(base.model) == before
    return result


@pytest.mark.filterwarnings("ignore")  # of bitsandbytes and what it stands on
@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw_8bit"])
def test_8_bit_optimizers_keep_codes(name: str, base: BaseModel, task: Task) -> None:
    from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit

    optimizers: list[torch.optim.Optimizer] = []
    make_optimizer = loop.make_optimizer

    def record(*arguments: Any) -> torch.optim.Optimizer:
        optimizers.append(make_optimizer(*arguments))
        return optimizers[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_optimizer", record)
        # Smaller tensors than 4,096 numbers stay in 32 bits.
        result = train(base, task, PLAIN.with_level("optimizer", name).replace(rank=128))
    assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
    assert isinstance(optimizers[0], AdamW8bit if name == "adamw_8bit" else PagedAdamW8bit)
    dtypes = {state["state1"].dtype for state in optimizers[0].state.values()}
    assert torch.uint8 in dtypes


def test_the_ratio_of_lora_plus_can_be_chosen(base: BaseModel, task: Task) -> None:
    config = PLAIN.with_level("b_rate_ratio", "4").replace(variant="lora_plus")
    result = train(base, task, config)
    assert result.error is None
    assert "b_faster" in result.proofs  # at four times, as configured


def test_checkpointing_changes_no_number(base: BaseModel, task: Task) -> None:
    plain = train(base, task, PLAIN.replace(dropout=0.2))
    again = train(
        base, task, PLAIN.replace(dropout=0.2).with_level("gradient_checkpointing", "on")
    )
    assert [r.loss for r in plain.measurements] == [r.loss for r in again.measurements]
    with checkpointed(base.model) as blocks:
        assert blocks == 2
        saved: list[int] = []
        with (
            torch.autograd.graph.saved_tensors_hooks(
                lambda t: saved.append(t.numel()) or t, lambda t: t
            ),
            attach.attached_adapter(base, PLAIN),
        ):
            base.model(input_ids=IDS).logits.sum()
        checkpointed_size = sum(saved)
    saved.clear()
    with (
        torch.autograd.graph.saved_tensors_hooks(
            lambda t: saved.append(t.numel()) or t, lambda t: t
        ),
        attach.attached_adapter(base, PLAIN),
    ):
        base.model(input_ids=IDS).logits.sum()
    assert checkpointed_size < 0.7 * sum(saved)
    assert "forward" not in base.model.model.layers[0].__dict__


def test_the_forward_pass_may_compute_in_another_precision(base: BaseModel, task: Task) -> None:
    plain = train(base, task, PLAIN)
    half = train(base, task, PLAIN.with_level("compute_dtype", "bfloat16"))
    same = train(base, task, PLAIN.with_level("compute_dtype", "float32"))
    first = [result.measurements[0].loss for result in (plain, half, same)]
    assert first[0] == first[2]
    assert first[0] != first[1] == pytest.approx(first[0], rel=0.05)
    if not torch.cuda.is_available():
        error = train(base, task, PLAIN.with_level("compute_dtype", "float16")).error or ""
        assert error == "compute_dtype: float16 needs a GPU; use bfloat16 or float32"
