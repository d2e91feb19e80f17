"""Charts as files: whole SVG documents that say and look what the page does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from harness.errors import UserError
from harness.report import figures, page
from harness.report import section as templating

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from harness.results import StudyResults

NAMESPACE = "{http://www.w3.org/2000/svg}"


class Charts(HTMLParser):
    """Reads a page as a browser would: of each chart its section, title, texts and caption."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, list[str], list[str]]] = []
        self.section, self.depth, self.text = "", 0, False
        self.caption: list[str] = []
        self.below = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "section":
            self.section = said["id"]
        elif tag == "figure":
            self.caption = []
        elif tag == "svg" and (self.depth or "chart" in said.get("class", "").split()):
            if not self.depth:
                self.found.append((self.section, said["aria-label"], [], self.caption))
            self.depth += 1
        elif tag == "text" and self.depth:
            self.text = True
            self.found[-1][2].append("")
        self.below = self.below or tag == "figcaption"

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "svg" and self.depth > 0
        self.text = self.text and tag != "text"
        self.below = self.below and tag != "figcaption"

    def handle_data(self, data: str) -> None:
        if self.text:
            self.found[-1][2][-1] += data
        elif self.below:
            self.caption.append(data)


def documents(results: StudyResults) -> Iterator[tuple[figures.Figure, Element]]:
    for each in figures.figures(results):
        yield each, ElementTree.fromstring(each.svg.encode())


def texts(root: Element) -> list[str]:
    return ["".join(one.itertext()) for one in root.iter(f"{NAMESPACE}text")]


@pytest.mark.parametrize("study", ["full", "perplexity", "searched"])
def test_every_chart_of_the_page_says_the_same_by_itself(
    study: str, request: pytest.FixtureRequest
) -> None:
    results: StudyResults = request.getfixturevalue(study)
    wanted = Charts(page.render(results)).found
    assert len(wanted) >= (10 if study == "full" else 1)
    count = dict.fromkeys((section for section, *_ in wanted), 0)
    for (each, root), (section, title, said, caption) in zip(
        documents(results), wanted, strict=True
    ):
        count[section] += 1
        assert each.name.startswith(f"{section}-{count[section]:02}-")
        assert root.tag == f"{NAMESPACE}svg"
        assert [one.text for one in root.findall(f"{NAMESPACE}title")] == [title]
        (chart,) = root.findall(f"{NAMESPACE}svg")
        assert texts(chart) == said
        below = " ".join(one.text or "" for one in root.findall(f"{NAMESPACE}text"))
        assert below.split() == " ".join(caption).split()


def test_it_needs_nothing_but_itself(full: StudyResults) -> None:
    for each, root in documents(full):
        assert not re.search(
            r"var\(|[\d.]rem|@|url\(|href|https?://(?!www\.w3\.org/2000)", each.svg
        )
        assert (root.get("width"), root.get("height")) == (str(figures.WIDTH), str(each.height))
        assert root.get("viewBox") == f"0 0 {figures.WIDTH} {each.height}"
        lengths = [one.get("width", "") for one in root.iter(f"{NAMESPACE}svg")]
        assert lengths[1] == str(figures.WIDTH - 32)  # the chart's own `100%` is gone
        grounds = [one for one in root.iter() if one.get("fill")]
        assert [one.get("fill") for one in grounds] == ["#fff"]
        assert root.findall(f"{NAMESPACE}style") == list(root.iter(f"{NAMESPACE}style"))
        assert not any("style" in one.attrib for one in root.iter())


def test_colours_are_the_light_ones_of_the_page(full: StudyResults) -> None:
    style = templating.template_source("page.css")
    light = dict(re.findall(r"(--[\w-]+): (#\w+);", style.partition("@media")[0]))
    dark = dict(
        re.findall(r"(--[\w-]+): (#\w+);", style.partition("@media")[2].partition("\n}")[0])
    )
    first = figures.figures(full)[0].svg
    assert f".strong .mark {{ fill: {light['--accent']}; }}" in first
    assert f"svg text {{ font-size: 12.16px; font-family: {'-apple-system'}" in first
    assert f"fill: {light['--soft']};" in first
    assert not [name for name, colour in dark.items() if colour in first]
    assert not re.search(r"\.hero|\btable\b|\bbody\b|\.roomy", first)


def test_names_are_safe_one_of_each_and_stay(full: StudyResults) -> None:
    names = [each.name for each in figures.figures(full)]
    assert len({name.lower() for name in names}) == len(names)
    assert all(re.fullmatch(r"[a-z]+-\d\d-[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
    assert all(len(name) < 120 for name in names)
    assert names == [each.name for each in figures.figures(full)]
    assert "ablation-01-rank-mean-score-with-its-95-interval" in names


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("Rank: mean score.", "rank-mean-score"),
        ("../../etc/passwd", "etc-passwd"),
        ("Gr\u00f6\u00dfe: \u03b1 = 2", "groe-2"),
        ("CON", "con"),
        ("\u202e\x00", "chart"),
        ("", "chart"),
        ("word " * 40, "-".join(["word"] * 16)),
        ("x" * 300, "x" * 80),
        ("The best so far. On the edge: 2 of 17.", "the-best-so-far"),
    ],
)
def test_a_title_becomes_a_part_of_a_name(words: str, wanted: str) -> None:
    assert figures.slug(words) == wanted


def test_what_html_may_hold_and_xml_may_not() -> None:
    text = (
        '<p>no <svg class="spark"><text>none</text></svg></p><figure><svg class="chart" '
        'width="100%" height="40" aria-label="a &lt;b&gt; &amp; &#34;c&#34;\x00">'
        "<text>1\x0b &lt;i&gt; &nbsp;\ufffe🙂 &amp;lt;</text></svg><figcaption>more "
        "<span class='key'><span class='swatch'></span>\x07so</span></figcaption></figure>"
    )
    (found,) = figures.charts("section", text)
    root = ElementTree.fromstring(found.svg.encode())
    assert found.name == "section-01-a-b-c"
    assert root.findtext(f"{NAMESPACE}title") == 'a <b> & "c"'
    assert texts(root) == ["1 <i> \u00a0🙂 &lt;", "more", "so"]


def test_a_long_caption_is_broken_and_makes_room() -> None:
    words = " ".join(["meaning"] * 40)
    text = (
        '<figure><svg class="chart" width="100%" height="40" aria-label="t"></svg>'
        '<figcaption>{} <span class="key"><span class="swatch"></span>key</span></figcaption>'
        "</figure>"
    )
    (short,), (long,) = (figures.charts("s", text.format(said)) for said in ("meaning", words))
    root = ElementTree.fromstring(long.svg.encode())
    *lines, key = texts(root)
    assert " ".join(lines) == words
    assert len(lines) > 1
    assert key == "key"
    places = [float(one.get("y", "nan")) for one in root.iter(f"{NAMESPACE}text")]
    assert places == sorted(set(places))
    assert places[-1] < long.height
    assert long.height - short.height == pytest.approx(places[-2] - places[0])
    (swatch,) = root.findall(f"{NAMESPACE}rect[@class='band']")
    assert places[-2] < float(swatch.get("y", "nan")) < places[-1]


def test_without_a_chart_it_says_so(empty: StudyResults, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no figure yet"):
        figures.write(empty, tmp_path / "figures")
    assert not list(tmp_path.iterdir())


def test_the_files_are_the_figures(searched: StudyResults, tmp_path: Path) -> None:
    folder = figures.write(searched, tmp_path / "figures")
    wanted = {f"{each.name}.svg": each.svg for each in figures.figures(searched)}
    found = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
    assert found == wanted


#: What each drawn element looks like, in the order of the document; only texts have a font.
LOOKS = """
chart => [...chart.querySelectorAll('text, tspan, line, circle, rect, path')].map(one => {
  const looks = getComputedStyle(one);
  const names = ['fill', 'fillOpacity', 'stroke', 'strokeWidth', 'strokeDasharray', 'opacity',
    'paintOrder', 'vectorEffect', 'visibility', 'display'];
  if (['text', 'tspan'].includes(one.localName))
    names.push('fontSize', 'fontFamily', 'fontWeight', 'textAnchor', 'fontVariantNumeric');
  return names.map(name => looks[name]);
})
"""


@pytest.mark.chromium
def test_it_looks_as_on_the_page(full: StudyResults, chromium: Path, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    paper = "rgb(253, 253, 251)"  # of the page, white in a file
    page.write(full, tmp_path / "page.html")
    figures.write(full, tmp_path / "figures")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        sheet = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme="light")
        sheet.goto((tmp_path / "page.html").as_uri())
        charts = [one.evaluate(LOOKS) for one in sheet.query_selector_all("figure svg.chart")]
        for each, wanted in zip(figures.figures(full), charts, strict=True):
            sheet.goto((tmp_path / "figures" / f"{each.name}.svg").as_uri())
            (chart,) = sheet.query_selector_all("svg.chart")
            assert chart.evaluate(LOOKS) == [
                [said.replace(paper, "rgb(255, 255, 255)") for said in looks] for looks in wanted
            ], each.name
        browser.close()
