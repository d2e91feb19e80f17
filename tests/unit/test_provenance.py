import json
import platform

from harness import provenance


def test_what_is_collected_is_plain_and_true():
    found = provenance.collect({"task_digest": "abc"})
    assert json.loads(json.dumps(found)) == found
    assert found["python"] == platform.python_version()
    assert found["packages"]["torch"].startswith("2.")
    assert found["task_digest"] == "abc"
    assert found["cores"] >= 1


def test_outside_a_checkout_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "harness" / "provenance.py"))
    found = provenance.collect()
    assert found["commit"] is None
    assert found["dirty"] is None
