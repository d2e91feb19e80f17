"""What the data of a study are like goes from its rows, through the database, to the report."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from harness.analysis.limitations import not_supported
from harness.config.sweep import parse_sweep
from harness.report.page import write
from harness.study import session
from harness.study.session import Parallelism
from harness.tasks.task import load_task_for
from tests.task_folders import pair_row, write_rows, write_task


@pytest.mark.parametrize("leaking", [False, True])
def test_leaks_that_are_allowed_stand_on_the_first_screen(tmp_path: Path, leaking: bool) -> None:
    rows = tmp_path / "mine"
    write_rows(rows, "train", [pair_row(f"t-{n}", "o", f"text {n}", score=n) for n in range(9)])
    write_rows(rows, "validation", [pair_row("v-0", "o")])
    write_rows(rows, "test", [pair_row("e-0", "o", "TEXT 8" if leaking else "another")])
    place = write_task(rows, "pairs", quality={"min_score": 3})
    sweep = parse_sweep({"task": place, "data": {"allow_leaks": leaking}}, "test")
    opened = session.open_study(
        sweep, load_task_for(sweep), "leaky", tmp_path / "results", Parallelism(1, 1)
    )
    results = opened.records.read()
    opened.studies.close()
    assert results.sweep["data"]["allow_leaks"] is leaking
    assert results.provenance["leaks"] == ({"test": 1} if leaking else {})
    said = any("Scores are inflated" in line for line in not_supported(results, None))
    page = html.unescape(write(results, tmp_path / "report.html").read_text(encoding="utf-8"))
    screen = page[page.index('class="hero') : page.index("<h3>Evidence</h3>")]
    shown = "1 input occurs in more than one split (1 of test in train), such as e-0" in screen
    assert (said, shown) == (leaking, leaking)
    assert "quality: 3 of 9 training rows left out (3 scored below 3)" in screen
