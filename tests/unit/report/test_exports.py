"""A study as files: read back they are what the sections publish, whatever stands in them."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from harness.analysis.recommendation import recommend
from harness.errors import UserError
from harness.report import exports

if TYPE_CHECKING:
    from pathlib import Path

    from harness.results import StudyResults

HOSTILE = 'a|b <script>"x"</script> \\ & % $ # _ { } ~ ^\nnew \u202eline 🙂'


@pytest.fixture(params=["full", "perplexity", "searched", "one", "empty"])
def study(request: pytest.FixtureRequest) -> StudyResults:
    found: StudyResults = request.getfixturevalue(request.param)
    return found


def hostile(results: StudyResults) -> StudyResults:
    """The study with names and errors that mean something to each format."""
    trials = results.trials.copy()
    trials["error"] = HOSTILE
    trials["variant"] = "l|o_r%a"
    return dataclasses.replace(results, trials=trials)


def test_csv_read_back_is_the_table(study: StudyResults, tmp_path: Path) -> None:
    folder = exports.write(study, "csv", tmp_path)
    tables = list(exports.published_tables(study))
    assert len([*folder.glob("*.csv")] if tables else []) == len(tables)
    for each in tables:
        (file,) = [f for f in folder.glob(f"{each.section}-*.csv") if _same(f, each.name)]
        found = pd.read_csv(file)
        assert [*found.columns] == [*each.frame.columns]
        assert len(found) == len(each.frame)
        for name in each.frame.columns:
            if pd.api.types.is_float_dtype(each.frame[name]):
                wanted = each.frame[name].to_numpy(dtype=float)
                assert found[name].to_numpy(dtype=float) == pytest.approx(wanted, nan_ok=True)


def _same(file: Path, name: str) -> bool:
    plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
    return file.stem.partition("-")[2] == plain


def test_json_holds_every_number(study: StudyResults) -> None:
    body = json.loads(exports.as_json(study))
    assert body["evidence"] == recommend(study).evidence
    for each in exports.published_tables(study):
        rows = body["tables"][f"{each.section}/{each.name}"]
        assert len(rows) == len(each.frame)
        for row, wanted in zip(rows, each.frame.to_dict("records"), strict=True):
            for name, value in wanted.items():
                if isinstance(value, float):
                    found = row[str(name)]
                    assert found == value if math.isfinite(value) else found is None


@pytest.mark.parametrize("make", [exports.as_markdown, exports.as_latex, exports.as_json])
def test_hostile_texts_break_no_format(make: object, full: StudyResults) -> None:
    assert callable(make)
    text = make(hostile(full))
    assert "<script>" not in text or make is exports.as_json
    if make is exports.as_json:
        rows = json.loads(text)["tables"]["trials/trials"]
        assert rows[0]["error"] == HOSTILE


def test_every_markdown_row_has_its_columns(full: StudyResults) -> None:
    text = exports.as_markdown(hostile(full))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    width, rows = 0, 0
    for before, line in zip(["", *lines], lines, strict=False):
        cells = line.replace("\\\\", "").replace("\\|", "").count("|") - 1
        if set(line) == {"|", "-"}:
            width = cells
            assert before.replace("\\|", "").count("|") - 1 == width
        elif width and before and set(before) == {"|", "-"}:
            rows += 1
            assert cells == width
    assert rows == len(list(exports.published_tables(full)))


def test_latex_is_booktabs_and_compiles(full: StudyResults, tmp_path: Path) -> None:
    text = exports.as_latex(hostile(full))
    assert text.count(r"\begin{longtable}") == len(list(exports.published_tables(full)))
    assert r"\toprule" in text
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert all(ord(char) < 0x180 for char in text)
    compiler = shutil.which("pdflatex")
    if compiler is None:
        pytest.skip("no pdflatex here; on Debian: apt-get install texlive-latex-recommended")
    (tmp_path / "study.tex").write_text(text, encoding="utf-8")
    command = [compiler, "-interaction=nonstopmode", "-halt-on-error", "study.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "study.pdf").stat().st_size > 10_000


def test_figures_are_written_beside_the_tables(full: StudyResults, tmp_path: Path) -> None:
    tables = exports.write(full, "csv", tmp_path)
    folder = exports.write(full, "svg", tmp_path)
    assert folder == tables / "figures" == tmp_path / full.name / "figures"
    charts = exports.page.render(full).count('<svg class="chart"')
    assert len([*folder.iterdir()]) == len([*folder.glob("*.svg")]) == charts > 0


#: PNG is drawn by a browser, all others by none.
_ALL = [
    pytest.param(form, marks=[pytest.mark.chromium] if form == "png" else [])
    for form in exports.FORMATS
]


@pytest.mark.parametrize("form", _ALL)
def test_what_cannot_be_written_is_told(form: str, full: StudyResults, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(UserError, match="cannot be written"):
        exports.write(full, form, blocked)
    assert blocked.read_text() == "no folder"
