"""Tests of `harness.report.index`: one line a study, kept while nothing changes, safe to open."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from harness.analysis.recommendation import recommend
from harness.config.sweep import load_sweep
from harness.errors import UserError
from harness.report import index, page
from harness.report.index import StudyRow
from harness.storage import overview
from harness.storage.records import Records
from harness.storage.study import PlannedTrial, StudyStore, study_url
from harness.trial import Stage
from tests.studies import F1, config

if TYPE_CHECKING:
    from harness.results import StudyResults

HOSTILE = '</td></script><script>alert("x")</script>'


def named(results: StudyResults, name: str) -> StudyResults:
    return dataclasses.replace(results, name=name)


def rows(text: str) -> list[str]:
    """The rows of the table's body, newest first."""
    (body,) = re.findall(r"<tbody>(.*?)</tbody>", text, re.DOTALL)
    return re.findall(r"<tr.*?</tr>", body, re.DOTALL)


def cells(row: str) -> list[str]:
    """The words of a row's cells."""
    found = re.findall(r"<t[hd][ >].*?</t[hd]>", row, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", one).split()) for one in found]


class Shelf:
    """A study that counts how often it is read."""

    def __init__(self, found: StudyResults | Exception, name: str, stamp: str = "1") -> None:
        self.found, self.name, self.stamp, self.reads = found, name, stamp, 0

    def entry(self) -> tuple[str, str, Callable[[], StudyResults]]:
        return self.name, self.stamp, self.read

    def read(self) -> StudyResults:
        self.reads += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def test_a_line_has_the_studys_numbers(full: StudyResults) -> None:
    advice, found = recommend(full), index.line(full)
    assert advice.pick is not None
    assert advice.score is not None
    assert found.trials == len(full.trials)  # all of them have ended
    assert found.running == 0
    assert (found.task, found.model) == ("ner_medical", "builtin:tiny")
    assert found.outcome == advice.outcome
    # The objective is F1 and its margin is in whole points: shown times 100, with one digit.
    assert float(found.score) == round(100 * advice.score.value, 1)
    low, high = found.interval.split(" to ")
    assert float(low) == round(100 * advice.score.low, 1)
    assert float(high) == round(100 * advice.score.high, 1)
    for part in (advice.pick["variant"], f"r={advice.pick['rank']}"):
        assert part in found.pick
    assert found.ended == max(full.trials["finished"].dropna()).strftime("%Y-%m-%dT%H:%M:%S+00:00")
    assert found.caveat == ""


def test_trials_that_have_not_ended_are_told_apart(searched: StudyResults) -> None:
    trials = searched.trials.copy()
    trials.loc[trials.index[-2:], ["state", "finished"]] = ["running", pd.NaT]
    trials.loc[trials.index[0], "state"] = "lost"  # owed again: it has not ended
    found = index.line(dataclasses.replace(searched, trials=trials))
    assert (found.trials, found.running) == (len(trials) - 3, 2)
    assert (found.outcome, found.pick, found.score) == ("none", "", "")
    (row,) = rows(index.render([found]))
    assert "2 under way" in row
    assert "none" in row


def test_a_pick_no_better_than_no_model_is_said_to_be_so(full: StudyResults) -> None:
    baselines = full.baselines.copy()
    naive = baselines["name"] == "dictionary"
    assert naive.any()
    for column in baselines.columns:
        if column.endswith((".fp", ".fn")):
            baselines.loc[naive, column] = 0.0  # every answer of the dictionary is right
    found = index.line(dataclasses.replace(full, baselines=baselines))
    assert found.caveat == "no better than the dictionary"
    assert "no better than the dictionary" in index.render([found])


def test_an_empty_study_and_none_at_all(empty: StudyResults, one: StudyResults) -> None:
    found = index.line(empty)
    assert (found.trials, found.running, found.outcome) == (0, 0, "none")
    text = index.render([found, index.line(one)])
    assert len(rows(text)) == 2
    assert "There is no study in this folder yet" in index.render([])
    assert "<table" not in index.render([])


def test_the_newest_stands_first_and_what_cannot_be_read_last() -> None:
    lines = [
        StudyRow("broken", fault="no such table"),
        StudyRow("old", trials=1, outcome="none", ended="2026-01-02T00:00:00+00:00"),
        StudyRow("b_same", trials=1, outcome="none", ended="2026-02-02T00:00:00+00:00"),
        StudyRow("a_same", trials=1, outcome="none", ended="2026-02-02T00:00:00+00:00"),
        # An hour before `a_same`, though its clock reads later.
        StudyRow("west", trials=1, outcome="none", ended="2026-02-02T01:00:00+02:00"),
        StudyRow("unknown", outcome="none"),
    ]
    names = [cells(row)[0] for row in rows(index.render(lines))]
    assert names == ["a_same", "b_same", "west", "old", "unknown", "broken"]


def test_only_studies_with_a_page_are_links_and_no_name_is_a_scheme() -> None:
    names = ["plain", "javascript:alert(1)", "a b#c?d%e", "without"]
    text = index.render([StudyRow(name, outcome="none") for name in names], names[:3])
    links = re.findall(r'href="([^"#][^"]*)"', text)
    assert sorted(links) == [
        "./a%20b%23c%3Fd%25e.html",
        "./javascript%3Aalert%281%29.html",
        "./plain.html",
    ]


def test_what_comes_from_outside_is_escaped() -> None:
    texts = {
        each.name: HOSTILE
        for each in dataclasses.fields(StudyRow)
        if isinstance(each.default, str)
    }
    values: dict[str, Any] = {**texts, "trials": 1}
    text = index.render([StudyRow(HOSTILE, **values)], [HOSTILE])
    assert "<script>alert" not in text
    assert text.count("<script>") == 1


def test_the_page_has_the_policy_of_a_report() -> None:
    text = html.unescape(str(index.render([StudyRow("one", outcome="none")])))
    assert "default-src 'none';" in text
    for name in ("style", "script"):
        (inside,) = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in text
    assert not re.search(r"https?://|@import|url\(| style=| on\w+=", text)
    assert 'http-equiv="refresh"' not in text


def test_a_study_is_read_again_only_when_it_has_changed(
    full: StudyResults, one: StudyResults, tmp_path: Path
) -> None:
    first, second = Shelf(full, "full"), Shelf(one, "one")
    shelves = [first, second]
    path = index.write((each.entry() for each in shelves), tmp_path)
    before = path.read_text(encoding="utf-8")
    assert (first.reads, second.reads) == (1, 1)
    (tmp_path / "full.html").touch()
    index.write((each.entry() for each in shelves), tmp_path)
    assert (first.reads, second.reads) == (1, 1)
    after = path.read_text(encoding="utf-8")
    assert [cells(row) for row in rows(after)] == [cells(row) for row in rows(before)]
    assert (before.count('href="./full.html"'), after.count('href="./full.html"')) == (0, 1)
    second.stamp = "2"
    index.write((each.entry() for each in shelves), tmp_path)
    assert (first.reads, second.reads) == (1, 2)
    index.write([second.entry()], tmp_path)  # the first is gone
    assert [row.count("full") for row in rows(path.read_text(encoding="utf-8"))] == [0]


@pytest.mark.parametrize("spoilt", ["", "{", "[]", '{"code": 1}', "other code", "types"])
def test_lines_kept_by_other_code_or_spoilt_are_made_anew(
    one: StudyResults, tmp_path: Path, spoilt: str
) -> None:
    shelf = Shelf(one, "one")
    before = index.write([shelf.entry()], tmp_path).read_text(encoding="utf-8")
    kept = tmp_path / index.CACHE
    body = json.loads(kept.read_text(encoding="utf-8"))
    if spoilt == "other code":
        body["code"] = "another"
    elif spoilt == "types":
        body["studies"][0]["trials"] = "many"
    kept.write_text(json.dumps(body) if spoilt in {"other code", "types"} else spoilt)
    after = index.write([shelf.entry()], tmp_path).read_text(encoding="utf-8")
    assert shelf.reads == 2
    assert after == before


def test_a_study_that_cannot_be_read_says_why_and_is_tried_again(
    one: StudyResults, tmp_path: Path
) -> None:
    wrong = Shelf(UserError("written with\nschema 0"), "wrong")
    torn = Shelf(KeyError("objective"), "torn")
    fine = Shelf(one, "fine")
    for _ in range(2):
        path = index.write([each.entry() for each in (wrong, torn, fine)], tmp_path)
    assert (wrong.reads, torn.reads, fine.reads) == (2, 2, 1)
    found = {cells(row)[0]: cells(row) for row in rows(path.read_text(encoding="utf-8"))}
    assert found["wrong"][1:3] == ["unreadable", "written with schema 0"]
    assert found["torn"][1:3] == ["unreadable", "KeyError: &#39;objective&#39;"]
    assert found["fine"][1] == "none"


def test_a_line_stands_under_the_name_that_the_study_was_found_by(
    one: StudyResults, tmp_path: Path
) -> None:
    shelf = Shelf(named(one, "inside"), "folder")
    path = index.write([shelf.entry()], tmp_path)
    assert cells(rows(path.read_text(encoding="utf-8"))[0])[0] == "folder"
    index.write([shelf.entry()], tmp_path)
    assert shelf.reads == 1


def test_a_study_called_index_keeps_its_page(one: StudyResults, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("the study's")
    with pytest.raises(UserError, match="is the page of study 'index'"):
        index.write([Shelf(one, "index").entry()], tmp_path)
    assert (tmp_path / "index.html").read_text() == "the study's"


def begun(results: Path, name: str) -> StudyStore:
    """A study that was begun and owes one trial."""
    (results / name).mkdir(parents=True)
    sweep = load_sweep("ner_medical")
    made = StudyStore(study_url(results / name), name, sweep, create=True)
    Records(made).register(sweep, "digest", F1, {"started": "2026-01-05T08:00:00+00:00"})
    made.enqueue([PlannedTrial("search/0", Stage.SEARCH, 1, config())])
    return made


def test_studies_are_found_and_their_stamps_tell_writing_from_reading(tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert list(overview.find_studies(results)) == []
    begun(results, "second").close()
    running = begun(results, "first")
    (results / "empty_folder").mkdir()
    found = list(overview.find_studies(results))
    assert [one.name for one in found] == ["first", "second"]
    for one in found:
        assert one.read().name == one.name
    assert [one.stamp for one in overview.find_studies(results)] == [one.stamp for one in found]
    assert len({one.stamp for one in found}) == 2
    taken = running.claim("w")
    assert taken is not None
    first, second = overview.find_studies(results)
    assert first.stamp != found[0].stamp
    assert second.stamp == found[1].stamp
    running.close()


def test_a_folder_of_studies_becomes_an_index(tmp_path: Path) -> None:
    results, reports = tmp_path / "results", tmp_path / "reports"
    begun(results, "fine").close()
    (results / "torn").mkdir()
    (results / "torn" / "study.db").write_text("this is no database " * 99)
    path = index.write(overview.find_studies(results), reports)
    assert path == reports / "index.html"
    text = path.read_text(encoding="utf-8")
    found = {cells(row)[0]: cells(row) for row in rows(text)}
    assert found["fine"][1] == "none"
    assert found["torn"][1] == "unreadable"
    assert "cannot be opened: file is not a database" in found["torn"][2]
    # The page is passed on: it does not tell where the studies lie.
    assert str(tmp_path) not in text + (reports / index.CACHE).read_text(encoding="utf-8")


def test_a_page_loads_itself_again_only_when_asked(empty: StudyResults) -> None:
    plain, watched = page.render(empty), page.render(empty, refresh=10)
    tag = '<meta http-equiv="refresh" content="10">\n'
    assert tag in watched
    assert watched.replace(tag, "") == plain
    assert 'http-equiv="refresh"' not in plain
