"""The search: its first trials, further objectives, their directions and losses."""

import math

import pytest

from harness.config.sweep import load_sweep
from harness.errors import UserError
from harness.study.search import directions, initial_configs, losses, search_trials
from harness.tasks.task import Task, load_task
from harness.trial import Cost, Outcome, SplitScores, TrialResult

SPACE = [
    "space.rank=[4, 32, 8]",
    "space.alpha_ratio=[0.5, 1.5, 4.0]",
    "space.target_modules=[qv, all_linear, attention]",
    "space.dropout=[0.1, 0.05]",
    "space.learning_rate={low: 1.0e-4, high: 1.0e-1}",
]


def test_it_is_the_most_capable_corner_at_rates_over_the_whole_range() -> None:
    sweep = load_sweep("ner_medical", SPACE)
    found = initial_configs(sweep)
    assert len(found) == 3
    assert {(one.rank, one.target_modules, one.dropout) for one in found} == {
        (32, "all_linear", 0.05)
    }
    assert {one.variant for one in found} == {sweep.space.variant[0]}
    assert {one.alpha for one in found} == {1.5 * 32}  # 1.5 is nearer to 2 than 4, as a ratio
    rates = [one.learning_rate for one in found]
    assert [round(math.log10(rate), 2) for rate in rates] == [-2.5, -3.5, -1.5]
    assert all(sweep.space.contains(one) for one in found)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        (["search.trials=2"], 2),
        (["search.opening=0"], 0),
        (["search.opening=5"], 5),
        (["search.sampler=random"], 0),
    ],
)
def test_there_are_as_many_as_asked_for_and_none_in_a_random_search(
    changes: list[str], count: int
) -> None:
    found = initial_configs(load_sweep("ner_medical", [*SPACE, *changes]))
    assert len(found) == count
    assert len({one.learning_rate for one in found}) == count


def test_listed_rates_are_taken_from_the_list() -> None:
    sweep = load_sweep("ner_medical", [*SPACE[:4], "space.learning_rate=[1e-2, 1e-4, 1e-3, 3e-3]"])
    assert [one.learning_rate for one in initial_configs(sweep)] == [3e-3, 1e-4, 1e-2]
    single = load_sweep("ner_medical", [*SPACE[:4], "space.learning_rate=[1e-3]"])
    assert [one.learning_rate for one in initial_configs(single)] == [1e-3]


@pytest.mark.parametrize(
    ("groups", "widest"),
    [
        ("[q, qv, mlp]", "mlp"),
        ("[attention, mlp]", "attention"),
        ("[q_proj+v_proj, q_proj]", "q_proj+v_proj"),
        ("[q_proj+v_proj, qkv]", "qkv"),
    ],
)
def test_the_widest_group_is_taken(groups: str, widest: str) -> None:
    sweep = load_sweep("ner_medical", [f"space.target_modules={groups}"])
    assert {one.target_modules for one in initial_configs(sweep)} == {widest}


def test_extras_are_as_the_space_has_them() -> None:
    sweep = load_sweep("ner_medical", ["space.layers=[upper_half, lower_half]"])
    found = initial_configs(sweep)
    assert {one.level("layers") for one in found} == {"upper_half"}
    assert all(sweep.space.contains(one) for one in found)


def test_a_search_s_first_slots_hold_it_and_the_others_are_the_sampler_s() -> None:
    sweep = load_sweep("ner_medical", ["search.trials=5"])
    slots = search_trials(sweep)
    keys = [None if slot.config is None else slot.config.key for slot in slots]
    assert keys == [*(one.key for one in initial_configs(sweep)), None, None]
    assert {slot.config.seed for slot in slots if slot.config} == {slots[0].seed}


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


def test_an_invalid_constraint_is_reported_with_its_key() -> None:
    with pytest.raises(UserError, match=r"confirmation\.prefer: 'memory' is no constraint"):
        load_sweep("ner_medical", ["confirmation.prefer=[memory]"])
