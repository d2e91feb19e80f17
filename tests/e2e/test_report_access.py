"""The report for all who read it: by axe, with the keyboard, on paper, and its charts."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe

from harness.report import charts
from tests.e2e import pages
from tests.e2e.visits import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.chromium

A4 = 688  # pixels of A4 (794 at 96 dpi) less the page's margins of 14 mm
#: Places of faults are told by their HTML; to work out selectors, too, takes long.
OPTIONS = {"resultTypes": ["violations"], "selectors": False}
#: What the keyboard must reach, whichever way it is made to.
STOPS = ".plot, a[href], summary, button:not([disabled]):not([hidden]), select, .scroll, pre"
#: Every text of a chart beside its cells: what it says, its color as it is seen, and the page's.
INKS = """() => {
  const numbers = color => color.match(/[\\d.]+/g).map(Number);
  const opacity = node => node.closest('.plot') === node ? 1
    : Number(getComputedStyle(node).opacity) * opacity(node.parentElement);
  const paper = numbers(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll('.plot text')]
    .filter(one => one.checkVisibility() && !one.closest('.heatmap-label')).map(one => {
    const share = opacity(one), ink = numbers(getComputedStyle(one).fill);
    const seen = ink.slice(0, 3).map((v, i) => share * v + (1 - share) * paper[i]);
    return [one.textContent, seen, paper];
  });
}"""
#: Every visible chart: its title, its size, and the centers of its marks, as shares of the chart.
DRAWN = """() => [...document.querySelectorAll('.plot')].filter(
  one => one.checkVisibility()).map(one => {
  const box = one.getBoundingClientRect();
  const marks = [...one.querySelectorAll('path.point, path.js-line, .heatmaplayer image')].map(
    mark => {
      const at = mark.getBoundingClientRect();
      return [(at.x + at.width / 2 - box.x) / box.width,
              (at.y + at.height / 2 - box.y) / box.height];
    });
  return {title: one.getAttribute('aria-label'), width: box.width, height: box.height, marks};
})"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    pages.write(folder)
    return folder


@pytest.mark.parametrize("name", pages.NAMES)
def test_axe_finds_nothing(browser: Browser, folder: Path, name: str) -> None:
    with Visit(browser, folder / f"{name}.html") as visit:
        visit.draw()
        # Trials are alike: these hold one of each kind.
        visit.ask(
            "document.querySelectorAll('#all-trials tr:nth-child(n+20)').forEach(o => o.remove())"
        )
        for scheme, width in itertools.product(("light", "dark"), (1280, 360)):
            visit.page.emulate_media(color_scheme=scheme)
            visit.page.set_viewport_size({"width": width, "height": 900})
            # No rule is left out, nor is what axe calls minor.
            found = Axe().run(visit.page, options=OPTIONS).response["violations"]
            told = [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found]
            assert told == [], f"{scheme}, {width} px"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_texts_of_charts_have_contrast(browser: Browser, folder: Path, dark: bool) -> None:
    # axe cannot tell what lies below a text of an SVG.
    with Visit(browser, folder / "full.html", dark=dark) as visit:
        visit.draw()
        inks = visit.ask(INKS)
    assert len(inks) > 100
    faint = {text for text, ink, below in inks if _contrast(ink, below) < 4.5}
    assert faint == set()


@pytest.mark.parametrize("colors", [charts.LIGHT, charts.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("fill", ["fill_low", "fill_high", "tint"])
def test_texts_on_fills_have_contrast(colors: dict[str, str], fill: str) -> None:
    ink, below = (
        [int(colors[name][at : at + 2], 16) for at in (1, 3, 5)] for name in ("ink", fill)
    )
    assert _contrast(ink, below) >= 4.5


def _contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """Contrast ratio by WCAG 2.2, of sRGB colours from 0 to 255."""

    def luminance(colour: Sequence[float]) -> float:
        shares = [value / 255 for value in colour]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", pages.NAMES)
def test_the_keyboard_reaches_all_in_the_order_of_reading(
    browser: Browser, folder: Path, name: str
) -> None:
    with Visit(browser, folder / f"{name}.html") as visit:
        visit.unfold()
        count = visit.ask(
            """stops => {
              const all = [...document.querySelectorAll(stops)];
              window.met = [];
              addEventListener('focusin', event => {
                const style = getComputedStyle(event.target);
                // Headings of one table stand side by side at different heights.
                const place = event.target.closest('thead') ?? event.target;
                window.met.push([
                  all.indexOf(event.target), place.getBoundingClientRect().top + scrollY,
                  style.outlineStyle, parseFloat(style.outlineWidth)]);
              });
              return all.length;
            }""",
            STOPS,
        )
        for _ in range(count):
            visit.page.keyboard.press("Tab")
        met = visit.ask("window.met")
    assert count > (5 if name == "index" else 10)
    assert [place for place, *_ in met] == list(range(count))
    assert all(line == "solid" and width >= 2 for *_, line, width in met)
    tops = [top for _, top, *_ in met]
    assert tops == sorted(tops)  # none lies above the one before it


def test_the_skip_link_skips(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "full.html") as visit:
        page = visit.page
        page.keyboard.press("Tab")
        link = page.locator(".skip")
        box = link.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["y"] >= 0
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.url.endswith("#verdict")
        assert visit.ask("document.activeElement.closest('section')?.id") == "verdict"
        link.focus()
        page.locator("nav a").last.focus()
        assert visit.ask("document.querySelector('.skip').getBoundingClientRect().right") < 0


@pytest.mark.parametrize("name", pages.NAMES)
@pytest.mark.parametrize("width", [A4, 794])
def test_nothing_is_cut_on_paper(browser: Browser, folder: Path, name: str, width: int) -> None:
    with Visit(browser, folder / f"{name}.html", width) as visit:
        folded = visit.page.locator("details:not([open])").count()
        assert folded > 0 or name in {"empty", "index", "one"}
        visit.page.emulate_media(media="print")
        visit.ask("dispatchEvent(new Event('beforeprint'))")
        assert visit.page.locator(".plot:not(:has(.main-svg))").count() == 0
        assert visit.page.locator("details:not([open])").count() == 0
        assert visit.over_the_edge() == []
        wide = "[...document.querySelectorAll('.scroll, pre')].filter(one => one.checkVisibility()"
        assert visit.ask(f"{wide} && one.scrollWidth > one.clientWidth + 1).map(o => o.id)") == []
        for control in ("nav", ".skip", ".copy", "select"):
            assert visit.page.locator(control).locator("visible=true").count() == 0
        visit.ask("dispatchEvent(new Event('afterprint'))")
        assert visit.page.locator("details:not([open])").count() == folded


def test_a_pdf_has_its_text_and_the_page_is_as_it_was(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "full.html") as visit:
        visit.page.locator("summary").first.click()  # opened by hand, it stays open
        state = "[...document.querySelectorAll('details')].map(one => one.open)"
        before = visit.ask(state)
        widths = "[...document.querySelectorAll('.plot')].map(one => one._fullLayout?.width)"
        visit.ask(
            f"addEventListener('beforeprint', () => {{ window.printed = [{state}, {widths}]; }})"
        )
        pdf = visit.page.pdf(prefer_css_page_size=True)
        opened, drawn = visit.ask("window.printed")
        assert opened == [True] * len(before)
        assert all(0 < width <= A4 for width in drawn)  # none was drawn before
        assert visit.ask(state) == before
    assert len(set(before)) == 2
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 5
    shown = sum(len(re.findall(rb"T[jJ]\b", stream)) for stream in _streams(pdf))
    assert shown > 1000
    assert b"/ToUnicode" in pdf  # it can be searched and copied from


def _streams(pdf: bytes) -> Iterator[bytes]:
    for packed in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            yield zlib.decompressobj().decompress(packed)
        except zlib.error:
            continue  # packed in another way, such as a picture


@pytest.mark.parametrize("name", ["full", "one"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_chart_is_drawn(browser: Browser, folder: Path, name: str, width: int) -> None:
    with Visit(browser, folder / f"{name}.html", width) as visit:
        visit.draw()
        drawn = visit.ask(DRAWN)
        assert visit.over_the_edge() == []
    assert len(drawn) > (20 if name == "full" else 0)
    for chart in drawn:
        assert chart["width"] > 200, chart["title"]
        assert chart["height"] > 60, chart["title"]
        assert chart["marks"], chart["title"]
        for across, down in chart["marks"]:
            assert -0.01 <= across <= 1.01, chart["title"]
            assert -0.01 <= down <= 1.01, chart["title"]
