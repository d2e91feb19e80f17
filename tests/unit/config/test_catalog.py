"""Sweeps and tasks are found by path, then in the working folder, then in the bundled copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import catalog
from harness.errors import UserError


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundled folder with two sweeps and a task; the working folder is another, empty one."""
    bundled = tmp_path / "bundled"
    write(bundled / "sweeps" / "ner_medical.yaml", "task: ner_medical\n")
    write(bundled / "sweeps" / "summaries.yaml", "task: summaries\n")
    write(bundled / "tasks" / "ner_medical" / "task.yaml", "description: x\n")
    monkeypatch.setattr(catalog, "bundled_folder", lambda: bundled)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return bundled


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_a_name_is_found_in_the_bundle(shipped: Path) -> None:
    assert catalog.find_sweep("ner_medical") == shipped / "sweeps" / "ner_medical.yaml"
    assert catalog.find_task("ner_medical") == shipped / "tasks" / "ner_medical"


def test_the_working_folder_goes_first(shipped: Path) -> None:
    sweep = write(Path.cwd() / "sweeps" / "ner_medical.yaml", "task: mine\n")
    task = write(Path.cwd() / "tasks" / "ner_medical" / "task.yaml", "description: mine\n")
    assert catalog.find_sweep("ner_medical") == sweep
    assert catalog.find_task("ner_medical") == task.parent
    assert catalog.list_sweeps() == {
        "ner_medical": sweep,
        "summaries": shipped / "sweeps" / "summaries.yaml",
    }
    assert catalog.list_tasks() == {"ner_medical": task.parent}


@pytest.mark.usefixtures("shipped")
def test_a_path_goes_before_every_name() -> None:
    sweep = write(Path("ner_medical.yaml"), "task: mine\n")
    task = write(Path("mine/task.yaml"), "description: mine\n")
    assert catalog.find_sweep("ner_medical.yaml") == sweep
    assert catalog.find_task("./mine") == task.parent


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ner_medcal", "unknown sweep 'ner_medcal'; did you mean 'ner_medical'?"),
        ("zzz", "unknown sweep 'zzz'; known: ner_medical, summaries"),
        ("gone.yaml", "gone.yaml: no such sweep file"),
        ("folder/gone", "folder/gone: no such sweep file"),
    ],
)
def test_an_unknown_sweep(name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        catalog.find_sweep(name)
    assert str(caught.value) == message


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ner_medcal", "unknown task 'ner_medcal'; did you mean 'ner_medical'?"),
        ("./gone", "./gone: no task.yaml in this folder"),
    ],
)
def test_an_unknown_task(name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        catalog.find_task(name)
    assert str(caught.value) == message


def test_a_folder_without_task_yaml_is_no_task(shipped: Path) -> None:
    (shipped / "tasks" / "empty").mkdir()
    assert "empty" not in catalog.list_tasks()
    with pytest.raises(UserError, match="unknown task 'empty'"):
        catalog.find_task("empty")


def test_one_root_is_not_looked_through_twice(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shipped)
    assert catalog.search_folders() == (shipped,)


def test_what_is_shipped_is_there() -> None:
    assert (catalog.bundled_folder() / "sweeps" / "ner_medical.yaml").is_file()
    assert (catalog.bundled_folder() / "tasks" / "ner_medical" / "task.yaml").is_file()
