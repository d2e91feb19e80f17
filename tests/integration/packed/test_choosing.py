"""Which engine a study gets; what is timed is not tested here."""

import pytest

from harness.models.base_model import BaseModel
from harness.packed import choosing
from harness.packed.engine import PackedTrainer
from harness.settings import EngineSettings, TrainingSettings
from harness.task import Task
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest
from tests.integration.training.contract import go_on, losses

TRAINING = TrainingSettings(steps=3, batch_size=4, readings=2)


@pytest.mark.parametrize(
    ("asked", "kind", "slots"),
    [
        ({}, "sequential", 1),  # on a processor
        ({"kind": "sequential"}, "sequential", 1),
        ({"kind": "packed", "slots": 5}, "packed", 5),
        ({"slots": 3}, "packed", 3),
    ],
)
def test_what_is_asked_for_is_taken(
    asked: dict[str, object], kind: str, slots: int, base: BaseModel, task: Task
) -> None:
    found = choosing.choose(base, task, TRAINING, EngineSettings(**asked))
    assert (found.kind, found.slots) == (kind, slots)
    assert found.why


def test_without_a_number_some_are_tried(base: BaseModel, task: Task) -> None:
    found = choosing.choose(base, task, TRAINING, EngineSettings(kind="packed"))
    assert found.kind == "packed"
    assert found.slots in (1, 2, 4, 8)
    assert set(found.measured) >= {"1"}
    assert all(value > 0 for value in found.measured.values())


def test_the_choice_is_made_once(base: BaseModel, task: Task) -> None:
    noted: dict[str, object] = {}

    def decide(name: str, value: object) -> object:
        return noted.setdefault(name, value)

    settings = EngineSettings(kind="packed", slots=2)
    first = choosing.make_trainer(base, task, TRAINING, settings, decide)
    assert isinstance(first, PackedTrainer)
    held = {"kind": "sequential", "slots": 1}
    later = choosing.make_trainer(base, task, TRAINING, settings, decide, held)
    assert type(later) is SequentialTrainer


def test_sequential_with_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="kind: sequential has one slot, not 4"):
        EngineSettings(kind="sequential", slots=4)


@pytest.mark.filterwarnings("ignore:The following rank_pattern keys:RuntimeWarning")  # AdaLoRA
@pytest.mark.parametrize("changes", [{"variant": "adalora"}, {"extras": "optimizer=adamw_8bit"}])
def test_what_cannot_be_packed_is_trained_alone_among_those_that_are(
    changes: dict[str, str], base: BaseModel, task: Task
) -> None:
    plain = TrialConfig("lora", 4, 8.0, 0.0, "all_linear", 5e-3, 5)
    long = TrainingSettings(steps=20, batch_size=4, readings=2)
    requests = [
        TrialRequest(0, plain, ()),
        TrialRequest(1, plain.with_(**changes), ()),
        TrialRequest(2, plain.with_(seed=6), ()),
    ]
    alone = SequentialTrainer(base, task, long)
    oracle = {result.number: result for result in alone.train(iter(requests), go_on)}
    packed = PackedTrainer(base, task, long, 3)
    found = {result.number: result for result in packed.train(iter(requests), go_on)}
    for number, result in found.items():
        assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
        assert losses(result) == pytest.approx(losses(oracle[number]), rel=1e-3)
    assert [found[number].cost.pack for number in (0, 1, 2)] == [2, 1, 2]
