"""Tests of `harness.analysis.learning_curves` on tables written by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import scipy.stats

from harness.analysis.learning_curves import divergence_table, loss_table, reading_table, wilson
from tests import studies

if TYPE_CHECKING:
    from harness.results import Objective, StudyResults


def by_hand(
    trials: list[dict[str, Any]],
    measurements: list[tuple[int, int, float, float]],
    objective: Objective = studies.F1,
) -> StudyResults:
    """A study of these trials, with readings (trial, step, loss, value)."""
    empty = studies.empty_results(objective)
    usual = {
        "stage": "search",
        "state": "complete",
        "variant": "lora",
        "rank": 8,
        "alpha": 16.0,
        "alpha_ratio": 2.0,
        "dropout": 0.0,
        "target_modules": "qv",
        "learning_rate": 5e-3,
        "extras": "",
        "seed": 0,
        "value": math.nan,
        "duplicate_of": pd.NA,
        "error": None,
    }
    rows = [
        {"number": number, "key": f"key{number}", **usual, **trial}
        for number, trial in enumerate(trials)
    ]
    frame = pd.DataFrame(rows, columns=list(empty.trials.columns))
    readings = pd.DataFrame(
        [
            {"trial": trial, "step": step, "epoch": step / 50, "loss": loss, "value": value}
            for trial, step, loss, value in measurements
        ],
        columns=list(empty.measurements.columns),
    )
    return dataclasses.replace(empty, trials=frame, measurements=readings)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("count", "trials"), [(0, 1), (1, 1), (0, 40), (3, 17), (40, 41), (9, 9)])
def test_wilsons_interval_is_scipys(count: int, trials: int, confidence: float) -> None:
    theirs = scipy.stats.binomtest(count, trials).proportion_ci(confidence, method="wilson")
    assert wilson(count, trials, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(("count", "trials"), [(0, 0), (2, 1), (-1, 4)])
def test_a_share_of_nothing_has_no_interval(count: int, trials: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        wilson(count, trials)


def test_losses_are_means_over_seeds_from_the_lowest_to_the_highest() -> None:
    confirm = {"stage": "confirm", "value": 0.8}
    results = by_hand(
        [
            {**confirm, "key": "a", "seed": 1},
            {**confirm, "key": "a", "seed": 2},
            {**confirm, "key": "a", "seed": 3},
            {**confirm, "key": "b", "seed": 1, "value": 0.9},
        ],
        [
            (0, 50, 1.0, math.nan),
            (1, 50, 2.0, math.nan),
            (2, 50, 6.0, math.nan),
            (0, 100, 0.5, math.nan),
            (1, 100, 0.7, math.nan),  # the third seed was stopped early
            (3, 50, 4.0, math.nan),
            (3, 100, math.nan, math.nan),
        ],
    )
    found = loss_table(results)[["key", "step", "epoch", "mean", "low", "high", "seeds"]]
    assert found.to_numpy().tolist() == [
        ["b", 50, 1.0, 4.0, 4.0, 4.0, 1],  # the best comes first
        ["a", 50, 1.0, 3.0, 1.0, 6.0, 3],
        ["a", 100, 2.0, pytest.approx(0.6), 0.5, 0.7, 2],
    ]


def test_the_last_stage_with_a_loss_is_shown() -> None:
    trials = [{"stage": name, "value": 0.8} for name in ("search", "ablate", "confirm")]
    for last, name in enumerate(("search", "ablate", "confirm")):
        losses = [(number, 50, 1.0, math.nan) for number in range(last + 1)]
        assert set(loss_table(by_hand(trials, losses))["stage"]) == {name}
    assert loss_table(by_hand(trials, [])).empty


@pytest.mark.parametrize(
    ("objective", "best"), [(studies.F1, [6, 5, 4]), (studies.PERPLEXITY, [0, 1, 2])]
)
def test_the_best_on_validation_are_followed(objective: Objective, best: list[int]) -> None:
    trials = [{"value": 1.0 + number, "test": -float(number)} for number in range(7)]
    losses = [(number, 50, 1.0, math.nan) for number in range(7)]
    found = loss_table(by_hand(trials, losses, objective), limit=3)
    assert list(found["key"]) == [f"key{number}" for number in best]


def test_repeats_and_what_is_not_complete_have_no_loss() -> None:
    trials = [
        {"value": 0.8},
        {"state": "pruned"},
        {"state": "running"},
        {"value": 0.9, "duplicate_of": 0},
    ]
    losses = [(number, 50, 1.0, 0.5) for number in range(4)]
    assert list(loss_table(by_hand(trials, losses))["key"]) == ["key0"]


READINGS = {  # margin 0.02: values, place of the best, how far the last one is behind it
    "rises": ([0.1, 0.2, 0.3], 2, 0.0),
    "falls": ([0.50, 0.60, 0.55], 1, 0.05),
    "within the margin": ([0.50, 0.90, 0.88], 1, 0.02),
    "recovers": ([0.60, 0.40, 0.60], 0, 0.0),
    "one": ([0.7], 0, 0.0),
}


@pytest.mark.parametrize("sign", [1, -1])
def test_a_trial_overfits_if_it_ends_worse_than_its_best_by_more_than_the_margin(
    sign: int,
) -> None:
    objective = studies.F1 if sign == 1 else studies.PERPLEXITY
    objective = dataclasses.replace(objective, margin=0.02)
    rows = [
        (trial, 10 * step, 1.0, sign * value)
        for trial, (values, _, _) in enumerate(READINGS.values())
        for step, value in reversed(list(enumerate(values)))  # in any order
    ]
    found = reading_table(by_hand([{}] * len(READINGS), rows, objective))
    for (name, (values, best, fall)), (_, group) in zip(
        READINGS.items(), found.groupby("trial"), strict=True
    ):
        assert list(group["value"]) == [sign * value for value in values], name
        assert list(group["best"]) == [place == best for place in range(len(values))], name
        assert group["fall"].to_numpy() == pytest.approx(fall), name
        assert set(group["overfits"]) == {name == "falls"}, name


def test_readings_are_those_of_ended_trials_of_the_search() -> None:
    trials = [
        {},
        {"state": "pruned"},
        {"state": "running"},
        {"stage": "ablate"},
        {"state": "lost"},
        {"state": "failed"},
    ]
    rows = [(number, step, 1.0, 0.5) for number in range(6) for step in (10, 20)]
    rows += [(0, 30, 1.0, math.nan)]
    found = reading_table(by_hand(trials, rows))
    assert list(zip(found["trial"], found["step"], strict=True)) == [
        (number, step) for number in (0, 1, 5) for step in (10, 20)
    ]
    assert reading_table(by_hand(trials, [])).empty


def test_divergence_is_counted_by_half_decades() -> None:
    lost = {"state": "failed", "error": "diverged at step 3: loss nan"}
    trials = [
        {"learning_rate": 1e-3},  # the first of its half decade
        {"learning_rate": 3.1e-3, "state": "pruned", "error": "pruned at step 9"},
        {"learning_rate": 3.2e-3, "stage": "ablate"},
        {"learning_rate": 2e-2, **lost},
        {"learning_rate": 3e-2, "stage": "confirm", **lost},
        {"learning_rate": 1e-2},
        {"learning_rate": 2e-2, "state": "failed", "error": "out of memory; not diverged"},
        {"learning_rate": 2e-2, "state": "failed"},
        {"learning_rate": 2e-2, "state": "running"},
        {"learning_rate": 2e-2, "duplicate_of": 5},
    ]
    found = divergence_table(by_hand(trials, []))
    assert found["low_rate"].to_numpy() == pytest.approx([1e-3, math.sqrt(1e-5), 1e-2])
    assert found["high_rate"].to_numpy() == pytest.approx([math.sqrt(1e-5), 1e-2, math.sqrt(1e-3)])
    assert list(found["trials"]) == [2, 1, 3]
    assert list(found["diverged"]) == [0, 0, 2]
    assert list(found["share"]) == pytest.approx([0, 0, 2 / 3])
    theirs = scipy.stats.binomtest(2, 3).proportion_ci(0.95, method="wilson")
    last = found.iloc[-1]
    assert (last["low"], last["high"]) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("half", range(-12, 1))
def test_a_rate_on_the_edge_begins_its_half_decade(half: int) -> None:
    rate = 10.0 ** (half / 2)
    found = divergence_table(by_hand([{"learning_rate": float(f"{rate:.9g}")}], []))
    assert found["low_rate"].iloc[0] == pytest.approx(rate)


def test_a_study_without_a_trial_has_columns_only() -> None:
    empty = studies.empty_results()
    for make in (loss_table, reading_table, divergence_table):
        assert make(empty).empty
        assert len(make(empty).columns)
