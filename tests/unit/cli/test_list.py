"""`list` shows what is there, also where a file cannot be read or there is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import run
from harness.cli.list import sweep_rows, task_rows
from harness.config import catalog
from harness.config.sweep import load_sweep
from harness.config.variants import VARIANTS
from harness.storage.study import PlannedTrial, StudyStore, study_url
from harness.trial import Stage, TrialConfig


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


@pytest.fixture
def empty(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with nothing in it, and nothing bundled."""
    monkeypatch.setattr(catalog, "bundled_folder", lambda: workplace)
    return workplace


def test_sweeps_with_summary_comment_or_fault(empty: Path) -> None:
    write(empty / "sweeps" / "a.yaml", "# What for?\ntask: one\n")
    write(empty / "sweeps" / "b.yaml", "# A comment\ntask: two\nsummary: a summary\n")
    write(empty / "sweeps" / "c.yaml", "task: [1,\n")
    assert sweep_rows() == [
        ("a", "one", "What for?", "sweeps/a.yaml"),
        ("b", "two", "a summary", "sweeps/b.yaml"),
        ("c", "?", "cannot be read; see `harness check`", "sweeps/c.yaml"),
    ]


def test_tasks_with_their_summary_in_one_line(empty: Path) -> None:
    write(empty / "tasks" / "one" / "task.yaml", "summary: |\n  two\n  lines\n")
    assert task_rows() == [("one", "two lines", "tasks/one")]


@pytest.mark.usefixtures("empty")
def test_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Sweeps: none",
        "Tasks: none",
        "Studies: no studies in results",
    ]


def test_what_is_shipped_is_listed(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--results", str(workplace / "none")]) == 0
    out = capsys.readouterr().out
    assert out.count("ner_medical") >= 4  # name and file of the sweep, name and folder of the task


def test_one_kind_alone(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "studies", "--results", str(workplace)]) == 0
    assert capsys.readouterr().out == f"Studies: no studies in {workplace}\n"


def test_variants_come_with_their_papers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["list", "variants"]) == 0
    title, head, *rows = capsys.readouterr().out.splitlines()
    assert title == "Variants"
    assert head.split() == ["name", "summary", "source", "proofs"]
    found = {row.split()[0]: row for row in rows}
    assert {*VARIANTS.names(), "qlora"} == set(found)
    assert "arXiv:2402.09353" in found["dora"]
    assert "magnitude" in found["dora"]
    assert "model.quantization: nf4" in found["qlora"]


def test_a_study_is_listed_with_its_trials(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workplace / "results" / "first"
    folder.mkdir(parents=True)
    studies = StudyStore(study_url(folder), "first", load_sweep("ner_medical"), create=True)
    config = TrialConfig("lora", 4, 8.0, 0.0, "qv", 5e-3, seed=1)
    studies.enqueue(
        [PlannedTrial(f"search/{number}", Stage.SEARCH, 1, config) for number in range(2)]
    )
    done = studies.claim("worker")
    assert done is not None
    studies.config(done)
    studies.study.tell(done, 0.5)
    studies.close()
    assert run(["list", "studies"]) == 0
    head, row = capsys.readouterr().out.splitlines()[1:]
    assert head.split() == ["name", "trials", "complete", "stage", "folder"]
    assert row.split() == ["first", "1", "1", "search", "results/first"]
