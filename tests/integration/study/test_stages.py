"""Whole studies with a trainer that answers at once; database, Optuna and task are real."""

import math
import re
import time
from collections import Counter

import numpy as np
import pytest

from harness.analysis.ablation import ablation_table, at_edge
from harness.analysis.metric_tables import metric_values
from harness.analysis.recommendation import recommend
from harness.config.sweep import load_sweep
from harness.errors import UserError
from harness.report.page import render
from harness.storage.records import CLAIMS_REQUESTED
from harness.study import ablation, confirmation, launcher
from harness.study import claims as claimed
from harness.study.launcher import WorkerSpec
from harness.study.search import search_trials
from harness.study.session import Parallelism, open_study
from harness.study.worker import Worker
from harness.tasks.task import load_task_for
from harness.training.evaluation import score_predictions
from harness.trial import TrialConfig
from tests.oracle_trainer import OracleTrainer

SMALL = [
    "data.limit=16",
    "search.trials=8",
    "search.startup=4",
    "ablation.max_cells=6",
    "ablation.seeds=2",
    "confirmation.looks=[2, 3]",
    "confirmation.max_configurations=3",
    "baselines.full=false",
]
FULL = ["baselines={shots: [0], full: true}"]


def study(
    folder,
    overrides=(),
    stop_after=None,
    name="ner_medical",
    claims=False,
    add_seeds=0,
    claim_seeds=0,
    **clock,
):
    """Runs or takes up a study; returns its results, or None if it was interrupted."""
    sweep = load_sweep(name, [*(SMALL if name == "ner_medical" else ()), *overrides])
    opened = open_study(sweep, load_task_for(sweep), "study", folder, Parallelism(1, 1))
    opened.studies.enqueue(search_trials(sweep))
    if claims:
        opened.records.set_once(CLAIMS_REQUESTED, True)
    if claim_seeds:
        claimed.add_seeds(opened.records.read(), sweep, claim_seeds, opened.records.set_once)
    if add_seeds:
        confirmation.add_seeds(opened.records.read(), add_seeds, opened.records.set_once)
    url = f"sqlite:///{opened.folder / 'study.db'}"
    worker = Worker(WorkerSpec(url, "study", **clock))
    try:
        worker.work(OracleTrainer(worker.task, stop_after), idle=lambda: False)
    except KeyboardInterrupt:
        return None
    finally:
        worker.studies.close()
        found = opened.records.read()
        opened.studies.close()
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return study(tmp_path_factory.mktemp("whole"))


def test_values_and_names_of_all_metrics_are_noted(results):
    (noted,) = results.attributes["metrics"]
    assert noted == {
        "name": "entity_f1",
        "form": "f1",
        "direction": "maximize",
        "scale": 100.0,
        "unit": "points of F1",
    }
    found = metric_values(results)
    assert (found.stage, found.split) == ("confirm", "test")
    rows = results.metrics[results.metrics["metric"] == "entity_f1"]
    tested = rows[(rows["split"] == "test") & (rows["trial"] >= 0)].set_index("trial")["value"]
    trials = results.trials.set_index("number")["test"].dropna()
    assert tested.to_dict() == trials.to_dict()


def test_each_stage_runs_what_it_owes(results):
    trials = results.trials
    counts = Counter(trials["stage"])
    cells = results.attributes["cells"]
    distinct = {cell["key"] for cell in cells}
    assert counts["search"] == 8
    assert len(distinct) <= 6
    assert counts["ablate"] == 2 * len(distinct)
    assert 1 <= len(results.attributes["finalists"]) <= 3
    confirm = trials[trials["stage"] == "confirm"]
    assert set(confirm["key"]) == set(results.attributes["finalists"])
    assert set(Counter(confirm["key"]).values()) <= {2, 3}
    assert not results.trials["state"].isin(["running", "lost"]).any()


def test_no_seed_serves_two_stages(results):
    by_stage = results.trials.groupby("stage")["seed"].agg(set)
    pairs = [(a, b) for a in by_stage.index for b in by_stage.index if a < b]
    assert all(not by_stage[a] & by_stage[b] for a, b in pairs)
    assert len(by_stage["search"]) == len(by_stage["tune"]) == 1


def test_the_test_split_is_met_in_the_confirm_stage_alone_and_once(results):
    trials = results.trials
    assert trials.loc[trials["stage"] != "confirm", "test"].isna().all()
    confirm = trials[trials["stage"] == "confirm"]
    assert confirm["test"].notna().all()
    assert not confirm.duplicated(["key", "seed"]).any()


def bootstrapped_lead(results, best, other):
    """The lead of one trial over another on resamples of the examples, by plain bootstrap."""
    columns = list(results.objective.columns)
    rows = results.examples[results.examples["split"] == "validation"]
    tables = [
        rows[rows["trial"] == number].set_index("example")[columns].sort_index().to_numpy(float)
        for number in (best, other)
    ]
    drawn = np.random.default_rng(0).integers(0, len(tables[0]), (500, len(tables[0])))
    value = results.objective.value
    first, second = ([value(table[one].sum(axis=0)) for one in drawn] for table in tables)
    return np.array(first) - np.array(second)


def test_all_cells_tune_on_one_grid_and_no_rate_shown_to_be_worse_is_taken(results):
    tune = results.trials[results.trials["stage"] == "tune"]
    grids = {tuple(cell["rates"]) for cell in results.attributes["cells"]}
    assert len(grids) == 1
    for cell in results.attributes["cells"]:
        config = cell["config"]
        rows = tune[
            (tune["rank"] == config["rank"])
            & (tune["variant"] == config["variant"])
            & (tune["target_modules"] == config["target_modules"])
            & (tune["dropout"] == config["dropout"])
            & (tune["alpha"] == config["alpha"])
        ]
        assert len(rows) == 3
        best = rows.loc[rows["value"].idxmax()]
        taken = rows[rows["learning_rate"] == cell["rate"]].iloc[0]
        assert taken["learning_rate"] <= best["learning_rate"]
        if taken["number"] != best["number"]:
            lead = bootstrapped_lead(results, best["number"], taken["number"])
            assert np.quantile(lead, 0.01) <= 0


def test_the_verdict_rests_on_confirm_rows(results):
    verdict = recommend(results)
    assert verdict.outcome in {"decided", "tie", "undecided"}
    assert verdict.pick is None or verdict.pick["key"] in results.attributes["finalists"]


def _outcomes(results):
    ended = results.trials[results.trials["state"] != "lost"]
    columns = ["stage", "key", "seed", "state", "value", "test"]
    rows = [
        tuple("nan" if isinstance(v, float) and math.isnan(v) else v for v in row)
        for row in ended[columns].itertuples(index=False)
    ]
    return sorted(rows, key=str)


def test_another_seed_gives_another_study(results, tmp_path):
    assert _outcomes(study(tmp_path, ["seed=1"])) != _outcomes(results)


def test_equal_seeds_give_equal_studies_also_interrupted_in_every_stage(results, tmp_path):
    for after in (0, 5, 5, 20, 12):  # told since the interruption before
        assert study(tmp_path, stop_after=after) is None
    again = study(tmp_path)
    lost = again.trials[again.trials["state"] == "lost"]
    assert set(lost["stage"]) == set(results.trials["stage"])
    assert _outcomes(again) == _outcomes(results)
    assert again.attributes["finalists"] == results.attributes["finalists"]


def test_without_ablation_the_search_itself_names_finalists(tmp_path):
    found = study(tmp_path, ["ablation.max_cells=0"])
    assert set(found.trials["stage"]) == {"search", "confirm"}
    assert found.attributes["dropped"] == []  # left out by plan, not for want of room
    assert len(found.attributes["finalists"]) >= 2


def test_without_confirmation_nothing_meets_the_test_split(tmp_path):
    found = study(tmp_path, ["confirmation.max_configurations=0"])
    assert set(found.trials["stage"]) == {"search", "tune", "ablate"}
    assert found.trials["test"].isna().all()


def test_duplicates_are_not_run_twice(tmp_path):
    few = ["space={rank: [4, 8], learning_rate: [0.005], target_modules: [qv]}", "ablation={}"]
    found = study(tmp_path, [*few, "ablation.max_cells=0", "search.trials=6"])
    searched = found.trials[found.trials["stage"] == "search"]
    run = searched[searched["duplicate_of"].isna()]
    assert len(run) == run["key"].nunique() <= 2
    assert set(searched["key"]) == set(run["key"])


def test_what_minutes_do_not_allow_is_dropped_and_named(tmp_path):
    # Trials claim 1.5 seconds each: one minute is over long before the plan is through.
    found = study(tmp_path, minutes=1.0, began=time.time(), spent=30.0)
    dropped = found.attributes["dropped"]
    assert any("--minutes" in line for line in dropped)
    said = [line for line in dropped if "not run" in line]
    assert said
    assert all(
        re.search(r"(\b1 trial was|[2-9] trials were|\d\d trials were) not run, ", line)
        for line in said
    )


def test_no_minute_left_starts_nothing(tmp_path):
    found = study(tmp_path, minutes=1.0, began=time.time(), spent=61.0)
    assert found.trials.empty
    assert any("--minutes" in line for line in found.attributes["dropped"])


def baselines_of(folder, shares=1, **clock):
    """The baselines of a study without trials; the base is played by the dictionary."""
    sweep = load_sweep("ner_medical", SMALL)
    opened = open_study(sweep, load_task_for(sweep), "study", folder, Parallelism(shares, 1))
    url = f"sqlite:///{opened.folder / 'study.db'}"
    asked = []

    def bare(split, shots, rows):
        asked.append((split, bool(shots), rows))
        return score_predictions(
            opened.task, split, opened.task.baseline_predictions("dictionary", split)
        )

    for index in range(shares):
        jobs = Worker(WorkerSpec(url, "study", index, shares, **clock)).baselines(bare)
        while jobs.step():
            pass
    found = opened.records.read()
    opened.studies.close()
    return found, asked


@pytest.mark.parametrize("shares", [1, 2, 3])
def test_workers_score_each_baseline_once_and_test_first(tmp_path, shares):
    found, asked = baselines_of(tmp_path, shares)
    rows = found.baselines.groupby(["name", "split"]).size()
    assert set(rows.index) == {
        (name, split)
        for name in ("dictionary", "base_0_shot", "base_5_shot")
        for split in ("validation", "test")
    }
    assert sorted(asked) == sorted(set(asked))
    assert ("test", True, 200 // 6) in asked
    assert ("test", False, 200) in asked
    assert shares > 1 or asked[0][0] == "test"
    assert found.attributes["dropped"] == []


def test_baselines_that_minutes_do_not_allow_are_named_and_stay_left_out(tmp_path):
    found, asked = baselines_of(tmp_path, minutes=1.0, began=time.time(), spent=61.0)
    assert asked == []
    assert set(found.baselines["name"]) == {"dictionary"}
    assert "the base model with 5 examples on test: --minutes was over" in str(
        found.attributes["dropped"]
    )
    again, asked = baselines_of(tmp_path)
    assert asked == []
    assert again.attributes["dropped"] == found.attributes["dropped"]


def test_full_fine_tuning_is_tuned_and_scored_beside_the_adapters(tmp_path):
    results = study(tmp_path, FULL)
    trials, (noted,) = results.trials, results.attributes["full"]
    tuned = trials[(trials["stage"] == "tune") & (trials["variant"] == "full")]
    assert sorted(tuned["learning_rate"]) == noted["rates"]
    centre = results.attributes["incumbent"]["learning_rate"] / 10
    assert noted["rates"] == pytest.approx([centre / 2, centre, centre * 2], rel=1e-2)
    rows = trials[trials["stage"] == "full"]
    assert set(rows["variant"]) == {"full"}
    assert set(rows["learning_rate"]) == {noted["rate"]} <= set(noted["rates"])
    # The seeds of the ablation, none of those that rates were tuned on; test met once a seed.
    assert set(rows["seed"]) == set(trials.loc[trials["stage"] == "ablate", "seed"])
    assert rows["test"].notna().all()
    assert len(rows) == 2
    # It is something to compare with, not a candidate.
    keys = {cell["key"] for cell in results.attributes["cells"]}
    assert noted["key"] not in keys | set(results.attributes["finalists"])
    table = ablation_table(results, "rank")
    expected = 100 * table["value"] / rows["value"].mean()
    assert table["percent_of_full"].tolist() == pytest.approx(expected.tolist())


def test_full_fine_tuning_that_is_impossible_is_left_out_with_its_reason(tmp_path):
    sweep = load_sweep("ner_medical", [*SMALL, *FULL])
    opened = open_study(sweep, load_task_for(sweep), "study", tmp_path, Parallelism(1, 1))
    opened.records.set_once("full_impossible", "it needs 9.0 GiB more a worker, 1.0 are free")
    opened.studies.close()
    results = study(tmp_path, FULL)
    assert "full" not in set(results.trials["stage"]) | set(results.trials["variant"])
    assert (
        "full fine-tuning: it needs 9.0 GiB more a worker, 1.0 are free"
        in (results.attributes["dropped"])
    )
    assert ablation_table(results, "rank")["percent_of_full"].isna().all()


def test_an_extra_setting_is_ablated_like_any_other_factor(tmp_path):
    levels = ["space.bias=[none,all]", "ablation.factors={bias: [none, all]}"]
    results = study(tmp_path, levels)
    table = ablation_table(results, "bias").set_index("level")
    incumbent = TrialConfig(**results.attributes["incumbent"]).level("bias")
    assert set(table.index) == {"none", "all"}
    assert table.index[table["reference"]].tolist() == [incumbent]
    assert table["difference"].notna().all()
    assert "bias" in render(results)


def test_a_question_that_is_laid_down_needs_no_search(tmp_path):
    variants = "[lora,dora,vera]"
    overrides = [
        "data.limit=16",
        f"space.variant={variants}",
        f"ablation.factors={{variant: {variants}}}",
        "ablation.seeds=2",
    ]
    results = study(tmp_path, overrides, name="variants_ner")
    assert Counter(results.trials["stage"]) == {"tune": 21, "ablate": 12, "full": 2}
    assert results.attributes["incumbent"]["variant"] == "lora"
    rates = {}
    for cell in results.attributes["cells"]:
        rates.setdefault(cell["config"]["variant"], cell["rates"])
    # VeRA's grid lies at the same place of its own range, 25 times higher.
    assert rates["dora"] == rates["lora"] == pytest.approx([1.2e-3, 3e-3, 7.5e-3])
    assert rates["vera"] == pytest.approx([3e-2, 7.5e-2, 0.188], rel=1e-2)
    vera = results.trials[results.trials["variant"] == "vera"]
    assert set(vera["learning_rate"]) <= set(rates["vera"])
    # Tuned on a third of the steps, for the sweep says so.
    assert set(results.trials.loc[results.trials["stage"] == "tune", "budget"]) == {1 / 3}
    assert results.attributes["finalists"] == []
    assert recommend(results).outcome == "none"


def test_grids_can_be_widened_where_the_best_rate_lies_at_the_edge(tmp_path):
    # The oracle's best rate is 5e-3, above all of the space.
    overrides = [*FULL, "space.learning_rate={low: 5.0e-4, high: 2.0e-3}"]
    first = study(tmp_path, overrides)
    at_the_edge = [cell for cell in first.attributes["cells"] if at_edge(cell)]
    assert at_the_edge
    sweep = load_sweep("ner_medical", [*SMALL, *overrides])
    opened = open_study(sweep, load_task_for(sweep), "study", tmp_path, Parallelism(1, 1))
    assert ablation.extend_rate_grids(opened.records.read(), sweep, opened.records.set_once) > 0
    between = opened.records.read().attributes
    assert "cells" not in between  # until the new rates have been tuned
    opened.studies.close()
    second = study(tmp_path, overrides)
    for before, after in zip(first.attributes["cells"], second.attributes["cells"], strict=True):
        assert (before["factor"], before["level"]) == (after["factor"], after["level"])
        if not at_edge(before):
            assert after["rates"] == before["rates"]
            continue
        (new,) = set(after["rates"]) - set(before["rates"])
        top = before["rate"] == max(before["rates"])
        expected = before["rate"] * 2 if top else before["rate"] / 2
        assert new == pytest.approx(expected, rel=1e-2)  # also outside the space
    # Old trials are kept and count; no configuration meets the test split twice with a seed.
    assert len(second.trials) > len(first.trials)
    assert second.trials["number"].iloc[: len(first.trials)].tolist() == (
        first.trials["number"].tolist()
    )
    tested = second.trials[second.trials["stage"].isin(["confirm", "full"])]
    assert not tested.duplicated(["key", "seed"]).any()
    assert any("exploratory" in said for said in recommend(second).not_supported)
    assert not any("exploratory" in said for said in recommend(first).not_supported)


def test_there_has_to_be_something_to_widen(tmp_path):
    sweep = load_sweep("ner_medical", SMALL)
    opened = open_study(sweep, load_task_for(sweep), "study", tmp_path, Parallelism(1, 1))
    with pytest.raises(UserError, match="has no tuned learning rates yet; run it without first"):
        launcher.run_study(opened, sweep, extend_grid=True)
    opened.studies.close()
