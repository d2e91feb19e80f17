"""The charts of the page as files of their own: each a whole SVG document that needs no page.

On the page a chart takes its width, colours and fonts from what is around it. Here it gets a fixed
width and those rules of the page's style that meet it, in light colours and plain values, since
few drawing programs know `var()` or `rem`. Knows none of the sections.
"""

from __future__ import annotations

import html
import math
import re
import textwrap
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from xml.etree import ElementTree

from harness.errors import UserError
from harness.report import page
from harness.report import section as templating
from harness.report.section import sections_in_order

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from harness.results import StudyResults

#: Width of every figure in pixels, as wide as a chart on the page at its widest.
WIDTH: Final = 720
_MARGIN = 16  # pixels around a chart, for what overhangs it
_LINE = 18  # pixels from one line below a chart to the next
_GLYPHS = 104  # what surely fits on such a line
_REM = 16.0  # pixels of the page's `rem` on a usual screen
_SLUG = 80  # longest part of a file's name that comes from a title
_WHITE = "#fff"

_FIGURE = re.compile(r"<figure\b[^>]*>.*?</figure>", re.DOTALL)
_AT_RULE = re.compile(r"@[^{}]+\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_FONT = re.compile(r"(?:(\d+|bold|normal)\s+)?([\d.]+px)(?:/\S+)?\s+(.+)")
#: What HTML may hold and XML may not: characters, and entities with a name.
_UNKNOWN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ENTITY = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)\w+;")


class Figure(NamedTuple):
    """One chart.

    Attributes:
        name: `section-number-title`, a safe name of a file without its ending.
        svg: the document.
        height: pixels at `WIDTH`.
    """

    name: str
    svg: str
    height: int


def figures(results: StudyResults) -> list[Figure]:
    """All charts of the study's page, in its order.

    Raises:
        UserError: there is none yet.
    """
    found = [
        figure
        for section in sections_in_order()
        for figure in charts(section.name, str(section.render(results)))
    ]
    if not found:
        raise UserError(f"{results.name}: the page of this study has no figure yet")
    return found


def charts(section: str, text: str) -> Iterator[Figure]:
    """The charts in a section's HTML, counted from 1.

    Args:
        section: its name.
        text: its HTML; a chart is an `<svg class="chart">` within a `<figure>`.
    """
    number = 0
    for match in _FIGURE.finditer(text):
        plain = _ENTITY.sub(lambda entity: html.unescape(entity[0]), match[0])
        figure = ElementTree.fromstring(_UNKNOWN.sub("", plain))
        below = list(_below(figure))
        for chart in [one for one in figure.iter("svg") if "chart" in _classes(one)]:
            number += 1
            title = chart.attrib.pop("aria-label", section)
            svg, height = _standalone(chart, title, below)
            yield Figure(f"{section}-{number:02}-{slug(title)}", svg, height)


def write(results: StudyResults, folder: Path) -> Path:
    """One SVG file a chart, in a folder of its own.

    Raises:
        UserError: the study has no figure yet, or the folder cannot be written to.
    """
    for each in figures(results):
        page.write_text(each.svg, folder / f"{each.name}.svg")
    return folder


def slug(words: str) -> str:
    """A title's first sentence as a part of a file's name: a to z, digits, single hyphens."""
    # What follows the first sentence changes with the numbers.
    plain = (
        unicodedata.normalize("NFKD", words.partition(". ")[0])
        .encode("ascii", "ignore")
        .decode()
        .lower()
    )
    whole = "-".join(re.findall("[a-z0-9]+", plain))
    if len(whole) > _SLUG:
        whole = whole[: _SLUG + 1].rpartition("-")[0] or whole[:_SLUG]
    return whole or "chart"


def _below(figure: Element) -> Iterator[tuple[list[str], str]]:
    """What stands below a chart: the caption, then its keys with the classes of their swatches."""
    for caption in figure.iter("figcaption"):
        keys = [one for one in caption if "key" in _classes(one)]
        parts = [caption.text or ""]
        for one in caption:
            parts += ["" if one in keys else "".join(one.itertext()), one.tail or ""]
        yield [], " ".join("".join(parts).split())
        for one in keys:
            swatch = [name for part in one.iter() for name in _classes(part) if name != "key"]
            yield swatch, " ".join("".join(one.itertext()).split())


def _standalone(chart: Element, title: str, below: list[tuple[list[str], str]]) -> tuple[str, int]:
    high = float(chart.attrib["height"]) + 2 * _MARGIN
    root = ElementTree.Element("svg")
    ElementTree.SubElement(root, "title").text = title
    style = ElementTree.SubElement(root, "style")
    ElementTree.SubElement(root, "rect", width="100%", height="100%", fill=_WHITE)
    chart.attrib.pop("role", None)
    chart.attrib |= {"x": str(_MARGIN), "y": str(_MARGIN), "width": str(WIDTH - 2 * _MARGIN)}
    for each in chart.iter("svg"):  # also said in the style, which not all programs heed
        each.set("overflow", "visible")
    root.append(chart)
    for swatch, words in below:
        left = _MARGIN
        if swatch:
            kind = " ".join(["band", *(name for name in swatch if name != "swatch")])
            place = {"x": str(left), "y": f"{high - 10:g}", "width": "18", "height": "12"}
            ElementTree.SubElement(root, "rect", {"class": kind, **place})
            left += 25
        for line in textwrap.wrap(words, _GLYPHS):
            text = ElementTree.SubElement(root, "text", x=str(left), y=f"{high:g}")
            text.text = line
            high += _LINE
    whole = math.ceil(high)
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "width": str(WIDTH),
        "height": str(whole),
        "viewBox": f"0 0 {WIDTH} {whole}",
        "role": "img",
    }
    style.text = _style(root)
    for each in root:
        each.tail = "\n"
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n', whole


def _style(root: Element) -> str:
    """The rules of the page's style that meet an element of the chart, one a line."""
    tags = {one.tag for one in root.iter()}
    classes = {name for one in root.iter() for name in _classes(one)}
    rules = _RULE.findall(_AT_RULE.sub("", templating.template_source("page.css")))
    values = dict(
        _pair(line)
        for selectors, body in rules
        if selectors.strip() == ":root"
        for line in body.split(";")
        if line.strip().startswith("--")
    )
    values["--paper"] = _WHITE
    lines = []
    for selectors, body in rules:
        meeting = [
            one for one in map(str.strip, selectors.split(",")) if _meets(one, tags, classes)
        ]
        if meeting:
            said = [
                part for line in body.split(";") if line.strip() for part in _said(line, values)
            ]
            lines.append(f"{', '.join(meeting)} {{ {' '.join(said)} }}")
    return "\n" + "\n".join(lines) + "\n"


def _meets(selector: str, tags: set[str], classes: set[str]) -> bool:
    if selector == "*" or set(selector) & set(":#["):
        return False
    for part in re.split(r"[\s>+~]+", selector):
        tag, *kinds = part.split(".")
        if tag not in {"", "*", *tags} or not classes.issuperset(kinds):
            return False
    return True


def _said(line: str, values: dict[str, str]) -> Iterator[str]:
    """A declaration in plain values; `font` taken apart, which few programs read as one."""
    name, value = _pair(line)
    while "var(" in value:
        value = re.sub(r"var\((--[\w-]+)\)", lambda match: values[match[1]], value)
    value = re.sub(r"([\d.]+)rem\b", lambda match: f"{_REM * float(match[1]):g}px", value)
    font = _FONT.fullmatch(value) if name == "font" else None
    if font is None:
        yield f"{name}: {value};"
        return
    for part, said in zip(("font-weight", "font-size", "font-family"), font.groups(), strict=True):
        if said is not None:
            yield f"{part}: {said};"


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


def _classes(element: Element) -> list[str]:
    return element.get("class", "").split()
