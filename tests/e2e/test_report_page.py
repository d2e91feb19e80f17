"""The report in a real browser: it draws, stays quiet, loads nothing, fits, sorts and copies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.report import page as report
from tests import studies
from tests.e2e.visits import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.chromium

PAGES = ("full", "one", "empty")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    report.write(studies.make_results(), folder / "full.html")
    report.write(studies.one_trial_results(), folder / "one.html")
    report.write(studies.empty_results(), folder / "empty.html")
    return folder


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("dark", [False, True])
def test_it_opens_quietly_and_loads_nothing(
    browser: Browser, folder: Path, name: str, dark: bool
) -> None:
    path = folder / f"{name}.html"
    with Visit(browser, path, dark=dark) as visit:
        assert visit.page.locator("#pick").is_visible()
        assert visit.said == []
        assert visit.asked == [path.as_uri()]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [360, 768, 1280, 3840])
def test_nothing_runs_over_the_edge(browser: Browser, folder: Path, name: str, width: int) -> None:
    with Visit(browser, folder / f"{name}.html", width) as visit:
        visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        cut = visit.page.evaluate(
            "[...document.querySelectorAll('svg text')].filter(t => t.checkVisibility() && ("
            "t.getBoundingClientRect().left < 0 || t.getBoundingClientRect().right > innerWidth))"
            ".map(t => t.textContent)"
        )
        assert cut == []


def test_the_verdict_is_on_the_first_screen(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "full.html") as visit:
        for chosen in ("#pick", ".score .big", ".evidence", ".notice"):
            box = visit.page.locator(chosen).first.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] < 900


def test_tables_and_charts_are_drawn(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "full.html") as visit:
        page = visit.page
        for factor in ("rank", "alpha_ratio", "target_modules", "dropout", "variant"):
            part = page.locator(f"#ablation-{factor}")
            assert part.locator("table").is_visible()
            assert part.locator("svg.chart circle").count() >= 2
        assert page.locator("#classes table").first.is_visible()
        heights = page.evaluate(
            "[...document.querySelectorAll('svg.chart')].map(s => s.getBBox().height)"
        )
        assert heights
        assert min(heights) > 50


def test_headings_sort_and_the_filter_filters(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "full.html") as visit:
        table = visit.page.locator("#all-trials")
        heading = table.locator("thead button", has_text="dation")
        keys = "rows => rows.map(r => r.cells[11].dataset.key)"
        heading.press("Enter")  # with the keyboard
        rising = table.locator("tbody tr").evaluate_all(keys)
        heading.click()
        falling = table.locator("tbody tr").evaluate_all(keys)
        numbers = [float(key) for key in rising if key]
        assert numbers == sorted(numbers)
        assert [float(key) for key in falling if key] == numbers[::-1]
        assert rising[-1] == falling[-1] == ""  # those without a score stay last
        visit.page.select_option("#stage-filter", "confirm")
        stages = table.locator("tbody tr:visible").evaluate_all(
            "rows => rows.map(r => r.dataset.stage)"
        )
        assert set(stages) == {"confirm"}
        said = visit.page.locator("#stage-count").inner_text()
        assert re.fullmatch(rf"{len(stages)} shown\.", said)


def test_the_copy_button_copies(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "full.html") as visit:
        visit.page.locator('button[data-from="snippet"]').click()
        visit.page.get_by_text("Copied").wait_for()
        copied = visit.page.evaluate("navigator.clipboard.readText()")
        assert copied == visit.page.locator("#snippet").text_content()
        assert copied.startswith("from peft import LoraConfig")


def test_it_prints_whole_on_a4(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "full.html", width=688) as visit:  # A4 less its margins, 96 dpi
        visit.page.emulate_media(media="print")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 688
        assert visit.page.locator("nav").is_hidden()
        cut = visit.page.evaluate(
            "[...document.querySelectorAll('.scroll')].filter(s => s.checkVisibility() &&"
            " s.scrollWidth > s.clientWidth + 1).map(s => s.getAttribute('aria-label'))"
        )
        assert cut == []
