"""What a study spent, on tables written by hand whose sums are done in the head."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from harness.analysis import cost as spending
from harness.results import COST_COLUMNS, TRIAL_COLUMNS
from tests.studies import empty_results, make_results, one_trial_results

if TYPE_CHECKING:
    from harness.results import StudyResults

_NOON = pd.Timestamp("2026-01-05 12:00", tz="UTC")
_SPACE = {
    "variant": ["lora", "dora"],
    "rank": [4, 8, 16],
    "alpha_ratio": [1.0, 2.0],
    "target_modules": ["qv"],
    "dropout": [0.0],
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True, "by_variant": {}},
}


def trial(
    stage: str,
    start: float | None,
    end: float | None,
    cost: tuple[float, float] | None = None,
    **row: Any,
) -> dict[str, Any]:
    """A trial from `start` to `end`, seconds after noon; `cost` is of training and of scoring."""
    return {"stage": stage, "start": start, "end": end, "cost": cost, **row}


def study(
    *rows: Mapping[str, Any], attributes: Mapping[str, Any] | None = None, **sweep: Any
) -> StudyResults:
    trials, costs = [], []
    for number, row in enumerate(rows):
        at = {
            name: pd.NaT if row[side] is None else _NOON + pd.Timedelta(seconds=row[side])
            for name, side in (("started", "start"), ("finished", "end"))
        }
        usual = {"state": "complete", "budget": 1.0, "duplicate_of": pd.NA}
        trials.append({**usual, **row, **at, "number": number})
        if row["cost"] is not None:
            train, score = row["cost"]
            costs.append(
                {
                    "trial": number,
                    "train_seconds": train,
                    "score_seconds": score,
                    "tokens": 100,
                    "peak_memory": row.get("memory", 1000),
                    "pack": 1,
                }
            )
    empty = empty_results()
    return dataclasses.replace(
        empty,
        trials=pd.DataFrame(trials, columns=list(TRIAL_COLUMNS)),
        costs=pd.DataFrame(costs, columns=list(COST_COLUMNS)),
        attributes=attributes or {},
        sweep={"space": _SPACE, "ablation": {"rates": 3, "seeds": 5}, **sweep},
    )


@pytest.mark.parametrize(
    ("spans", "length"),
    [
        ([], 0),
        ([(0, 10)], 10),
        ([(0, 10), (10, 15)], 15),  # one after the other
        ([(0, 10), (100, 115)], 25),  # with a pause
        ([(0, 10), (5, 12)], 12),  # two workers
        ([(5, 12), (0, 10)], 12),  # in any order
        ([(0, 100), (10, 20), (30, 40), (90, 110)], 110),  # one inside another
        ([(0, 10), (0, 10)], 10),
        ([(0, 10), (20, math.nan), (math.nan, 30)], 10),  # still running
        ([(10, 5), (20, 21)], 1),  # a clock that was put back
    ],
)
def test_the_union_of_intervals(spans: list[tuple[float, float]], length: float) -> None:
    table = np.array(spans, dtype=float).reshape(-1, 2)
    assert spending.union_length(table[:, 0], table[:, 1]) == pytest.approx(length)


def test_the_union_is_what_counting_seconds_gives() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        starts = rng.integers(0, 200, 12)
        ends = starts + rng.integers(0, 30, 12)
        seconds = {t for a, b in zip(starts, ends, strict=True) for t in range(a, b)}
        assert spending.union_length(starts.astype(float), ends.astype(float)) == len(seconds)


def test_a_stage_is_summed() -> None:
    results = study(
        trial("search", 0, 12, (8, 2), memory=500),
        trial("search", 5, 20, (10, 3), memory=900),
        trial("search", 1000, 1004, (3, 0.5), state="pruned"),
        trial("search", 1004, 1005, (1, 0), state="failed"),
        trial("confirm", 1010, 1030, (15, 5), memory=700),
    )
    search, confirm, whole = spending.stage_table(results).to_dict("records")
    assert (search["stage"], confirm["stage"], whole["stage"]) == ("search", "confirm", "all")
    assert (search["complete"], search["pruned"], search["failed"]) == (2, 1, 1)
    assert (search["train_seconds"], search["score_seconds"]) == (22, 5.5)
    assert search["device_seconds"] == 27.5
    assert search["wall_seconds"] == 25  # 0 to 20, and 1000 to 1005
    assert (search["peak_memory"], whole["peak_memory"]) == (1000, 1000)
    assert search["tokens"] == 400
    assert (whole["complete"], whole["device_seconds"], whole["wall_seconds"]) == (3, 47.5, 45)


def test_stages_side_by_side_count_once_in_the_sum() -> None:
    results = study(trial("tune", 0, 10, (9, 1)), trial("ablate", 5, 15, (9, 1)))
    assert list(spending.stage_table(results)["wall_seconds"]) == [10, 10, 15]


def test_what_was_not_run_costs_nothing() -> None:
    results = study(
        trial("search", 0, 10, (9, 1)),
        trial("search", 50, 90, (30, 5), duplicate_of=0),  # a repeat
        trial("search", None, 200, None, state="failed"),  # dropped before it began
    )
    search = spending.stage_table(results).iloc[0]
    assert (search["complete"], search["failed"], search["not_run"]) == (1, 0, 2)
    assert (search["device_seconds"], search["wall_seconds"], search["unknown"]) == (10, 10, 0)


def test_running_and_lost_trials_are_told_and_not_guessed() -> None:
    results = study(
        trial("search", 0, 10, (9, 1)),
        trial("search", 5, None, None, state="running"),
        trial("search", 5, 90_000, None, state="lost"),  # found dead the day after
    )
    search = spending.stage_table(results).iloc[0]
    assert (search["running"], search["lost"], search["unknown"]) == (1, 1, 2)
    assert search["wall_seconds"] == 10


def test_without_costs_nothing_is_made_up() -> None:
    results = study(trial("search", 0, 10), trial("ablate", 10, None, state="running"))
    search, ablate, whole = spending.stage_table(results).to_dict("records")
    assert math.isnan(search["device_seconds"])
    assert math.isnan(search["peak_memory"])
    assert (search["wall_seconds"], whole["wall_seconds"]) == (10, 10)
    assert math.isnan(ablate["wall_seconds"])
    assert spending.trial_duration(results) is None
    assert spending.forecast_table(results).empty
    assert spending.grid_table(results).empty


def test_memory_of_nought_is_not_known() -> None:
    table = spending.stage_table(study(trial("search", 0, 10, (9, 1), memory=0)))
    assert table["peak_memory"].isna().all()


def test_the_forecast_is_the_search_median_times_the_share_of_steps() -> None:
    results = study(
        trial("search", 0, 1, (9, 1)),
        trial("search", 0, 1, (18, 2)),  # the median: 20 s
        trial("search", 0, 1, (95, 5)),
        trial("search", 0, 1, (1, 0), state="pruned"),
        trial("search", 0, 1, (1, 0), duplicate_of=0),
        trial("tune", 0, 1, (7, 3), budget=0.25),
        trial("tune", 0, 1, (6, 4), budget=0.25),
        trial("tune", 0, None, None, budget=0.25, state="running"),
        trial("confirm", 0, 1, (25, 5)),
        trial("confirm", 0, 1, (10, 0), state="failed"),
    )
    assert spending.trial_duration(results) == spending.TrialDuration("search", 3, 20, 15, 60)
    found = spending.forecast_table(results).set_index("stage")
    assert list(found.index) == ["tune", "confirm", "all"]
    assert list(found["trials"]) == [2, 2, 4]
    assert list(found["trainings"]) == [0.5, 2, 2.5]
    assert list(found["forecast_seconds"]) == [10, 40, 50]
    assert list(found["device_seconds"]) == [20, 40, 60]
    assert list(found["ratio"]) == pytest.approx([2, 1, 1.2])


def test_a_search_on_a_share_of_the_steps_is_scaled_up() -> None:
    found = spending.trial_duration(study(trial("search", 0, 1, (4, 1), budget=0.5)))
    assert found is not None
    assert found.seconds == 10


def test_the_grid_counts_every_cell() -> None:
    results = study(
        trial("search", 0, 1, (9, 1)),
        trial("search", 0, 1, (18, 2)),
        trial("search", 0, 1, (28, 2)),
        trial("tune", 0, 1, (30, 10), budget=0.5),
    )
    (row,) = spending.grid_table(results).to_dict("records")
    # 2 variants, 3 ranks, 2 ratios; 3 rates; 5 seeds; the search's median is 20 s.
    assert (row["configurations"], row["rates"], row["cells"]) == (12, 3, 36)
    assert (row["seeds"], row["trials"], row["trial_seconds"]) == (5, 180, 20)
    assert (row["grid_seconds"], row["device_seconds"]) == (3600, 100)
    assert row["ratio"] == 36


def test_a_list_of_rates_is_taken_as_it_is() -> None:
    space = {**_SPACE, "learning_rate": [1e-3, 2e-3]}
    results = study(trial("search", 0, 1, (9, 1)), space=space)
    assert spending.factors(results)["learning_rate"] == 2
    assert spending.grid_table(results)["cells"].item() == 24


def test_further_factors_count_and_only_lora_plus_has_two_rates() -> None:
    space = {
        **_SPACE,
        "variant": ["lora", "lora_plus", "dora+lora_plus"],
        "b_rate_ratio": ["4", "16"],
        "bias": ["none", "all"],
    }
    results = study(trial("search", 0, 1, (9, 1)), space=space)
    cells = {
        (variant, rank, alpha, bias, ratio if "lora_plus" in variant else "-")
        for variant in space["variant"]
        for rank in space["rank"]
        for alpha in space["alpha_ratio"]
        for bias in space["bias"]
        for ratio in space["b_rate_ratio"]
    }
    assert spending.grid_table(results)["configurations"].item() == len(cells) == 60


def test_without_a_search_the_grid_goes_by_the_ablation() -> None:
    results = study(trial("ablate", 0, 1, (9, 1)), trial("full", 0, 1, (99, 1)))
    found = spending.grid_trial_duration(results)
    assert found is not None
    assert (found.stage, found.seconds) == ("ablate", 10)
    assert spending.grid_table(results)["trial_seconds"].item() == 10
    assert spending.forecast_table(results).empty


@pytest.mark.parametrize("sweep", [{"space": None}, {"space": {}}, {"ablation": {"seeds": 3}}])
def test_a_grid_that_is_not_known_is_not_made_up(sweep: dict[str, Any]) -> None:
    assert spending.grid_table(study(trial("search", 0, 1, (9, 1)), **sweep)).empty


def test_money_is_the_price_of_wall_time() -> None:
    results = study(
        trial("search", 0, 1800, (1700, 100)),
        trial("search", 0, 1800, (1700, 100)),  # beside it: the hour is paid once
        trial("confirm", 7200, 10800, (3600, 0)),
        attributes={"asked": {"price": 2.5}},
    )
    assert list(spending.stage_table(results)["money"]) == [1.25, 2.5, 3.75]


@pytest.mark.parametrize("price", ["1.29/h", True, -1, math.nan, math.inf, None])
def test_a_price_that_is_none_is_left_out(price: Any) -> None:
    results = study(trial("search", 0, 10, (9, 1)), attributes={"asked": {"price": price}})
    assert spending.price(results) is None
    assert "money" not in spending.stage_table(results)


def test_small_studies() -> None:
    empty, one = empty_results(), one_trial_results()
    assert spending.stage_table(empty).empty
    assert list(spending.stage_table(empty)) == list(spending.STAGE_COLUMNS)
    assert spending.forecast_table(empty).empty
    assert spending.grid_table(empty).empty
    assert list(spending.stage_table(one)["stage"]) == ["search", "all"]
    assert spending.forecast_table(one).empty
    (grid,) = spending.grid_table(one).to_dict("records")
    assert grid["ratio"] == pytest.approx(grid["trials"])  # one of them was run


def test_the_sums_of_a_whole_study_are_those_of_its_tables() -> None:
    results = make_results()
    table = spending.stage_table(results)
    parts, whole = table.iloc[:-1], table.iloc[-1]
    costs = results.costs
    assert whole["device_seconds"] == pytest.approx(
        (costs["train_seconds"] + costs["score_seconds"]).sum()
    )
    assert parts["device_seconds"].sum() == pytest.approx(whole["device_seconds"])
    counted = [*spending.OUTCOMES, "not_run"]
    assert table.iloc[-1][counted].sum() == len(results.trials)
    assert (parts[counted].sum() == table.iloc[-1][counted]).all()
    # They ran one every 40 s for 38 s; the repeat was not run.
    assert whole["wall_seconds"] == 38 * (len(results.trials) - 1)
