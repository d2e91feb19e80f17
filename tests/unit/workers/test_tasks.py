import os

import pytest

from harness.config.sweep import load, parse
from harness.tasks import task as tasks
from harness.tasks.task import load_task_of
from tests.task_folders import pair, task_folder, write_rows


@pytest.fixture
def place(tmp_path):
    for split in ("train", "validation", "test"):
        write_rows(tmp_path, split, [pair(f"{split}-{n}", "o") for n in range(4)])
    return task_folder(tmp_path, "pairs")


@pytest.fixture
def loads(monkeypatch):
    """Names of the tasks that were really loaded."""
    seen = []
    real = tasks.load

    def counted(name, **keywords):
        seen.append(name)
        return real(name, **keywords)

    monkeypatch.setattr("harness.tasks.task.load", counted)
    return seen


def test_a_task_is_loaded_once_for_a_process(place, loads):
    sweep = parse({"task": place}, "x")
    assert load_task_of(sweep) is load_task_of(sweep)
    assert load_task_of(parse({"task": place, "seed": 3}, "x")) is load_task_of(sweep)
    assert loads == [place]
    limited = load_task_of(parse({"task": place, "data": {"limit": 2}}, "x"))
    assert len(limited.rows("train")) == 2
    assert len(load_task_of(sweep).rows("train")) == 4


def test_what_was_changed_is_read_again(place, tmp_path):
    sweep = parse({"task": place}, "x")
    first = load_task_of(sweep)
    write_rows(tmp_path, "train", [pair(f"train-{n}", "p") for n in range(4)])  # as many bytes
    second = load_task_of(sweep)
    assert second.digest != first.digest
    write_rows(tmp_path, "notes", [pair("x", "y")])
    yaml = tmp_path / "task.yaml"
    yaml.write_text(yaml.read_text().replace("made for a test", "made for a task"))
    assert load_task_of(sweep).digest not in {first.digest, second.digest}


def test_the_users_own_folder_is_looked_at_too(tmp_path):
    for split in ("train", "validation", "test"):
        write_rows(tmp_path, split, [{**row, "text": row["input"]} for row in entities(split)])
    sweep = load("ner_medical", data__folder=str(tmp_path))
    first = load_task_of(sweep)
    assert load_task_of(sweep) is first
    write_rows(tmp_path, "test", [{**row, "text": row["input"]} for row in entities("tost")])
    assert load_task_of(sweep).digest != first.digest


def entities(split):
    """Rows with one entity each."""
    for n in range(3):
        row = pair(f"{split}-{n}", "o", f"gout {split} {n}")
        yield {**row, "entities": [{"start": 0, "end": 4, "label": "CONDITION"}]}


def test_a_name_means_what_the_working_folder_says(tmp_path, monkeypatch):
    found = []
    for name in ("one", "two"):
        place = tmp_path / name / "tasks" / "mine"
        for split in ("train", "validation", "test"):
            write_rows(place, split, [pair(f"{split}-{n}", name) for n in range(2)])
        task_folder(place, "pairs")
        monkeypatch.chdir(tmp_path / name)
        found.append(load_task_of(parse({"task": "mine"}, "x")).rows("test")[0].output)
    assert found == ["one", "two"]


def test_a_hook_does_not_make_its_own_task_look_changed(place, tmp_path, loads):
    (tmp_path / "task.py").write_text(
        "def training_rows(rows, seed): return [{**rows[0], 'input': 'new'}]"
    )
    sweep = parse({"task": place}, "x")
    first = load_task_of(sweep)
    assert first.history.augmented == 1
    assert load_task_of(sweep) is first
    os.utime(tmp_path / "task.py")
    assert load_task_of(sweep).digest == first.digest
    assert len(loads) == 2
