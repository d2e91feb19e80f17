"""`report`: one study in all its formats, several compared; the studies are made up."""

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest

from harness import cli
from harness.results import StudyResults
from tests.studies import make_results

SIZES = {"validation": 20, "test": 40}


@pytest.fixture(scope="module")
def made() -> dict[str, StudyResults]:
    one = make_results(sizes=SIZES, trials=8)
    other = make_results(sizes=SIZES, trials=8, seed=3)
    return {name: dataclasses.replace(x, name=name) for name, x in (("a", one), ("b", other))}


@pytest.fixture(autouse=True)
def _read(made: dict[str, StudyResults], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.storage.records.read_study", lambda name, _: made[name])


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str], str]:
    code = cli.run(["report", *words])
    told = capsys.readouterr()
    return code, told.out.split(), told.err.strip()


def test_several_studies_are_compared_on_one_page(capsys: pytest.CaptureFixture[str]) -> None:
    code, paths, _ = run(capsys, "a", "b", "--format", "html,json,csv")
    assert (code, paths) == (
        0,
        ["reports/a-and-b.html", "reports/a-and-b.json", "reports/a-and-b"],
    )
    text = Path(paths[0]).read_text(encoding="utf-8")
    assert "Content-Security-Policy" in text
    body = json.loads(Path(paths[1]).read_text(encoding="utf-8"))
    assert {row["study"] for row in body["studies"]} == {"a", "b"}
    for name in body:
        frame = pd.read_csv(Path(paths[2]) / f"{name}.csv")
        assert len(frame) == len(body[name])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a", "a"], "different names; 'a' is there twice"),
        (["a", "b", "--format", "latex"], "several studies are compared as html, csv or json"),
        (["a", "--format", "htm"], "--format htm: did you mean 'html'"),
        (["a", "--price", "much"], "--price much: write it as 1.29/h"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, paths, said = run(capsys, *words)
    assert (code, paths) == (2, [])
    assert told in said
    assert not Path("reports").exists()


def test_a_price_stands_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    _, (plain,), _ = run(capsys, "a")
    before = Path(plain).read_text(encoding="utf-8")
    _, (priced,), _ = run(capsys, "a", "--price", "1.29/h")
    after = Path(priced).read_text(encoding="utf-8")
    assert "--price" in before
    assert "1.29" in after
    assert "1.29" not in before


def test_without_a_study_the_index_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    code, paths, _ = run(capsys)
    assert (code, paths) == (0, ["reports/index.html"])
    assert "Content-Security-Policy" in Path(paths[0]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--watch"], "without a study `report` writes the index of all, as html"),
        (["--format", "csv"], "without a study `report` writes the index of all, as html"),
        (["a", "b", "--watch"], "--watch: writes the page of one study, as html"),
        (["a", "--watch", "--format", "md"], "--watch: writes the page of one study, as html"),
    ],
)
def test_what_cannot_be_watched_or_indexed_is_told(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = run(capsys, *words)
    assert code == 2
    assert told in said
