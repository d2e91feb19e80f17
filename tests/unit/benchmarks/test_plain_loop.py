"""The loops of the benchmark run, do the same work, and are told; nothing is timed here."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.our_loop import OurLoop
from benchmarks.plain_loop import USUAL, Clock, Done, Manner, PlainLoop, Spent, Work, strongest
from benchmarks.trials_report import Round, summary
from harness.config.settings import ModelSettings, TrainingSettings
from harness.models import base_model
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import SequentialTrainer
from harness.trial import TrialConfig

TRAINING = TrainingSettings(steps=2, batch_size=10, max_length=96, readings=0)
CONFIG = TrialConfig("dora", 4, 8.0, 0.0, "qv", 1e-2, 3)


@pytest.fixture(scope="module")
def work(base: BaseModel, task: Task, model_folder: Path) -> Work:
    return Work.of(base, str(model_folder), task, TRAINING)


@pytest.fixture(scope="module")
def ours(base: BaseModel, task: Task) -> Done:
    return OurLoop(SequentialTrainer(base, task, TRAINING), Clock()).trial(CONFIG)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
@pytest.mark.parametrize("manner", [USUAL, strongest(torch.float32)], ids=["usual", "strongest"])
def test_plain_loops_do_the_work_of_ours(work: Work, ours: Done, manner: Manner) -> None:
    clock = Clock()
    loop = PlainLoop(work, manner, clock)

    first, again = loop.trial(CONFIG), loop.trial(CONFIG)

    # A batch is the whole of the data: what differs is the adapter's first weights alone.
    assert first.loss == pytest.approx(ours.loss, rel=0.02)
    assert again.loss == pytest.approx(first.loss, rel=1e-4)
    assert first.scores.ids == ours.scores.ids
    assert len(first.scores.predictions) == len(work.prompts)
    assert set(clock.spent) == {"load", "train", "score"}


def test_inner_parts_are_not_counted_in_outer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 10.0, 14.0, 20.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    monkeypatch.setattr("time.process_time", lambda: 0.0)
    clock = Clock()

    with clock.part("train"), clock.part("score"):
        pass

    assert clock.spent == {"train": Spent(16.0, 0.0), "score": Spent(4.0, 0.0)}


def test_ratios_are_of_the_loops_of_one_repeat() -> None:
    def round_(seconds: float) -> Round:
        each = Spent(seconds, seconds)
        parts = {"load": each, "train": each, "score": each}
        return Round(trials=2, parts=parts, loss=1.0, score=0.0, written=1.0)

    rounds = [{"a": round_(a), "c": round_(c)} for a, c in ((6, 2), (8, 1), (10, 5))]

    found = summary(rounds)["c"]

    assert found["times_a"]["total_cpu"] == [3.0, 2.0, 8.0]
    assert found["trials_an_hour"] == pytest.approx(3600 / 3.0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scoring_of_either_way_is_counted_as_scoring(
    dtype: Any, model_folder: Path, task: Task
) -> None:
    """In float32 the adapter is merged, in half precision the pack scores it itself."""
    base = base_model.load(ModelSettings(name=str(model_folder), dtype=dtype), 1)
    clock = Clock()
    OurLoop(PackedTrainer(base, task, TRAINING), clock).trial(CONFIG)
    assert clock.spent["score"].wall > 0
    assert clock.spent["train"].wall > 0
