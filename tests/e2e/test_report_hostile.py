"""Pages of studies that are hostile, and of one that is large, in a real browser."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.report import compare, index, page
from tests import studies
from tests.e2e.hostile import BAD, HEBREW, hostile
from tests.e2e.pages import with_texts
from tests.e2e.visits import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from harness.results import StudyResults

pytestmark = pytest.mark.chromium

NAMES = ("full", "one", "empty", "comparing", "index")
#: What no page may hold as it is: overrides and isolates of the direction, control characters.
UNSEEN = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
TRIALS = 2000
SECONDS = 10.0  # of the processor, for the page of so many trials
BYTES = 8_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    makers: dict[str, Callable[[], StudyResults]] = {
        "full": studies.make_results,
        "one": studies.one_trial_results,
        "empty": studies.empty_results,
    }
    made = {name: hostile(make()) for name, make in makers.items()}
    for name, results in made.items():
        page.write(results, folder / f"{name}.html")
    other = hostile(studies.make_results(trials=8, looks=(2, 4)))
    other = dataclasses.replace(other, name=f"{BAD} two")
    page.write_text(compare.render([made["full"], other]), folder / "comparing.html")
    lines = [index.line(one) for one in made.values()]
    lines.append(index.StudyRow(BAD, fault=BAD, ended="no date"))
    page.write_text(index.render(lines, [BAD]), folder / "index.html")
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [360, 1280])
def test_hostile_texts_are_texts_and_fit(
    browser: Browser, folder: Path, name: str, width: int
) -> None:
    path = folder / f"{name}.html"
    with Visit(browser, path, width) as visit:
        visit.draw()
        assert visit.over_the_edge() == []
        assert visit.ask("document.documentElement.scrollWidth") <= width
        text = visit.ask("document.body.textContent")
        scripts = visit.ask(
            "[...document.scripts].filter(one => one.type !== 'application/json').length"
        )
        strange = visit.ask(
            "document.images.length"
            " + document.querySelectorAll('.plot a, .plot b, .plot i').length"
        )
        odd = visit.ask(
            "[...document.querySelectorAll('svg *')].flatMap(one => [...one.attributes])"
            ".filter(one => /\\b(NaN|inf|Infinity)\\b/.test(one.value)).map(one => one.value)"
        )
    assert (visit.popped, visit.said, visit.asked) == ([], [], [path.as_uri()])
    assert scripts == (3 if name in {"full", "one"} else 1)
    assert strange == 0
    assert odd == []
    assert "<script>alert(1)</script>" in text
    assert "{{ 7*7 }}" in text
    assert "[U+202E]flip" in text
    library, _ = page.chart_scripts()
    assert re.findall(UNSEEN, path.read_text(encoding="utf-8").replace(library, "")) == []


def test_a_text_from_right_to_left_leaves_its_neighbours_in_place(
    browser: Browser, tmp_path: Path
) -> None:
    results = studies.make_results(trials=8, looks=(2, 4))
    results = dataclasses.replace(
        results,
        trials=results.trials.assign(target_modules=HEBREW),
        examples=results.examples.assign(prediction=HEBREW),
    )
    results = with_texts(results, label=HEBREW)
    assert results.texts is not None
    texts = dataclasses.replace(results.texts, answers=results.texts.answers.head(0))
    path = page.write(dataclasses.replace(results, texts=texts), tmp_path / "hebrew.html")
    with Visit(browser, path) as visit:
        # A label ends with Hebrew, and what follows it begins with a number.
        five, shot = visit.ask(PLACES, ["#errors > p", ["5", "-shot"]])
        assert 0 < shot - five < 16
        # An answer in Hebrew, and behind it in how many seeds it was given.
        answer, count = visit.ask(PLACES, ["#errors dl.said", [HEBREW, " (4/4)"]])
        assert answer < count


#: Where parts of a text begin on the page from the left, the last of each.
PLACES = """([chosen, parts]) => {
  const found = [], walk = document.createTreeWalker(document.querySelector(chosen), 4);
  const nodes = [];
  while (walk.nextNode()) nodes.push(walk.currentNode);
  for (const part of parts) {
    const node = nodes.findLast(one => one.data.includes(part)), range = document.createRange();
    const at = node.data.lastIndexOf(part);
    range.setStart(node, at);
    range.setEnd(node, at + part.length);
    found.push(range.getBoundingClientRect().left);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = studies.make_results(
        trials=TRIALS, sizes={"validation": 20, "test": 40}, looks=(2, 4)
    )
    path = tmp_path_factory.mktemp("large") / "large.html"
    begin = time.process_time()
    page.write(results, path)
    assert time.process_time() - begin < SECONDS
    return path


def test_a_page_of_many_trials_is_small_and_works(browser: Browser, large: Path) -> None:
    assert large.stat().st_size < BYTES
    with Visit(browser, large) as visit:
        visit.draw()
        table = visit.page.locator("#all-trials")
        rows = "rows => rows.map(r => [r.dataset.stage, r.cells[11].dataset.key])"
        found = table.locator("tbody tr").evaluate_all(rows)
        assert sum(stage == "search" for stage, _ in found) == TRIALS + 1  # the duplicate
        table.locator("thead button", has_text="dation").click()
        rising = [float(key) for _, key in table.locator("tbody tr").evaluate_all(rows) if key]
        assert rising == sorted(rising)
        assert sorted(rising) == sorted(float(key) for _, key in found if key)
        visit.page.select_option("#stage-filter", "confirm")
        left = table.locator("tbody tr:visible").count()
        assert left == sum(stage == "confirm" for stage, _ in found) > 0
        assert visit.page.locator("#stage-count").inner_text() == f"{left} shown."
        assert (visit.said, visit.asked) == ([], [large.as_uri()])
