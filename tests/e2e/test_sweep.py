"""A whole small sweep, as a user runs it, and what can be rebuilt from what it leaves behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness import sweep as sweeps
from harness.storage.records import read_study
from harness.workers.tasks import load_task_of
from tests.small_sweep import STUDY, command

pytestmark = pytest.mark.slow


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("sweep")
    (made / "out.txt").write_text(run(*command(made, 1)), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def results(folder):
    return read_study(STUDY, folder / "results")


def scores(results) -> dict[tuple[str, str, int], tuple[float, float]]:
    done = results.trials[results.trials["state"] == "complete"].fillna({"test": -1.0})
    return {(row.stage, row.key, row.seed): (row.value, row.test) for row in done.itertuples()}


def test_it_says_what_it_found_and_where_the_report_lies(folder):
    out = (folder / "out.txt").read_text(encoding="utf-8")
    report = folder / "reports" / f"{STUDY}.html"
    assert str(report) in out
    assert "<html" in report.read_text(encoding="utf-8")


def test_the_stored_outputs_give_the_stored_scores(results):
    task = load_task_of(sweeps.parse(results.sweep, "frozen"))
    confirmed = results.trials[results.trials["stage"] == "confirm"]
    assert len(confirmed) == 4
    gold = {example.id: example for example in task.examples("test")}
    for row in confirmed.itertuples():
        chosen = results.examples["trial"].eq(row.number) & results.examples["split"].eq("test")
        stored = results.examples[chosen]
        assert set(stored["example"]) == set(gold)
        rows = [
            task.score(task.parse(text).prediction, gold[name])
            for name, text in zip(stored["example"], stored["prediction"], strict=True)
        ]
        assert task.values(rows)[results.objective.name] == row.test


RETRAIN = """
import json, sys
from harness import sweep as sweeps
from harness.storage.records import read_study
from harness.models import base_model
from harness.training.sequential import SequentialTrainer
from harness.trial import TrialConfig, TrialRequest
from harness.workers.tasks import load_task_of

results = read_study(sys.argv[1], sys.argv[2])
sweep = sweeps.parse(results.sweep, "frozen")
row = results.trials[results.trials["stage"] == "confirm"].iloc[-1]
config = TrialConfig(row["variant"], int(row["rank"]), float(row["alpha"]), float(row["dropout"]),
                     row["target_modules"], float(row["learning_rate"]), int(row["seed"]))
trainer = SequentialTrainer(base_model.load(sweep.model, 1), load_task_of(sweep), sweep.training)
request = TrialRequest(0, config, splits=("validation", "test"))
result = next(iter(trainer.train(iter([request]), lambda *_: True)))
print(json.dumps([result.scores[s].values["entity_f1"] for s in ("validation", "test")]))
print(json.dumps(list(result.scores["test"].predictions)))
"""


def test_a_confirm_trial_trained_again_gives_the_same_score(folder, results):
    out = run(sys.executable, "-c", RETRAIN, STUDY, str(folder / "results")).splitlines()
    row = results.trials[results.trials["stage"] == "confirm"].iloc[-1]
    assert json.loads(out[-2]) == [row["value"], row["test"]]
    chosen = results.examples["trial"].eq(row["number"]) & results.examples["split"].eq("test")
    assert json.loads(out[-1]) == list(results.examples.loc[chosen, "prediction"])


def test_the_same_sweep_elsewhere_gives_the_same_study_to_the_last_bit(results, tmp_path):
    run(*command(tmp_path, 1))
    again = read_study(STUDY, tmp_path / "results")
    assert scores(again) == scores(results)
    assert again.attributes["finalists"] == results.attributes["finalists"]
    assert list(again.trials["key"]) == list(results.trials["key"])


def test_two_workers_give_the_same_score_for_the_same_configuration_and_seed(results, tmp_path):
    run(*command(tmp_path, 2))
    other, mine = scores(read_study(STUDY, tmp_path / "results")), scores(results)
    both = set(other) & set(mine)
    assert {stage for stage, _, _ in both} >= {"search"}
    assert {name: other[name] for name in both} == {name: mine[name] for name in both}


def test_the_pick_is_told_to_people_and_to_programs(folder):
    words = [sys.executable, "-m", "harness", "pick", STUDY, "--results", str(folder / "results")]
    assert "LoraConfig(" in run(*words)
    told = json.loads(run(*words, "--json"))
    assert told["outcome"] in {"decided", "tie", "undecided"}
    assert len(told["comparison"]) == 2


def test_another_sweep_under_the_same_name_is_refused(folder):
    done = subprocess.run(
        command(folder, 1, "--set", "search.trials=5"), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "search.trials was 4, is 5" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_taking_up_a_finished_study_runs_nothing_more(folder, results):
    run(*command(folder, 1))
    assert len(read_study(STUDY, folder / "results").trials) == len(results.trials)
