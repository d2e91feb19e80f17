"""`report`: one study in all its formats, several compared; the studies are made up.

`report --watch` writes when there is something new, and ends when nothing more can come.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from harness import cli
from harness.cli import report as report_module
from harness.cli.report import REFRESH, follow, is_over, watch
from harness.config.sweep import load_sweep
from harness.errors import UserError
from harness.storage.heartbeat import BEAT_SECONDS, Heartbeat
from harness.storage.schema import WorkerRow
from harness.storage.study import PlannedTrial, StudyStore, study_url
from harness.trial import Stage, TrialConfig
from tests.studies import make_results

if TYPE_CHECKING:
    from harness.results import StudyResults

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
        (["a", "a"], "different names; 'a' occurs twice"),
        (["a", "b", "--format", "latex"], "a comparison can be written as html, csv or json only"),
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
    # The script of the charts holds numbers of its own.
    before, after = (
        re.sub(r"<script.*?</script>", "", text, flags=re.S) for text in (before, after)
    )
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
        (["--watch"], "without a study name, `report` writes the index, which is HTML only"),
        (
            ["--format", "csv"],
            "without a study name, `report` writes the index, which is HTML only",
        ),
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


CONFIG = TrialConfig("lora", 4, 8.0, 0.0, "qv", 5e-3, seed=1)


class Scene:
    """A study that goes on while the watch waits: one stamp a look."""

    def __init__(self, stamps: list[object]) -> None:
        self.stamps, self.looks = stamps, 0
        self.written: list[tuple[int, bool]] = []
        self.waited: list[float] = []

    def run(self, **changes: Callable[..., object]) -> None:
        watch(
            changes.get("write", lambda more: self.written.append((self.looks, more))),
            lambda: self.stamps[self.looks],
            lambda: self.looks >= len(self.stamps),
            every=5.0,
            wait=changes.get("wait", self.wait),
        )

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.looks += 1


def test_it_writes_at_once_then_when_there_is_news_and_at_the_end() -> None:
    scene = Scene([0, 0, 1, 1, 1, 3])
    scene.run()
    assert scene.written == [(0, True), (2, True), (5, True), (6, False)]
    assert scene.waited == [5.0] * 6


def test_what_is_done_is_written_once() -> None:
    scene = Scene([])
    scene.run()
    assert scene.written == [(0, False)]
    assert scene.waited == []


def test_a_first_stamp_of_none_is_news_too() -> None:
    scene = Scene([None, None])
    scene.run()
    assert scene.written == [(0, True), (2, False)]


def test_after_ctrl_c_no_page_is_left_that_loads_itself() -> None:
    scene = Scene([0, 0, 0])

    def wait(seconds: float) -> None:
        scene.wait(seconds)
        if scene.looks == 2:
            raise KeyboardInterrupt

    scene.run(wait=wait)
    assert scene.written == [(0, True), (2, False)]


def test_a_page_that_cannot_be_written_ends_it() -> None:
    def write(more: bool) -> None:
        raise UserError(f"the disk is full {more}")

    with pytest.raises(UserError, match="full True"):
        Scene([0]).run(write=write)


def test_a_page_that_takes_long_is_made_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(report_module.time, "monotonic", lambda: clock[0])
    scene = Scene([0, 0, 1])
    seconds = [2.0, 0.1, 0.1]  # of making the page: first long, then short

    def write(more: bool) -> None:
        clock[0] += seconds.pop(0)
        scene.written.append((scene.looks, more))

    scene.run(write=write)
    assert scene.waited == pytest.approx([18.0, 18.0, 5.0])


@pytest.fixture
def studies(tmp_path: Path) -> Iterator[StudyStore]:
    (tmp_path / "first").mkdir()
    made = StudyStore(
        study_url(tmp_path / "first"), "first", load_sweep("ner_medical"), create=True
    )
    yield made
    made.close()


def end_one(studies: StudyStore) -> None:
    taken = studies.claim("w")
    assert taken is not None
    studies.config(taken)
    studies.study.tell(taken, 0.5)


def owe(studies: StudyStore, *numbers: int) -> None:
    studies.enqueue(
        [PlannedTrial(f"search/{number}", Stage.SEARCH, 1, CONFIG) for number in numbers]
    )


def stop_hearts(studies: StudyStore, ago: float) -> None:
    with Session(studies.engine) as session, session.begin():
        session.execute(update(WorkerRow).values(beat=time.time() - ago))


def test_a_study_is_over_when_it_owes_nothing_and_nobody_runs_it(studies: StudyStore) -> None:
    assert not is_over(studies)  # it has not begun
    owe(studies, 0)
    assert not is_over(studies)
    with Heartbeat(studies.engine, "first", "w"):
        end_one(studies)
        assert not is_over(studies)  # its worker may plan more
    stop_hearts(studies, 2 * BEAT_SECONDS)
    assert not is_over(studies)  # one beat may be late
    stop_hearts(studies, 4 * BEAT_SECONDS)
    assert is_over(studies)
    owe(studies, 1)
    assert not is_over(studies)  # stopped, and goes on some day


def test_a_study_is_followed_to_its_end(studies: StudyStore, tmp_path: Path) -> None:
    owe(studies, 0, 1, 2)
    pages: list[int | None] = []
    lines: list[str] = []
    # What other processes do between two looks.
    steps = iter(
        [lambda: None, lambda: end_one(studies), lambda: None] + [lambda: end_one(studies)] * 2
    )

    def write(refresh: int | None) -> Path:
        pages.append(refresh)
        return Path("reports/first.html")

    follow("first", tmp_path, write, lines.append, wait=lambda _: next(steps)())
    assert pages == [REFRESH, REFRESH, REFRESH, None]
    told = [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in lines]
    assert told == [
        "reports/first.html: search 0/3",
        "reports/first.html: search 1/3",
        "reports/first.html: search 2/3",
        "reports/first.html: search 3/3; watching ends",
    ]


def test_a_study_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no study 'nosuch'"):
        follow("nosuch", tmp_path, lambda _: Path("never"))


def test_no_garbage_is_collected_while_what_the_report_needs_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def parse(text: str) -> list[str]:
        seen.append(gc.isenabled())
        return [text]

    monkeypatch.setattr(report_module, "_parse_formats", parse)
    assert cli.run(["report"]) == 0
    assert (seen, gc.isenabled()) == ([False], True)
