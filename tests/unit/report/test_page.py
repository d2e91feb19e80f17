"""Tests of `harness.report.page`: whole, self-contained, safe, and written whole or not at all."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import re
import resource
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import UserError
from harness.report import page
from tests import studies
from tests.figures import figures_in

if TYPE_CHECKING:
    from harness.results import StudyResults

VOID = {"meta", "br", "input", "hr", "img"}
HOSTILE = '</td></script><script>alert("x")</script><img src=x onerror=alert(1)>\u202e'


class Outline(HTMLParser):
    """Checks that every tag is closed by its own, and keeps what loads, runs or links."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if values.get("id"):
            self.ids.append(str(values["id"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")


def outline(text: str) -> Outline:
    seen = Outline()
    seen.feed(text)
    seen.close()
    return seen


def without_library(text: str) -> str:
    """A page without plotly.js, which has addresses that it asks for in other charts only."""
    library, _ = page.chart_scripts()
    assert text.count(library) == (1 if 'class="plot"' in text else 0)
    return text.replace(library, "")


@pytest.mark.parametrize("name", ["full_page", "one_page", "empty_page"])
def test_it_is_well_formed_and_loads_nothing(name: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(name)
    seen = outline(text)
    assert (seen.faults, seen.open) == ([], [])
    assert len(seen.ids) == len(set(seen.ids))
    loading = {"src", "srcset", "data", "action", "formaction", "poster", "style", "background"}
    for tag, values in seen.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img", "form"}
        assert not loading & set(values)
        assert not any(key.startswith("on") for key in values)
        assert (values.get("href") or "#").startswith("#")
    assert not re.search(r"https?://|@import|url\(", without_library(text))


def test_links_lead_somewhere(full_page: str) -> None:
    seen = outline(full_page)
    targets = {str(values["href"])[1:] for tag, values in seen.tags if tag == "a"}
    assert targets <= set(seen.ids)


def policy_of(text: str) -> dict[str, str]:
    """What the page's policy says, by directive."""
    policy = next(
        str(values["content"])
        for tag, values in outline(text).tags
        if tag == "meta" and values.get("http-equiv") == "Content-Security-Policy"
    )
    return {
        name: value for name, _, value in (p.strip().partition(" ") for p in policy.split(";"))
    }


def hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("name", ["full_page", "empty_page"])
def test_the_policy_allows_its_own_scripts_only(name: str, request: pytest.FixtureRequest) -> None:
    text: str = request.getfixturevalue(name)
    policy = policy_of(text)
    assert policy["default-src"] == "'none'"
    scripts = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == (3 if name == "full_page" else 1)
    assert policy["script-src"].split() == [hash_of(script) for script in scripts]
    if name == "empty_page":
        (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
        assert policy["style-src"] == hash_of(style)
        assert "img-src" not in policy
    else:  # plotly adds styles, and images that are part of the page
        assert policy["style-src"] == "'unsafe-inline'"
        assert policy["img-src"] == "data:"


def test_only_a_page_with_a_chart_has_what_draws_it(full_page: str, empty_page: str) -> None:
    assert "chart-theme" not in empty_page
    assert len(empty_page.encode()) < 100_000
    assert len(full_page.encode()) < 6_000_000
    assert len(without_library(full_page).encode()) < 1_000_000


def test_an_empty_and_a_one_trial_study_say_so(one_page: str, empty_page: str) -> None:
    assert "No trial yet" in empty_page
    assert "One trial is not enough evidence" in one_page
    assert "LoraConfig" not in one_page + empty_page


def hostile(results: StudyResults) -> StudyResults:
    """The same study with hostile text wherever text comes from outside."""
    trials = results.trials.copy()
    trials["error"] = HOSTILE
    trials["worker"] = HOSTILE
    examples = results.examples.copy()
    examples["prediction"] = HOSTILE
    return dataclasses.replace(
        results,
        name=HOSTILE,
        trials=trials,
        examples=examples,
        sweep={**results.sweep, "task": HOSTILE, "summary": HOSTILE},
        attributes={**results.attributes, "dropped": [HOSTILE]},
        provenance={**results.provenance, "command": HOSTILE, HOSTILE: HOSTILE},
        objective=dataclasses.replace(results.objective, name=HOSTILE, unit=HOSTILE),
    )


@pytest.mark.parametrize("size", ["full", "one", "empty"])
def test_hostile_text_is_text(size: str, request: pytest.FixtureRequest) -> None:
    text = page.render(hostile(request.getfixturevalue(size)))
    seen = outline(text)
    assert (seen.faults, seen.open) == ([], [])
    scripts = [values for tag, values in seen.tags if tag == "script"]
    plain = [values for values in scripts if values.get("type") != "application/json"]
    assert len(plain) == (1 if size == "empty" else 3)
    for figure in figures_in(text):
        assert not re.search("<(?!br>|extra>)", json.dumps(figure, ensure_ascii=False))
    assert not [tag for tag, _ in seen.tags if tag == "img"]
    assert "&lt;script&gt;alert" in text


def test_a_name_cannot_leave_the_command(one: StudyResults) -> None:
    bare = dataclasses.replace(one, name="a; rm -rf b", provenance={})
    assert "sweep &#39;a; rm -rf b&#39;" in page.render(bare)


def test_it_is_written_to_a_folder_that_is_made(empty: StudyResults, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "reports" / "study.html"
    assert page.write(empty, path) == path
    assert path.read_text(encoding="utf-8") == page.render(empty)
    assert [file.name for file in path.parent.iterdir()] == ["study.html"]


def test_a_folder_that_cannot_be_is_told_in_one_line(empty: StudyResults, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="the report cannot be written") as caught:
        page.write(empty, tmp_path / "file" / "study.html")
    assert "\n" not in str(caught.value)


def test_a_folder_in_the_place_of_the_file_is_told(empty: StudyResults, tmp_path: Path) -> None:
    (tmp_path / "study.html").mkdir()
    with pytest.raises(UserError, match="the report cannot be written"):
        page.write(empty, tmp_path / "study.html")
    assert [file.name for file in tmp_path.iterdir()] == ["study.html"]


def test_when_there_is_no_room_the_old_page_stays(empty: StudyResults, tmp_path: Path) -> None:
    # The kernel refuses files above 4 kB to this process for a moment, as a full disk would.
    path = tmp_path / "study.html"
    path.write_text("the old page")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match="the report cannot be written"):
            page.write(empty, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_text() == "the old page"
    assert [file.name for file in tmp_path.iterdir()] == ["study.html"]


def test_neither_torch_nor_optuna_is_imported() -> None:
    code = (
        "import sys, harness.report.page\n"
        "heavy = {'torch', 'optuna', 'transformers', 'peft', 'plotly'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_equal_studies_give_equal_pages(full_page: str) -> None:
    assert page.render(studies.make_results()) == full_page


def words_of(results: StudyResults) -> str:
    """What a reader sees of a page, without the sweep and the code."""
    text = re.sub(r"<(style|script|pre)\b.*?</\1>", " ", page.render(results), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


@pytest.mark.parametrize("name", ["likelihoods", "intents", "summaries"])
def test_a_page_speaks_of_its_own_metric(name: str, request: pytest.FixtureRequest) -> None:
    results: StudyResults = request.getfixturevalue(name)
    seen, text = outline(page.render(results)), words_of(results)
    assert (seen.faults, seen.open) == ([], [])
    assert results.objective.unit in text
    assert results.objective.margin_text in text
    for word in ("F1", "entities", "dictionary", "mention"):
        assert not re.search(rf"\b{word}\b", text)
    for word in ("nan", "inf", "None", "unknown"):
        assert not re.search(rf"\b{word}\b", text)


def test_where_less_is_better_the_page_says_so_and_nowhere_the_contrary(
    likelihoods: StudyResults,
) -> None:
    text = words_of(likelihoods)
    assert "perplexity, lower is better" in text
    assert "not more than 0.5 perplexity above the best" in text
    assert "within the margin of the lowest mean" in text
    assert "Down is better quality" in text
    assert text.count("Lower is better") == 2
    for word in ("higher is better", "highest mean", "below the best", "Up is better"):
        assert word not in text
