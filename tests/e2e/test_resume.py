"""A sweep killed in each stage and taken up again loses nothing and counts nothing twice."""

import os
import signal
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from harness.storage.records import read_study
from tests.small_sweep import command

pytestmark = pytest.mark.slow


def stage(database: Path) -> str:
    """The stage of a trial that is being trained now, read from the database."""
    if not database.is_file():
        return "start"
    query = (
        "select value_json from trial_user_attributes a join trials t using (trial_id) "
        "where key = 'stage' and t.state = 'RUNNING' and 6 = "
        "(select count(*) from trial_params p where p.trial_id = t.trial_id) limit 1"
    )
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10) as connection:
            row = connection.execute(query).fetchone()
    except sqlite3.OperationalError:  # not yet made
        return "start"
    return str(row[0]).strip('"') if row else "start"


def kill_in(wanted: str, tmp_path: Path) -> None:
    """Starts the sweep and kills it, workers included, once a trial of that stage runs."""
    database = tmp_path / "results" / "ner_medical" / "study.db"
    process = subprocess.Popen(
        command(tmp_path, 1),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    while stage(database) != wanted:
        assert process.poll() is None, process.stderr.read().decode()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()


def test_killed_in_each_stage_the_same_command_finishes_the_study(tmp_path):
    for wanted in ("search", "tune", "ablate", "confirm"):
        kill_in(wanted, tmp_path)
    done = subprocess.run(command(tmp_path, 1), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = read_study("ner_medical", tmp_path / "results")
    trials = results.trials
    ended = trials[trials["state"].isin(["complete", "pruned", "failed"])]
    assert set(trials["state"]) <= {"complete", "pruned", "failed", "lost"}
    assert (trials["state"] == "lost").sum() >= 4
    runs = ended[ended["stage"] != "search"]
    assert max(Counter(zip(runs["stage"], runs["key"], runs["seed"], strict=True)).values()) == 1
    searched = ended[(ended["stage"] == "search") & ended["duplicate_of"].isna()]
    assert len(searched) == 4
    cells = {cell["key"] for cell in results.attributes["cells"]}
    ablated = ended[ended["stage"] == "ablate"]
    assert Counter(ablated["key"]) == dict.fromkeys(cells, 2)
    confirmed = ended[ended["stage"] == "confirm"]
    assert Counter(confirmed["key"]) == dict.fromkeys(results.attributes["finalists"], 2)
    assert confirmed["test"].notna().all()
    assert (tmp_path / "reports" / "ner_medical.html").is_file()
