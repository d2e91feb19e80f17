import json
import platform
import shlex
import sys

from harness.study import session


def test_what_is_collected_is_plain_and_true():
    found = session.collect_provenance({"task_digest": "abc"})
    assert json.loads(json.dumps(found)) == found
    assert found["python"] == platform.python_version()
    assert found["packages"]["torch"].startswith("2.")
    assert found["task_digest"] == "abc"
    assert found["cores"] >= 1


def test_the_command_can_be_pasted_into_a_shell(monkeypatch):
    words = ["sweep", "mine", "--set", "space.rank=[8, 16]", "--data", "my notes"]
    monkeypatch.setattr(sys, "argv", ["harness", *words])
    command = session.collect_provenance()["command"]
    assert shlex.split(command) == ["python", "-m", "harness", *words]


def test_outside_a_checkout_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(session, "__file__", str(tmp_path / "harness" / "provenance.py"))
    found = session.collect_provenance()
    assert found["commit"] is None
    assert found["dirty"] is None
