"""Adapters that are scored together have the scores of each alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training import evaluation
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest, TrialResult
from tests import toy, toy_bases
from tests.integration.training.packed.test_oracle import run

pytestmark = pytest.mark.gpu

TRAINING = TrainingSettings(
    steps=12, batch_size=4, readings=2, reading_examples=4, score_batch_size=3
)
CONFIGS = (
    TrialConfig("lora", 4, 8.0, 0.1, "all_linear", 5e-3, 5),
    TrialConfig("dora", 2, 4.0, 0.0, "qkv", 1e-2, 6),
    TrialConfig("lora", 1, 2.0, 0.0, "mlp", 2e-2, 7),
    TrialConfig("dora", 3, 3.0, 0.0, "all_linear", 1e-2, 8),
)
TASKS: dict[str, Callable[[Path], Task]] = {
    "written": toy.load_task,
    "chosen": toy.load_choices,
    "likelihood": toy.load_prose,
}
Together = list[tuple[str, int]]


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Together:
    """What was scored together: the split, and how many adapters."""
    seen: Together = []
    plain = evaluation.score_together

    def score_together(*given: Any) -> Any:
        seen.append((given[2], len(given[6])))
        return plain(*given)

    monkeypatch.setattr(evaluation, "score_together", score_together)
    return seen


def requests(configs: Sequence[TrialConfig] = CONFIGS) -> list[TrialRequest]:
    return [
        TrialRequest(number, each, ("validation", "test"), readings=True)
        for number, each in enumerate(configs)
    ]


def scored(result: TrialResult) -> list[Any]:
    assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
    return [
        [each.value for each in result.measurements if each.value is not None],
        *((each.predictions, each.values) for each in result.scores.values()),
    ]


def same(found: TrialResult, wanted: TrialResult) -> None:
    (values, *scores), (their_values, *theirs) = scored(found), scored(wanted)
    for one, other in zip(values, their_values, strict=True):
        assert one == pytest.approx(other, rel=1e-9)
    for (texts, one), (their_texts, other) in zip(scores, theirs, strict=True):
        assert texts == their_texts
        assert one == pytest.approx(other, rel=1e-9)


@pytest.mark.usefixtures("masks_of_the_trial_alone")
@pytest.mark.parametrize("kind", TASKS)
def test_scores_are_those_of_each_alone(
    kind: str, double: BaseModel, tmp_path: Path, together: Together
) -> None:
    task = TASKS[kind](tmp_path)
    # One sequence a pass, so that masks have one shape.
    training = TRAINING.model_copy(update={"micro_batch_size": 1})
    rates = (1e-3, 2e-2, 5e-2, 1e-1)
    quick = [each.replace(learning_rate=rate) for each, rate in zip(CONFIGS, rates, strict=True)]
    wanted = run(SequentialTrainer(double, task, training), requests(quick))
    assert together == []
    found = run(PackedTrainer(double, task, training, 4), requests(quick))
    assert together == [("validation", 4)] * 3 + [("test", 4)]
    for number, result in wanted.items():
        same(found[number], result)
    assert len({str(scored(result)[1:]) for result in found.values()}) > 1


@pytest.mark.parametrize("kind", TASKS)
def test_one_that_is_too_large_to_be_merged_is_scored_like_several(
    kind: str, double: BaseModel, tmp_path: Path, together: Together
) -> None:
    """In double precision nothing is merged, as in half precision."""
    task = TASKS[kind](tmp_path)
    configs = [each.replace(dropout=0.0) for each in CONFIGS[:2]]
    wanted = run(SequentialTrainer(double, task, TRAINING), requests(configs))
    found = run(PackedTrainer(double, task, TRAINING, 1), requests(configs))
    # Of each: two readings, and both splits in the end.
    assert together == ([("validation", 1)] * 3 + [("test", 1)]) * 2
    for number, result in wanted.items():
        same(found[number], result)


def test_one_that_can_be_merged_is(base: BaseModel, task: Task, together: Together) -> None:
    found = run(PackedTrainer(base, task, TRAINING, 1), requests(CONFIGS[:1]))
    scored(found[0])
    assert together == []


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "mistral", "phi3"])
def test_other_architectures_are_scored_together(
    name: str, task: Task, together: Together
) -> None:
    base = toy_bases.random_base(toy_bases.ARCHITECTURES[name])
    configs = [each.replace(dropout=0.0, target_modules="all_linear") for each in CONFIGS[:2]]
    wanted = run(SequentialTrainer(base, task, TRAINING), requests(configs))
    found = run(PackedTrainer(base, task, TRAINING, 2), requests(configs))
    assert ("test", 2) in together
    for number, result in wanted.items():
        same(found[number], result)


@pytest.mark.parametrize("variant", ["pissa", "olora", "eva"])
def test_what_was_taken_out_of_the_weights_is_missing_when_scored(
    variant: str, base: BaseModel, tmp_path: Path, together: Together
) -> None:
    """In float32: PEFT decomposes in no other precision."""
    prose = toy.load_prose(tmp_path)
    configs = [TrialConfig(variant, 4, 8.0, 0.0, "qv", 1e-3, 3), CONFIGS[1]]
    wanted = run(SequentialTrainer(base, prose, TRAINING), requests(configs))
    found = run(PackedTrainer(base, prose, TRAINING, 2), requests(configs))
    assert ("test", 2) in together
    for number, result in wanted.items():
        for split, scores in result.scores.items():
            assert found[number].scores[split].values == pytest.approx(scores.values, rel=1e-4)


def test_half_precision_is_scored_together(tmp_path: Path, together: Together) -> None:
    prose = toy.load_prose(tmp_path)
    base = toy_bases.random_base(toy.llama_config(), torch.bfloat16)
    wanted = run(SequentialTrainer(base, prose, TRAINING), requests(CONFIGS[1:]))
    found = run(PackedTrainer(base, prose, TRAINING, 3), requests(CONFIGS[1:]))
    assert ("test", 3) in together
    for number, result in wanted.items():
        values = found[number].scores["test"].values
        assert values == pytest.approx(result.scores["test"].values, rel=0.03)


@pytest.mark.usefixtures("masks_of_the_trial_alone")
def test_weights_that_are_taken_back_are_what_is_scored(
    double: BaseModel, task: Task, together: Together
) -> None:
    training = TRAINING.model_copy(update={"restore_best": True, "micro_batch_size": 1})
    configs = [each.replace(learning_rate=0.05) for each in CONFIGS]
    wanted = run(SequentialTrainer(double, task, training), requests(configs))
    found = run(PackedTrainer(double, task, training, 4), requests(configs))
    assert ("test", 4) in together
    for number, result in wanted.items():
        same(found[number], result)


def test_those_at_another_place_are_scored_by_themselves(
    double: BaseModel, task: Task, together: Together
) -> None:
    configs = [CONFIGS[1], CONFIGS[2].replace(budget=0.5), CONFIGS[3]]
    wanted = run(SequentialTrainer(double, task, TRAINING), requests(configs))
    found = run(PackedTrainer(double, task, TRAINING, 3), requests(configs))
    assert ("test", 2) in together
    for number, result in wanted.items():
        same(found[number], result)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), ValueError("no")])
def test_what_cannot_be_scored_together_is_scored_alone(
    error: Exception, double: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = run(PackedTrainer(double, task, TRAINING, 3), requests(CONFIGS[1:]))

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(evaluation, "score_together", fails)
    found = run(PackedTrainer(double, task, TRAINING, 3), requests(CONFIGS[1:]))
    for number, result in wanted.items():
        same(found[number], result)


def test_one_that_fails_when_scored_takes_no_other_along(
    double: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = run(PackedTrainer(double, task, TRAINING, 3), requests(CONFIGS[1:]))
    plain, calls = PackedTrainer._score_alone, [0]

    def score(trainer: PackedTrainer, trial: Any, *given: Any) -> Any:
        if trial.request.number == 1:
            calls[0] += 1
            raise torch.OutOfMemoryError("out of memory")
        return plain(trainer, trial, *given)

    def fails(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(evaluation, "score_together", fails)
    monkeypatch.setattr(PackedTrainer, "_score_alone", score)
    found = run(PackedTrainer(double, task, TRAINING, 3), requests(CONFIGS[1:]))
    assert calls == [1]
    assert found[1].outcome is Outcome.FAILED
    assert (found[1].error or "").startswith("out of memory; smaller")
    for number in (0, 2):
        same(found[number], wanted[number])


def test_seconds_of_scoring_are_shared(double: BaseModel, task: Task) -> None:
    found = run(PackedTrainer(double, task, TRAINING, 3), requests(CONFIGS[1:]))
    seconds = [result.cost.score_seconds for result in found.values()]
    assert min(seconds) > 0
    assert max(seconds) == pytest.approx(min(seconds), rel=1e-3)
