"""In which precision a study's base is, by what is asked for and by figures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config.settings import ModelSettings, TrainingSettings
from harness.errors import UserError
from harness.models import base_model
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.packed import selection as precision
from harness.training.packed.selection import Precision, settled
from harness.training.packed.selection import choose_precision as choose
from harness.training.packed.trainer import PackedTrainer

TRAINING = TrainingSettings(steps=2, batch_size=2)
Figures = Callable[[Mapping[str, float]], list[str]]


@pytest.fixture
def asked_for(model_folder: Path) -> ModelSettings:
    return ModelSettings(name=str(model_folder), dtype="auto")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Figures:
    """Puts figures in the place of measurements; answers the precisions that were tried."""

    def put(seconds: Mapping[str, float]) -> list[str]:
        asked: list[str] = []

        def found(model: ModelSettings, *_: Any) -> float | None:
            asked.append(model.dtype)
            return seconds.get(model.dtype)

        monkeypatch.setattr(precision, "_seconds", found)
        return asked

    return put


@pytest.mark.parametrize(
    ("seconds", "dtype", "why"),
    [
        ({"float32": 1.0, "bfloat16": 0.89}, "bfloat16", "the faster one here"),
        (
            {"float32": 1.0, "bfloat16": 0.91},
            "float32",
            "bfloat16 does not save a tenth of a trial's time here",
        ),
        ({"float32": 1.0}, "float32", "no step in bfloat16 could be timed"),
        ({"bfloat16": 1.0}, "bfloat16", "no step in float32 could be timed"),
    ],
)
def test_half_the_precision_has_to_be_worth_it(
    seconds: dict[str, float],
    dtype: str,
    why: str,
    asked_for: ModelSettings,
    task: Task,
    figures: Figures,
) -> None:
    asked = figures(seconds)
    found = choose(asked_for, task, TRAINING, 1)
    assert found == Precision(dtype, why, seconds)
    assert set(asked) == {"float32", "bfloat16"}


def test_where_one_has_no_room_the_other_is_taken(
    asked_for: ModelSettings, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = base_model.load

    def short(model: ModelSettings, *given: Any) -> BaseModel:
        if model.dtype == "float32":
            raise UserError("not enough memory")
        return load(model, *given)

    monkeypatch.setattr(base_model, "load", short)
    assert choose(asked_for, task, TRAINING, 1).dtype == "bfloat16"


def test_a_model_that_cannot_be_loaded_is_the_user_s_to_mend(task: Task) -> None:
    with pytest.raises(UserError, match="no such folder"):
        choose(ModelSettings(name="./nowhere", dtype="auto"), task, TRAINING, 1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_precision_that_is_named_is_not_measured(
    dtype: Any, task: Task, figures: Figures
) -> None:
    asked = figures({})
    model = ModelSettings(dtype=dtype)
    assert settled(model, task, TRAINING, 1, lambda *_: pytest.fail("decided")) is model
    assert asked == []


def test_the_decision_that_holds_is_kept(
    asked_for: ModelSettings, task: Task, figures: Figures
) -> None:
    """Another worker was first, or the study goes on."""
    asked = figures({"float32": 1.0, "bfloat16": 2.0})
    first = {"dtype": "bfloat16", "why": "the faster one here", "measured": {}}
    found = settled(asked_for, task, TRAINING, 1, lambda name, _: {"dtype": first}[name])
    assert found == asked_for.model_copy(update={"dtype": "bfloat16"})
    assert asked
    asked.clear()
    noted = settled(asked_for, task, TRAINING, 1, lambda *_: pytest.fail("decided"), first)
    assert noted.dtype == "bfloat16"
    assert asked == []


def test_a_trial_s_scoring_counts(
    asked_for: ModelSettings, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training is twice as fast in half precision, an example takes a second longer to score."""

    def token(trainer: PackedTrainer, _slots: int) -> float:
        return 1e-3 if half(trainer._base) else 2e-3

    def example(base: BaseModel, *_: Any) -> float:
        return 1.0 if half(base) else 0.0

    def half(base: BaseModel) -> bool:
        return next(base.model.parameters()).dtype == torch.bfloat16

    monkeypatch.setattr(precision, "seconds_a_token", token)
    assert choose(asked_for, task, TRAINING.model_copy(update={"steps": 900}), 1).dtype == (
        "bfloat16"
    )
    monkeypatch.setattr(precision, "_seconds_an_example", example)
    found = choose(asked_for, task, TRAINING.model_copy(update={"steps": 2}), 1)
    assert found.dtype == "float32"
    rows = len(task.examples("validation"))
    readings = TRAINING.readings * min(TRAINING.reading_examples, rows)
    assert found.measured["bfloat16"] - found.measured["float32"] / 2 == pytest.approx(
        rows + readings, abs=0.02
    )


def test_real_steps_are_timed(asked_for: ModelSettings, task: Task) -> None:
    found = choose(asked_for, task, TRAINING, 1)
    assert found.dtype in {"float32", "bfloat16"}
    assert set(found.measured) == {"float32", "bfloat16"}
    assert all(value > 0 for value in found.measured.values())
    assert torch.get_num_threads() == 1
