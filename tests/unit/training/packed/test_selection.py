"""Which engine a study gets, by what was asked for and by figures; nothing is timed here.

In which precision a study's base is, by what is asked for and by figures.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPTJConfig

from harness.config.settings import EngineSettings, ModelSettings, TrainingSettings
from harness.errors import UserError
from harness.models import base_model
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.packed import selection
from harness.training.packed.pack import AdapterPack
from harness.training.packed.selection import (
    EngineChoice,
    PrecisionChoice,
    choose_engine,
    choose_precision,
    make_trainer,
    resolve_precision,
    seconds_per_token,
)
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import SequentialTrainer
from tests import toy_bases

TRAINING = TrainingSettings(steps=2, batch_size=2)


@pytest.fixture(scope="module")
def lone() -> BaseModel:
    """A base whose attention is its own."""
    return toy_bases.random_base(
        GPTJConfig(vocab_size=259, n_embd=32, n_layer=1, n_head=2, rotary_dim=8, n_positions=256)
    )


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[int, float]], list[int]]:
    """Puts figures in the place of measurements; answers the numbers that were asked for."""

    def put(seconds: Mapping[int, float]) -> list[int]:
        asked: list[int] = []

        def timed(*given: Any) -> float | None:
            asked.append(given[-1])
            return seconds.get(given[-1])

        monkeypatch.setattr(selection, "seconds_per_token", timed)
        return asked

    return put


Figures = Callable[[Mapping[int, float]], list[int]]


def test_the_sequential_engine_is_had_for_the_asking(
    base: BaseModel, task: Task, figures: Figures
) -> None:
    asked = figures({1: 1.0, 2: 0.1})
    choice = choose_engine(base, task, TRAINING, EngineSettings(kind="sequential"))
    assert choice == EngineChoice("sequential", 1, "as asked for", {})
    assert asked == []


@pytest.mark.parametrize("kind", ["auto", "packed"])
@pytest.mark.parametrize("slots", [1, 5])
def test_slots_that_are_asked_for_are_not_measured(
    kind: Any, slots: int, base: BaseModel, task: Task, figures: Figures
) -> None:
    asked = figures({1: 1.0, 2: 0.1})
    choice = choose_engine(base, task, TRAINING, EngineSettings(kind=kind, slots=slots))
    assert choice == EngineChoice("packed", slots, "as asked for", {})
    assert asked == []


@pytest.mark.parametrize(
    ("kind", "slots"), [("auto", None), ("auto", 4), ("packed", None), ("packed", 4)]
)
def test_what_cannot_be_packed_is_told(
    kind: Any, slots: int | None, lone: BaseModel, task: Task
) -> None:
    choice = choose_engine(lone, task, TRAINING, EngineSettings(kind=kind, slots=slots))
    why = "gptj does not keep sequences apart that lie end to end"
    assert choice == EngineChoice("sequential", 1, why, {})


@pytest.mark.parametrize(
    ("seconds", "slots", "asked"),
    [
        ({1: 8e-6, 2: 7e-6, 4: 6e-6, 8: 5e-6}, 8, [1, 2, 4, 8, 16]),
        (
            {1: 8e-6, 2: 7e-6, 4: 6e-6, 8: 5e-6, 16: 4e-6, 32: 3e-6},
            32,
            [1, 2, 4, 8, 16, 32],  # and no more
        ),
        ({1: 8e-6, 2: 6e-6, 4: 5.9e-6, 8: 1e-6}, 2, [1, 2, 4]),  # not worth it, and so no more
        ({1: 8e-6, 2: 6e-6}, 2, [1, 2, 4]),  # four do not run
    ],
)
def test_the_most_slots_that_save_time(
    seconds: dict[int, float],
    slots: int,
    asked: list[int],
    base: BaseModel,
    task: Task,
    figures: Figures,
) -> None:
    seen = figures(seconds)
    choice = choose_engine(base, task, TRAINING, EngineSettings(kind="packed"))
    microseconds = {str(n): round(1e6 * seconds[n], 2) for n in seconds if n <= slots}
    assert choice.measured == microseconds
    # The first is not counted: it does what is done once only.
    assert (choice.kind, choice.slots, seen) == ("packed", slots, [1, *asked])


@pytest.mark.parametrize("seconds", [{1: 8e-6, 2: 7.9e-6}, {1: 8e-6}])
def test_where_nothing_is_saved_there_is_one_slot(
    seconds: dict[int, float], base: BaseModel, task: Task, figures: Figures
) -> None:
    figures(seconds)
    choice = choose_engine(base, task, TRAINING, EngineSettings(kind="packed"))
    assert (choice.kind, choice.slots, choice.measured) == ("packed", 1, {"1": 8.0})


def test_where_not_even_one_runs_that_is_told(
    base: BaseModel, task: Task, figures: Figures
) -> None:
    figures({})
    choice = choose_engine(base, task, TRAINING, EngineSettings(kind="packed"))
    assert choice == EngineChoice("packed", 1, "no number of slots could be timed", {})


def test_on_a_processor_nothing_is_timed_unless_it_is_asked_for(
    base: BaseModel, task: Task, figures: Figures
) -> None:
    asked = figures({1: 8e-6, 2: 1e-6})
    choice = choose_engine(base, task, TRAINING, EngineSettings())
    assert choice == EngineChoice("sequential", 1, "one adapter's rows keep a processor busy", {})
    assert asked == []


def test_real_trials_are_timed(base: BaseModel, task: Task) -> None:
    choice = choose_engine(base, task, TRAINING, EngineSettings(kind="packed"))
    assert str(choice.slots) in choice.measured
    assert all(value > 0 for value in choice.measured.values())


def test_sequential_with_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="kind: sequential has one slot, not 4"):
        EngineSettings(kind="sequential", slots=4)


def test_no_more_slots_than_memory_has_room_for(
    base: BaseModel, task: Task, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = figures({1: 8e-6, 2: 6e-6, 4: 4e-6, 8: 1e-6})
    # Each try takes 100 bytes a slot of 1,000; eight slots would need more than 70 % of them.
    left = iter([1000, 900, *[1000] * 2, 800, *[1000] * 2, 600, *[1000] * 8])
    monkeypatch.setattr(selection, "available_bytes", lambda: next(left))
    choice = choose_engine(base, task, TRAINING, EngineSettings(kind="packed"))
    assert (choice.slots, asked) == (4, [1, 1, 2, 4])


def test_slots_that_do_not_run_have_no_time(
    base: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = PackedTrainer(base, task, TRAINING)
    seconds = seconds_per_token(trainer, 2)
    assert seconds is not None
    assert seconds > 0

    def losses(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(AdapterPack, "accumulate_gradients", losses)
    assert seconds_per_token(trainer, 2) is None


class Decisions(dict[str, Any]):
    """Keeps what was decided first."""

    def decide(self, name: str, value: Any) -> Any:
        return self.setdefault(name, value)


def test_the_engine_is_decided_once_for_a_study(base: BaseModel, task: Task) -> None:
    decisions = Decisions()

    def made(asked: EngineSettings, noted: Mapping[str, Any] | None = None) -> SequentialTrainer:
        trainer = make_trainer(base, task, TRAINING, asked, decisions.decide, noted)
        assert isinstance(trainer, SequentialTrainer)
        return trainer

    first = made(EngineSettings(slots=3))
    assert isinstance(first, PackedTrainer)
    assert first.slots == 3
    assert decisions["engine"] == {
        "kind": "packed",
        "slots": 3,
        "why": "as asked for",
        "measured": {},
    }
    later = made(
        EngineSettings(kind="sequential")
    )  # another worker, whose own view does not count
    assert isinstance(later, PackedTrainer)
    noted = made(EngineSettings(slots=3), {"kind": "sequential", "slots": 1})
    assert not isinstance(noted, PackedTrainer)


PrecisionFigures = Callable[[Mapping[str, float]], list[str]]


@pytest.fixture
def asked_for(model_folder: Path) -> ModelSettings:
    return ModelSettings(name=str(model_folder), dtype="auto")


@pytest.fixture
def figures_precision(monkeypatch: pytest.MonkeyPatch) -> PrecisionFigures:
    """Puts figures in the place of measurements; answers the precisions that were tried."""

    def put(seconds: Mapping[str, float]) -> list[str]:
        asked: list[str] = []

        def timed(model: ModelSettings, *_: Any) -> float | None:
            asked.append(model.dtype)
            return seconds.get(model.dtype)

        monkeypatch.setattr(selection, "_seconds_per_trial", timed)
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
    figures_precision: PrecisionFigures,
) -> None:
    asked = figures_precision(seconds)
    choice = choose_precision(asked_for, task, TRAINING, 1)
    assert choice == PrecisionChoice(dtype, why, seconds)
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
    assert choose_precision(asked_for, task, TRAINING, 1).dtype == "bfloat16"


def test_a_model_that_cannot_be_loaded_is_the_user_s_to_mend(task: Task) -> None:
    with pytest.raises(UserError, match="no such folder"):
        choose_precision(ModelSettings(name="./nowhere", dtype="auto"), task, TRAINING, 1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_precision_that_is_named_is_not_measured(
    dtype: Any, task: Task, figures_precision: PrecisionFigures
) -> None:
    asked = figures_precision({})
    model = ModelSettings(dtype=dtype)
    assert resolve_precision(model, task, TRAINING, 1, lambda *_: pytest.fail("decided")) is model
    assert asked == []


def test_the_decision_that_holds_is_kept(
    asked_for: ModelSettings, task: Task, figures_precision: PrecisionFigures
) -> None:
    """Another worker was first, or the study goes on."""
    asked = figures_precision({"float32": 1.0, "bfloat16": 2.0})
    first = {"dtype": "bfloat16", "why": "the faster one here", "measured": {}}
    resolved = resolve_precision(
        asked_for, task, TRAINING, 1, lambda name, _: {"dtype": first}[name]
    )
    assert resolved == asked_for.model_copy(update={"dtype": "bfloat16"})
    assert asked
    asked.clear()
    noted = resolve_precision(
        asked_for, task, TRAINING, 1, lambda *_: pytest.fail("decided"), first
    )
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

    monkeypatch.setattr(selection, "seconds_per_token", token)
    assert choose_precision(
        asked_for, task, TRAINING.model_copy(update={"steps": 900}), 1
    ).dtype == ("bfloat16")
    monkeypatch.setattr(selection, "_seconds_per_example", example)
    choice = choose_precision(asked_for, task, TRAINING.model_copy(update={"steps": 2}), 1)
    assert choice.dtype == "float32"
    rows = len(task.examples("validation"))
    readings = TRAINING.readings * min(TRAINING.reading_examples, rows)
    assert choice.measured["bfloat16"] - choice.measured["float32"] / 2 == pytest.approx(
        rows + readings, abs=0.02
    )


def test_real_steps_are_timed(asked_for: ModelSettings, task: Task) -> None:
    choice = choose_precision(asked_for, task, TRAINING, 1)
    assert choice.dtype in {"float32", "bfloat16"}
    assert set(choice.measured) == {"float32", "bfloat16"}
    assert all(value > 0 for value in choice.measured.values())
    assert torch.get_num_threads() == 1
