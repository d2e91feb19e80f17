"""Grids are counted, trials charged, picks compared; a tiny run goes through. Nothing is timed."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import rivals, time_to_pick
from benchmarks.charging import (
    Grid,
    Price,
    Prices,
    full_grid,
    same_trials,
    small_grid,
    stage_times,
)
from benchmarks.plain_loop import Spent
from benchmarks.time_report import ratios
from harness.config import sweep
from harness.results import Objective, StudyResults
from harness.study.launcher import WorkerSpec
from harness.study.search import search_trials
from harness.study.session import Parallelism, open_study
from harness.study.worker import Worker
from harness.tasks.task import load_task_for
from harness.trial import Measurement, Outcome, SplitScores, TrialRequest, TrialResult
from tests import studies
from tests.oracle_trainer import OracleTrainer

SPENT = {"load": Spent(1, 2), "train": Spent(10, 20), "score": Spent(4, 6)}
LORA = Price("lora", steps=10, examples=2, spent=SPENT)
DORA = Price("dora", steps=5, examples=2, spent=SPENT)
OBJECTIVE = Objective("entity_f1", "maximize", 0.02, "f1", ("A",), 100.0, "points of F1")


def test_a_trial_is_charged_for_its_steps_and_its_scored_examples() -> None:
    assert LORA.charge(10, 2) == Spent(15, 28)
    assert LORA.charge(5, 0) == Spent(1 + 5, 2 + 10)
    assert Price("lora", 1, 1, {"train": Spent(1, 1)}).charge(3, 9) == Spent(3, 3)


def test_dora_has_a_price_of_its_own() -> None:
    prices = Prices([LORA, DORA, LORA])
    assert prices.charge("dora", 10, 0) == DORA.charge(10, 0)
    assert prices.charge("rslora", 10, 0) == LORA.charge(10, 0)
    assert Prices([LORA]).charge("dora", 10, 0) == LORA.charge(10, 0)


def test_grids_have_all_levels_and_as_many_rates() -> None:
    settings = sweep.load_sweep("ner_medical", [])
    grid = full_grid(settings.space, 5)
    assert grid.points == dict.fromkeys(("lora", "rslora", "dora", "lora_plus"), 7 * 4 * 6 * 3 * 5)
    assert grid.trials == 10_080
    assert small_grid(4, 3, 3, 10).trials == 360


def test_a_grid_costs_its_points_times_their_price() -> None:
    prices = Prices([LORA, DORA])
    grid = Grid({"lora": 3, "dora": 2}, seeds=2)
    one, other = LORA.charge(10, 4), DORA.charge(10, 4)
    assert grid.cost(prices, 10, 4) == Spent(
        6 * one.wall + 4 * other.wall, 6 * one.cpu + 4 * other.cpu
    )


def test_stages_take_from_their_first_start_to_their_last_end() -> None:
    results = studies.make_results()
    found = stage_times(results)
    assert list(found) == ["search", "tune", "ablate", "confirm", "all"]
    rows = results.trials[results.trials["duplicate_of"].isna()]
    assert found["all"].trials == len(rows)
    assert found["all"].wall == 40 * int(rows["number"].max()) + 38
    parts = [each for name, each in found.items() if name != "all"]
    assert sum(one.worked for one in parts) == pytest.approx(found["all"].worked)


def test_the_same_trials_are_charged_one_by_one() -> None:
    results = studies.make_results(stages=("search",))
    prices = Prices([Price("lora", 1, 1, {"train": Spent(0, 1), "score": Spent(1, 0)})])
    found = same_trials(results, prices, reading=1000)
    steps = results.measurements.groupby("trial")["step"].max().sum()
    readings = results.measurements["value"].notna().sum()
    assert found == Spent(len(results.examples) + 1000 * readings, steps)
    assert same_trials(results, prices, 1000, "search") == found
    assert same_trials(results, prices, 1000, "confirm") == Spent()


def test_all_workers_count_with_all_of_their_time() -> None:
    stages = stage_times(studies.make_results())
    found = ratios({"full grid": 3600.0}, stages, 2, {"all": 900.0, "search": 0.0})
    assert found["full grid"]["all"] == pytest.approx(1800 / stages["all"].wall)
    assert found["full grid"]["search"] > found["full grid"]["all"]
    assert found["full grid"]["all, in turns"] == 4.0
    assert "search, in turns" not in found["full grid"]


class _Answering:
    """A trainer one of whose trials does worse than all before it."""

    notes = ()

    def train(
        self, trials: Iterator[TrialRequest | None], report: object
    ) -> Iterator[TrialResult]:
        for request in trials:
            assert request is not None
            good = request.number != 7
            readings = []
            outcome = Outcome.COMPLETE
            for step in (10, 20):
                readings.append(Measurement(step, 1.0, 1.0, 0.5 if good else 0.1, 1.0, 1))
                if not report(request.number, readings[-1]):  # type: ignore[operator]
                    outcome = Outcome.PRUNED
                    break
            readings.append(Measurement(30, 1.0, 1.0, None, 1.0, 1))
            readings = readings[: 1 if outcome is Outcome.PRUNED else 3]
            value = {"entity_f1": 0.1 * request.number}
            scores = SplitScores("validation", ("a",), ("",), (False,), ((1.0, 0.0, 0.0),), value)
            yield TrialResult(request.number, outcome, {"validation": scores}, tuple(readings))


def test_a_pruned_trial_is_charged_until_it_was_pruned() -> None:
    settings = sweep.load_sweep("ner_medical", ["training.reading_examples=2"])
    prices = Prices([Price("lora", 1, 1, {"train": Spent(0, 1), "score": Spent(1, 0)})])
    named = SimpleNamespace(examples=lambda _: range(5), objective=OBJECTIVE)
    found = rivals.search(_Answering(), settings, named, prices, 9, 0)  # type: ignore[arg-type]
    assert found.outcomes == {"complete": 8, "pruned": 1, "failed": 0}
    assert found.steps == 8 * 30 + 10
    assert found.scored == 8 * (2 * 2 + 5) + 2
    assert found.cost == Spent(found.scored, found.steps)
    assert found.value == pytest.approx(0.8)
    assert found.pick is not None


def test_picks_are_compared_in_pairs() -> None:
    rng = np.random.default_rng(0)

    def scored(chance: float, seed: int) -> SplitScores:
        hits = rng.random(300) < chance
        rows = tuple((float(hit), 0.0, float(not hit)) for hit in hits)
        ids = tuple(map(str, range(300)))
        return SplitScores("test", ids, ("",) * 300, (False,) * 300, rows, {"seed": seed})

    scores = {
        name: [scored(chance, seed) for seed in range(5)]
        for name, chance in (("ours", 0.8), ("worse", 0.5))
    }
    found = rivals.compared(scores, OBJECTIVE, "ours")
    assert "difference" not in found["ours"]
    middle, low, high = found["worse"]["difference"]
    assert low < middle < high < 0
    assert middle == pytest.approx(found["worse"]["value"] - found["ours"]["value"])


def test_a_grid_is_stood_for_by_the_best_cell() -> None:
    results = studies.make_results()
    searched = rivals.Searched(None, 0.0, {}, 0, 0, Spent())
    found = time_to_pick.picks(results, searched)
    assert next(iter(found)) == "pick of the sweep"
    keys = {cell["key"] for cell in results.attributes["cells"]}
    assert found["best cell of the ablation, for a grid"].key in keys
    bare: StudyResults = dataclasses.replace(
        results, attributes={}, trials=results.trials.iloc[:0], examples=results.examples.iloc[:0]
    )
    with pytest.raises(SystemExit, match="nothing to recommend"):
        time_to_pick.picks(bare, searched)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_a_tiny_run_goes_through(tmp_path: Path) -> None:
    small = [
        "data.limit=12",
        "search.trials=4",
        "search.startup=2",
        "ablation.max_cells=2",
        "ablation.seeds=2",
        "confirmation.looks=[2]",
        "confirmation.max_configurations=2",
        "baselines={shots: [], full: false}",
    ]
    settings = sweep.load_sweep("ner_medical", small)
    opened = open_study(settings, load_task_for(settings), "tiny", tmp_path, Parallelism(1, 1))
    opened.studies.enqueue(search_trials(settings))
    worker = Worker(WorkerSpec(f"sqlite:///{opened.folder / 'study.db'}", "tiny"))
    worker.work(OracleTrainer(worker.task), idle=lambda: False)
    worker.studies.close()
    opened.studies.close()

    words = ["--study", "tiny", "--results", str(tmp_path), "--trials", "2", "--steps", "2"]
    words += ["--seeds", "2", "--sample", "1", "--examples", "2"]
    for setting in small:
        words += ["--set", setting]
    found = time_to_pick.run(time_to_pick.arguments(words))

    assert found["search"]["outcomes"]["complete"] == 2
    assert found["costs"].keys() == found["ratios"].keys()
    assert all(cost["cpu"] > 0 for cost in found["costs"].values())
    assert set(found["tested"]) == set(found["picks"])
    text = time_to_pick.markdown(found)
    assert "| full grid | 10080 (multiplied) |" in text
    assert str(tmp_path) not in json.dumps(found)
