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
        visit.draw()
        assert visit.said == []
        assert visit.asked == [path.as_uri()]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [360, 768, 1280, 3840])
def test_nothing_runs_over_the_edge(browser: Browser, folder: Path, name: str, width: int) -> None:
    with Visit(browser, folder / f"{name}.html", width) as visit:
        visit.draw()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        cut = visit.page.evaluate(
            "[...document.querySelectorAll('.plot text')].filter(t => t.checkVisibility() && ("
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
        visit.draw()
        page = visit.page
        for factor in ("rank", "alpha_ratio", "target_modules", "dropout", "variant"):
            part = page.locator(f"#ablation-{factor}")
            assert part.locator("table").is_visible()
            assert part.locator(".plot path.point").count() >= 2
        assert page.locator("#classes table").first.is_visible()


def test_the_first_chart_is_drawn_at_once_and_others_when_they_come_near(
    browser: Browser, folder: Path
) -> None:
    with Visit(browser, folder / "full.html") as visit:
        visit.page.locator(".plot").first.scroll_into_view_if_needed()
        visit.page.wait_for_selector(".plot .main-svg", timeout=3000)
        drawn = (
            "[...document.querySelectorAll('.plot')].filter(p => p.querySelector('svg')).length"
        )
        assert 0 < visit.ask(drawn) < visit.page.locator(".plot").count()


def test_a_mark_shows_its_exact_values(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "full.html") as visit:
        visit.draw()
        plot = visit.page.locator("#ablation-rank .plot").first
        plot.scroll_into_view_if_needed()
        box = plot.locator("path.point").last.bounding_box()
        assert box is not None
        visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        visit.page.wait_for_selector("#ablation-rank .hoverlayer text")
        shown = plot.locator(".hoverlayer").text_content()
        row = visit.page.locator("#ablation-rank tbody tr").last
        score, interval = row.locator("td").first.inner_text().split("\n")
        assert f"32: {score} ({interval}) points of F1" in str(shown)


def test_the_legend_switches_a_series(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "full.html") as visit:
        visit.draw()
        figure = visit.page.locator("#tradeoffs figure").first
        count = figure.locator("path.point").count()
        button = figure.get_by_role("button", name="front")
        button.press("Enter")  # with the keyboard
        assert button.get_attribute("aria-pressed") == "false"
        fewer = figure.locator("path.point").count()
        assert 0 < fewer < count
        assert figure.locator("path.js-line").count() == 0  # the front's line goes with its marks
        button.click()
        assert figure.locator("path.point").count() == count


def test_a_chart_zooms_and_is_reset(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "full.html") as visit:
        visit.draw()
        figure = visit.page.locator("#tradeoffs figure").first
        figure.scroll_into_view_if_needed()
        ticks = figure.locator(".xtick text")
        before = ticks.all_inner_texts()
        reset = figure.get_by_role("button", name="Reset zoom")
        assert reset.is_hidden()
        box = figure.locator(".nsewdrag").bounding_box()
        assert box is not None
        mouse = visit.page.mouse
        mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.3 * box["height"])
        mouse.down()
        mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.7 * box["height"], steps=5)
        mouse.up()
        reset.wait_for(timeout=3000)
        assert ticks.all_inner_texts() != before
        reset.click()
        assert ticks.all_inner_texts() == before
        assert reset.is_hidden()


def test_the_arrow_keys_read_the_marks_out(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "full.html") as visit:
        visit.page.locator("#ablation-rank .plot").first.focus()
        status = visit.page.get_by_role("status").last
        visit.page.keyboard.press("ArrowRight")
        first = status.inner_text()
        visit.page.keyboard.press("ArrowRight")
        assert first.startswith("4: ")
        assert status.inner_text().startswith("8: ")
        visit.page.keyboard.press("ArrowLeft")
        assert status.inner_text() == first
        visit.page.wait_for_selector("#ablation-rank .hoverlayer text")
        visit.page.keyboard.press("Escape")
        assert status.inner_text() == ""


def test_charts_follow_the_preferred_scheme(browser: Browser, folder: Path) -> None:
    ink = "getComputedStyle(document.querySelector('.plot .ytick text')).fill"
    with Visit(browser, folder / "full.html") as visit:
        visit.draw()
        light = visit.ask(ink)
        visit.page.emulate_media(color_scheme="dark")
        visit.page.wait_for_function(f"light => {ink} !== light", arg=light)
        visit.page.emulate_media(media="print")
        visit.page.wait_for_function(f"light => {ink} === light", arg=light)


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
        visit.draw()
        visit.page.emulate_media(media="print")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 688
        assert visit.page.locator("nav").is_hidden()
        cut = visit.page.evaluate(
            "[...document.querySelectorAll('.scroll')].filter(s => s.checkVisibility() &&"
            " s.scrollWidth > s.clientWidth + 1).map(s => s.getAttribute('aria-label'))"
        )
        assert cut == []
