import contextlib
import os
import subprocess
import sys

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from harness.config.sweep import load_sweep
from harness.storage import heartbeat
from harness.storage.heartbeat import Heartbeat, fail_dead_workers
from harness.storage.schema import WorkerRow
from harness.storage.study import StudyStore, study_url
from harness.study.search import search_trials

SWEEP = load_sweep("ner_medical", ["search.trials=2"])


@pytest.fixture
def studies(tmp_path):
    made = StudyStore(study_url(tmp_path), "study", SWEEP, create=True)
    made.enqueue(search_trials(SWEEP))
    yield made
    made.close()


def _change(studies, **values):
    with Session(studies.engine) as session, session.begin():
        session.execute(update(WorkerRow).values(**values))


def test_a_living_worker_keeps_its_trial(studies):
    with Heartbeat(studies.engine, "study", "w"):
        studies.claim("w")
        assert fail_dead_workers(studies) == 0


def test_the_trial_of_a_dead_process_is_taken_back(studies):
    with Heartbeat(studies.engine, "study", "w"):
        studies.claim("w")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    _change(studies, pid=gone.pid)
    assert fail_dead_workers(studies) == 1


def test_a_process_id_given_to_somebody_else_counts_as_dead(studies):
    with Heartbeat(studies.engine, "study", "w"):
        studies.claim("w")
    _change(studies, pid=os.getpid(), born=1.0)
    assert fail_dead_workers(studies) == 1


def test_on_another_host_only_the_beat_counts(studies):
    with Heartbeat(studies.engine, "study", "w"):
        studies.claim("w")
    _change(studies, host="elsewhere", pid=1)
    assert fail_dead_workers(studies) == 0
    _change(studies, beat=1.0)
    assert fail_dead_workers(studies) == 1


def test_a_worker_ends_with_its_parent(tmp_path):
    # The middle process starts a worker's heart in a child and goes: the child must end too.
    url = study_url(tmp_path)
    StudyStore(url, "study", SWEEP, create=True).close()
    heart = (
        "import os, threading, sys\n"
        "from harness.storage.heartbeat import Heart\n"
        "from harness.storage.schema import connect\n"
        f"with Heart(connect({url!r}), 'study', 'w', parent=os.getppid()):\n"
        "    print('beating', flush=True)\n"
        "    threading.Event().wait(60)\n"
    )
    middle = (
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {heart!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", middle], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert heartbeat.psutil.pid_exists(pid)
    with contextlib.suppress(heartbeat.psutil.NoSuchProcess):
        heartbeat.psutil.Process(pid).wait(timeout=30)
