"""A whole small sweep, as a user runs it; what can be rebuilt from it; what a kill costs it."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from harness import cli
from harness.analysis.claims import CLAIMS
from harness.config import sweep as sweeps
from harness.models import base_model
from harness.storage.records import read_study
from harness.tasks.task import load_task_for
from harness.training.packed.selection import make_trainer
from harness.trial import TrialConfig, TrialRequest
from tests.small_sweep import STUDY, arguments, command

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("sweep")
    done = subprocess.run(command(made, 1), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made / "out.txt").write_text(done.stdout, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def results(folder):
    return read_study(STUDY, folder / "results")


def trained(results) -> dict[tuple[str, str, int], tuple[object, ...]]:
    """What came of each training: its scores, the losses on its way, all that it wrote."""
    losses = results.measurements.groupby("trial")["loss"].apply(list)
    written = results.examples.groupby("trial")["prediction"].apply(list)
    done = results.trials[results.trials["state"] == "complete"].fillna({"test": -1.0})
    return {
        (row.stage, row.key, row.seed): (
            row.value,
            row.test,
            losses.get(row.number),
            written.get(row.number),
        )
        for row in done.itertuples()
    }


def test_it_says_what_it_found_and_where_the_report_lies(folder):
    out = (folder / "out.txt").read_text(encoding="utf-8")
    report = folder / "reports" / f"{STUDY}.html"
    assert str(report) in out
    assert "<html" in report.read_text(encoding="utf-8")


def test_each_stage_ran_what_it_owes_once(results):
    trials = results.trials
    assert set(trials["state"]) <= {"complete", "pruned", "failed"}
    runs = trials[trials["stage"] != "search"]
    assert not runs.duplicated(["stage", "key", "seed"]).any()
    searched = trials[(trials["stage"] == "search") & trials["duplicate_of"].isna()]
    assert len(searched) == 4
    cells = {cell["key"] for cell in results.attributes["cells"]}
    assert Counter(trials.loc[trials["stage"] == "ablate", "key"]) == dict.fromkeys(cells, 2)
    confirmed = trials[trials["stage"] == "confirm"]
    finalists = results.attributes["finalists"]
    assert Counter(confirmed["key"]) == dict.fromkeys(finalists, 2)
    assert confirmed["test"].notna().all()


def test_the_stored_outputs_give_the_stored_scores(results):
    task = load_task_for(sweeps.parse_sweep(results.sweep, "frozen"))
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
        columns = list(results.objective.columns)
        assert rows == list(stored[columns].itertuples(index=False, name=None))
        assert task.values(rows)[results.objective.name] == row.test


def test_a_confirm_trial_trained_again_in_another_process_gives_the_same_score(results):
    sweep = sweeps.parse_sweep(results.sweep, "frozen")
    row = results.trials[results.trials["stage"] == "confirm"].iloc[-1]
    config = TrialConfig(
        row["variant"],
        int(row["rank"]),
        float(row["alpha"]),
        float(row["dropout"]),
        row["target_modules"],
        float(row["learning_rate"]),
        int(row["seed"]),
    )
    base = base_model.load(sweep.model, 1)
    trainer = make_trainer(
        base, load_task_for(sweep), sweep.training, sweep.engine, lambda _, chosen: chosen
    )
    request = TrialRequest(0, config, splits=("validation", "test"))
    (result,) = trainer.train(iter([request]), lambda *_: True)
    found = [result.scores[split].values["entity_f1"] for split in ("validation", "test")]
    assert found == [row["value"], row["test"]]
    losses = results.measurements.loc[results.measurements["trial"] == row["number"], "loss"]
    assert [reading.loss for reading in result.measurements] == list(losses)
    chosen = results.examples["trial"].eq(row["number"]) & results.examples["split"].eq("test")
    stored = results.examples.loc[chosen, "prediction"]
    assert list(result.scores["test"].predictions) == list(stored)


def test_two_workers_give_the_same_for_the_same_configuration_and_seed(results, tmp_path):
    assert cli.run(arguments(tmp_path, 2)) == 0
    other, mine = trained(read_study(STUDY, tmp_path / "results")), trained(results)
    both = set(other) & set(mine)
    assert {stage for stage, _, _ in both} >= {"search", "tune"}
    assert {name: other[name] for name in both} == {name: mine[name] for name in both}


def test_the_pick_is_told_to_people_and_to_programs(folder, capsys):
    asked = ["pick", STUDY, "--results", str(folder / "results")]
    assert cli.run(asked) == 0
    assert "LoraConfig(" in capsys.readouterr().out
    assert cli.run([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["outcome"] in {"decided", "tie", "undecided"}
    assert len(told["comparison"]) == 2
    assert {row["claim"] for row in told["claims"]} == {claim.name for claim in CLAIMS}
    assert "chain" not in told
    assert cli.run([*asked, "--explain"]) == 0
    text = capsys.readouterr().out
    assert "\n1. trials\n" in text
    assert "rules of thumb" in text
    assert cli.run([*asked, "--explain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chain"][0]["title"] == "trials"


def test_another_sweep_under_the_same_name_is_refused(folder, capsys):
    assert cli.run(arguments(folder, 1, "--set", "search.trials=5")) == 2
    told = capsys.readouterr().err
    assert "search.trials was 4, is 5" in told
    assert len(told.strip().splitlines()) == 1


@pytest.mark.usefixtures("workers_here")
def test_taking_up_a_finished_study_runs_nothing_more(folder, results):
    assert cli.run(arguments(folder, 1)) == 0
    assert len(read_study(STUDY, folder / "results").trials) == len(results.trials)


def running(database: Path) -> tuple[str, int] | None:
    """Stage and worker's process of a trial that is being trained now, from the database."""
    if not database.is_file():
        return None
    query = (
        "select s.value_json, w.value_json from trials t "
        "join trial_user_attributes s on s.trial_id = t.trial_id and s.key = 'stage' "
        "join trial_user_attributes w on w.trial_id = t.trial_id and w.key = 'worker' "
        "where t.state = 'RUNNING' and 6 = "
        "(select count(*) from trial_params p where p.trial_id = t.trial_id) limit 1"
    )
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10) as connection:
            row = connection.execute(query).fetchone()
    except sqlite3.OperationalError:  # not yet made
        return None
    if row is None:
        return None
    return json.loads(row[0]), int(json.loads(row[1]).split("-")[-2])  # host-process-index


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(folder, 1),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def worker_in(wanted: str, process: subprocess.Popen[bytes], folder: Path) -> int:
    """Waits until a trial of that stage is trained; the process that trains it."""
    while True:
        found = running(folder / "results" / STUDY / "study.db")
        if found is not None and found[0] == wanted:
            return found[1]
        assert process.stderr is not None
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.005)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """As if the machine had gone: the sweep and its workers at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stderr is not None
    process.stderr.close()


def test_killed_in_each_stage_it_is_the_same_study_to_the_last_bit(results, tmp_path):
    for alone, together in (("search", "tune"), ("ablate", "confirm")):
        process = start(tmp_path)
        # A worker that dies alone is started anew; what runs next is killed with all the rest.
        os.kill(worker_in(alone, process, tmp_path), signal.SIGKILL)
        worker_in(together, process, tmp_path)
        kill_all(process)
    assert cli.run(arguments(tmp_path, 1)) == 0
    again = read_study(STUDY, tmp_path / "results")
    lost = again.trials["state"] == "lost"
    assert lost.sum() >= 4
    assert not again.trials[~lost].duplicated(["stage", "key", "seed"]).any()
    assert trained(again) == trained(results)
    assert again.attributes["cells"] == results.attributes["cells"]
    assert again.attributes["finalists"] == results.attributes["finalists"]
    assert (tmp_path / "reports" / f"{STUDY}.html").is_file()
