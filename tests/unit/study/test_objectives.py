"""Further objectives of a search: which there are, their directions, and a trial's losses."""

import pytest

from harness.config.sweep import load_sweep
from harness.errors import UserError
from harness.study.objectives import directions, losses
from harness.tasks.task import Task, load_task
from harness.trial import Cost, Outcome, SplitScores, TrialResult


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("summary_medical")


def test_costs_are_to_be_small_and_metrics_as_they_say(task: Task) -> None:
    found = directions(["peak_memory", "rouge2", "parameters"], task)
    assert [*found.items()] == [
        ("peak_memory", "minimize"),
        ("rouge2", "maximize"),
        ("parameters", "minimize"),
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("paramters", "unknown 'paramters'; did you mean 'parameters'"),
        ("rougeL", "rougeL is the task's objective already"),
        ("entity_f1", "unknown 'entity_f1'"),
    ],
)
def test_what_is_no_further_objective_is_told(name: str, told: str, task: Task) -> None:
    with pytest.raises(UserError) as error:
        directions([name], task)
    assert str(error.value).startswith("search.objectives: ")
    assert told in str(error.value)


def test_losses_are_all_to_be_small(task: Task) -> None:
    wanted = directions(["rouge2", "parameters", "inference_memory"], task)
    scores = SplitScores("validation", (), (), (), (), {"rougeL": 0.5, "rouge2": 0.25})
    cost = Cost(parameters=1000, inference_memory=5_000_000)
    result = TrialResult(0, Outcome.COMPLETE, {"validation": scores}, cost=cost)
    assert losses(wanted, result) == {
        "rouge2": -0.25,
        "parameters": 1000.0,
        "inference_memory": 5e6,
    }


def test_an_objective_twice_is_a_mistake() -> None:
    with pytest.raises(UserError, match=r"search\.objectives: names parameters twice"):
        load_sweep("ner_medical", ["search.objectives=[parameters, parameters]"])


def test_a_bound_that_is_none_is_told_with_its_key() -> None:
    with pytest.raises(UserError, match=r"confirmation\.prefer: 'memory' is no constraint"):
        load_sweep("ner_medical", ["confirmation.prefer=[memory]"])
