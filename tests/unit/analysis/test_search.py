"""Tests of `harness.analysis.search`: tables of a search, computed once more row by row."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.analysis import search
from harness.analysis.estimates import noise_floor
from tests import studies
from tests.simulation import World
from tests.tables import StudyBuilder

if TYPE_CHECKING:
    from harness.results import Objective, StudyResults


def noted(results: StudyResults, **fanova: float | None) -> StudyResults:
    """The study with these importances."""
    factors = [{"factor": name, "fanova": share} for name, share in fanova.items()]
    attributes = {**results.attributes, "importance": {"factors": factors, "dependence": []}}
    return dataclasses.replace(results, attributes=attributes)


@pytest.fixture(scope="module")
def full() -> StudyResults:
    return studies.make_results(stages=("search", "ablate"))


@pytest.fixture(scope="module")
def perplexity() -> StudyResults:
    return studies.make_results(objective=studies.PERPLEXITY, stages=("search", "ablate"))


def rows(results: StudyResults) -> list[dict[Any, Any]]:
    """Complete search trials that are no repetition."""
    return [
        row
        for row in results.trials.to_dict("records")
        if row["stage"] == "search" and row["state"] == "complete" and row["value"] == row["value"]
    ]


@pytest.mark.parametrize("study", ["full", "perplexity"])
def test_the_band_is_as_wide_as_seeds_differ(study: str, request: pytest.FixtureRequest) -> None:
    results: StudyResults = request.getfixturevalue(study)
    frame, pick = search.history(results), max if results.objective.sign > 0 else min
    values = [row["value"] for row in rows(results)]
    assert frame["value"].tolist() == values
    assert frame["best"].tolist() == [pick(values[: end + 1]) for end in range(len(values))]
    reach = 1.96 * noise_floor(results)
    assert (frame["best"] - frame["low"]).to_numpy() == pytest.approx(reach)
    assert (frame["high"] - frame["best"]).to_numpy() == pytest.approx(reach)


def test_without_repeated_seeds_there_is_no_band() -> None:
    frame = search.history(studies.make_results(stages=("search",)))
    assert len(frame) > 20
    assert frame[["low", "high"]].isna().all(axis=None)


def test_no_band_reaches_beyond_what_a_score_can_be() -> None:
    study = StudyBuilder(
        World(studies.F1, {"validation": 200, "test": 20}), studies.sweep_settings()
    )
    study.add("search", studies.config(), score=0.98)
    for seed, score in enumerate((0.05, 0.95)):
        study.add("ablate", studies.config(seed=seed), score=score)
    frame = search.history(study.results())
    assert frame["high"].tolist() == [1.0]
    assert frame["low"].tolist() == [0.0]


def test_slices_hold_each_trial_once_for_each_parameter(full: StudyResults) -> None:
    frame = search.slices(full)
    trials = rows(full)
    for name in ("variant", "rank", "alpha_ratio", "dropout", "target_modules", "learning_rate"):
        own = frame[frame["parameter"] == name]
        assert own["number"].tolist() == [row["number"] for row in trials]
        assert own["level"].tolist() == [row[name] for row in trials]
        assert own["value"].tolist() == [row["value"] for row in trials]
    assert len(frame) == 6 * len(trials)


def made(points: list[dict[str, Any]], objective: Objective = studies.F1) -> StudyResults:
    """A search of these configurations, each with its score."""
    study = StudyBuilder(
        World(objective, {"validation": 30, "test": 30}), studies.sweep_settings()
    )
    for point in points:
        score = point.pop("score", 0.7)
        study.add("search", studies.config(**point), score=score)
    return study.results()


def test_what_does_not_vary_is_left_out_and_further_settings_are_told_apart() -> None:
    found = search.parameters(
        made(
            [
                {"rank": 4},
                {"rank": 8, "extras": "bias=all"},
                {"rank": 8, "extras": "bias=all layers=upper_half"},
            ]
        )
    )
    assert list(found) == ["rank", "bias", "layers"]
    assert found["bias"] == ["usual", "all", "all"]
    assert found["layers"] == ["usual", "usual", "upper_half"]


@pytest.mark.parametrize("study", ["full", "perplexity"])
def test_levels_count_each_trial_once(study: str, request: pytest.FixtureRequest) -> None:
    results: StudyResults = request.getfixturevalue(study)
    frame, trials = search.by_level(results), rows(results)
    pick = max if results.objective.sign > 0 else min
    assert (frame.groupby("parameter")["trials"].sum() == len(trials)).all()
    for row in frame.to_dict("records"):
        name, level = row["parameter"], row["level"]
        values = [
            each["value"]
            for each in trials
            if (
                level <= each[name] < level * math.sqrt(10)
                if name == "learning_rate"
                else each[name] == level
            )
        ]
        assert row["trials"] == len(values)
        assert row["median"] == pytest.approx(np.median(values))
        assert row["best"] == pick(values)
    ranks = frame.loc[frame["parameter"] == "rank", "level"].tolist()
    assert ranks == sorted(ranks)


def test_words_come_as_the_sweep_lists_them(full: StudyResults) -> None:
    levels = ["zoo", "all_linear", "q", "attention", "q", "qv"]
    order = search.ordered(full, "target_modules", levels)
    assert order == ["q", "qv", "attention", "all_linear", "zoo"]
    assert search.ordered(full, "bias", ["none", "usual", "all"]) == ["usual", "all", "none"]


def test_half_decades_begin_at_round_powers() -> None:
    starts = {1e-3: 1e-3, 3.1e-3: 1e-3, 3.17e-3: 10**-2.5, 9.99e-3: 10**-2.5, 0.01: 0.01}
    for rate, start in starts.items():
        assert search.half_decade(rate) == pytest.approx(start)
    assert search.half_decade(2e-3, 1) == search.half_decade(5e-3)
    assert search.half_decade(search.half_decade(2e-3, 3)) == search.half_decade(2e-3, 3)


def test_the_heat_is_the_mean_of_the_trials_in_each_cell(full: StudyResults) -> None:
    study = noted(full, rank=0.3, dropout=0.1, learning_rate=0.4, variant=None)
    frame = search.score_grid(study)
    cells: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in rows(full):
        decade = math.floor(2 * math.log10(row["learning_rate"]))
        cells[decade, row["rank"]].append(row["value"])
    assert set(frame["first"]) == {"learning_rate"}
    assert set(frame["second"]) == {"rank"}
    assert len(frame) == len(cells)
    for row in frame.to_dict("records"):
        decade = round(2 * math.log10(row["first_level"]))
        values = cells[decade, row["second_level"]]
        assert row["trials"] == len(values)
        assert row["value"] == pytest.approx(sum(values) / len(values))


def test_without_two_shares_there_is_no_heat(full: StudyResults) -> None:
    assert search.score_grid(full).empty
    assert search.score_grid(noted(full, rank=0.5, variant=None)).empty
    assert search.score_grid(
        noted(full, rank=0.5, bias=0.4)
    ).empty  # all trials have the same bias
    assert not search.score_grid(noted(full, rank=0.5, variant=0.0)).empty


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_sample_has_the_best_and_the_others_evenly(sign: float) -> None:
    values = np.random.default_rng(4).normal(size=2000)
    chosen = search.rank_stratified_sample(values.tolist(), sign, 400)
    assert len(set(chosen)) == len(chosen) == 400
    assert chosen == sorted(chosen)
    rank = np.argsort(np.argsort(-sign * values))
    taken = sorted(rank[chosen])
    assert taken[:20] == list(range(20))
    assert taken[-1] == 1999
    assert max(np.diff(taken)) <= math.ceil(1980 / 379)
    assert {int(rank[one]) for one in search.best_few(values.tolist(), sign)} == set(range(20))


def test_a_short_search_is_drawn_whole() -> None:
    assert search.rank_stratified_sample([0.3, 0.1, 0.2], 1.0, 3) == [0, 1, 2]
    assert search.best_few([0.3, 0.1, 0.9], 1.0) == [2]
    assert search.best_few([0.3, 0.1, 0.9], -1.0) == [1]


def test_the_fence_keeps_all_but_what_lies_far_off_on_the_bad_side() -> None:
    scores = [0.80, 0.82, 0.84, 0.86, 0.88, 0.90, 0.99]
    assert search.outlier_fence(scores, 1.0) == 0.80
    assert search.outlier_fence([*scores, 0.0], 1.0) == 0.80
    assert search.outlier_fence([*scores, 40.0], -1.0) == 0.99
    assert search.outlier_fence([0.5, 0.5, 0.5, 0.5, 0.1], 1.0) == 0.1  # no spread to measure by


def test_an_infinite_score_is_none() -> None:
    study = made([{"rank": 4}, {"rank": 8}, {"rank": 16}])
    trials = study.trials.assign(value=[0.5, math.inf, 0.6])
    assert len(search.scored(dataclasses.replace(study, trials=trials))) == 2


def test_an_empty_study_has_empty_tables() -> None:
    study = studies.empty_results()
    for table in (search.history, search.slices, search.by_level, search.score_grid):
        assert table(study).empty
