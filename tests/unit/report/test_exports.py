"""A study as files: read back they are what the sections publish, whatever stands in them."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from harness.analysis.recommendation import recommend
from harness.errors import UserError
from harness.report import exports
from tests.figures import figures_in

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


#: Drawn by a browser, all others by none.
_DRAWN = [pytest.param(style, marks=pytest.mark.chromium) for style in ("svg", "png")]


@pytest.mark.parametrize("style", _DRAWN)
def test_figures_are_written_beside_the_tables(
    style: str, ablated: StudyResults, tmp_path: Path
) -> None:
    pytest.importorskip("kaleido", reason="no kaleido here: pip install 'harness[figures]'")
    tables = exports.write(ablated, "csv", tmp_path)
    folder = exports.write(ablated, style, tmp_path)
    assert folder == tables / "figures" == tmp_path / ablated.name / "figures"
    names = sorted(f"{name}.{style}" for name, _ in exports.named_charts(ablated))
    assert sorted(file.name for file in folder.iterdir()) == names
    assert len(names) == len(figures_in(exports.page.render(ablated))) > 10
    for file in folder.iterdir():
        content = file.read_bytes()
        if style == "png":
            assert content.startswith(b"\x89PNG")
            assert int.from_bytes(content[16:20], "big") == 2 * 720  # twice as fine as the SVG
        else:
            root = ElementTree.fromstring(content)
            assert root.attrib["width"] == "720"
            words = "".join(root.itertext())
            assert "points of F1" in words or "loss" in words or "trial" in words
            assert "http" not in "".join(root.attrib.values())


def test_names_of_files_are_safe_and_follow_the_page(full: StudyResults) -> None:
    names = [name for name, _ in exports.named_charts(full)]
    assert len(names) == len(set(names)) == len(figures_in(exports.page.render(full)))
    assert names[:2] == [
        "verdict-01-difference-of-each-finalist-to-the-best-of-the-others-with-simultaneous-bounds",
        "ablation-01-rank-mean-score-with-its-95-interval",
    ]
    assert all(re.fullmatch("[a-z0-9-]+", name) for name in names)


@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("Rank at qv: score. Strong: 3.", "rank-at-qv-score"),
        ("../../etc/passwd", "etc-passwd"),
        ("\u05d0\u05d1", "chart"),
        ("Caf\u00e9 " * 40, "cafe-" * 15 + "cafe"),
        ("x" * 200, "x" * 80),
    ],
)
def test_a_caption_becomes_a_part_of_a_name(caption: str, name: str) -> None:
    assert exports.slug(caption) == name


@pytest.mark.parametrize("style", ["svg", "png"])
def test_what_is_missing_for_figures_is_said(
    style: str, full: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(exports.importlib.util, "find_spec", lambda _: object())
    with pytest.raises(UserError, match=rf"--format {style}: no Chromium or Chrome") as caught:
        exports.write(full, style, tmp_path)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(exports.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"needs kaleido: pip install 'harness\[figures\]'"):
        exports.write(full, style, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_browser_that_draws_nothing_is_named(
    ablated: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kaleido", reason="no kaleido here: pip install 'harness[figures]'")
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\nexit 1\n")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    with pytest.raises(UserError, match=rf"{browser} drew no figures") as caught:
        exports.write(ablated, "svg", tmp_path / "reports")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "reports" / ablated.name / "figures").iterdir()) == []


def test_a_study_without_a_figure_says_so(empty: StudyResults, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no figure yet"):
        exports.write(empty, "svg", tmp_path)


_ALL = [
    pytest.param(form, marks=[pytest.mark.chromium] if form in {"svg", "png"} else [])
    for form in exports.FORMATS
]


@pytest.mark.parametrize("form", _ALL)
def test_what_cannot_be_written_is_told(form: str, full: StudyResults, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(UserError, match="cannot be written"):
        exports.write(full, form, blocked)
    assert blocked.read_text() == "no folder"
