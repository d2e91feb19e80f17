"""The contract of every section: it renders on a study of any size and names its tables.

Tests of `harness.report.section`.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pandas as pd
import pytest

from harness.report import sections as _sections  # noqa: F401
from harness.report.section import (
    SECTIONS,
    Section,
    badge,
    number_column,
    register,
    sections_in_order,
    table,
    text_column,
)
from harness.results import StudyResults

NAMES = [
    "verdict",
    "ablation",
    "classes",
    "metrics",
    "tradeoffs",
    "claims",
    "search",
    "curves",
    "errors",
    "trials",
    "cost",
    "provenance",
]
SIZES = ["full", "searched", "ablated", "perplexity", "one", "empty"]


class Words(HTMLParser):
    """Collects the texts between tags."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(str(data.strip()))


@pytest.fixture(scope="module", params=SIZES)
def study(request: pytest.FixtureRequest) -> StudyResults:
    study = request.getfixturevalue(request.param)
    assert isinstance(study, StudyResults)
    return study


def test_the_sections_stand_in_order() -> None:
    assert [section.name for section in sections_in_order()] == NAMES
    assert len({section.order for section in sections_in_order()}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_renders_and_shows_no_python_for_nothing(name: str, study: StudyResults) -> None:
    words = Words()
    words.feed(SECTIONS.get(name).render(study))
    assert words.texts
    python = {"nan", "None", "<NA>", "NaT", "inf"}
    assert not {"NaN", *python} & set(words.texts)
    assert not python & {word.strip("().,;:%") for text in words.texts for word in text.split()}


@pytest.mark.parametrize("name", NAMES)
def test_its_tables_are_frames_without_infinite_numbers(name: str, study: StudyResults) -> None:
    for frame in SECTIONS.get(name).tables(study).values():
        assert isinstance(frame, pd.DataFrame)
        numbers = frame.select_dtypes("number").to_numpy(dtype=float, na_value=math.nan)
        assert not pd.isna(numbers[numbers == math.inf]).size


def test_a_name_is_registered_once() -> None:
    taken = SECTIONS.get("verdict")
    with pytest.raises(ValueError, match="report section 'verdict' is registered twice"):
        register(Section("verdict", "Again", 99, taken.render, taken.tables))


FRAME = pd.DataFrame({"name": ["<b>", "c"], "value": [1.5, math.nan]})


def test_cells_are_escaped_and_missing_ones_are_dashes() -> None:
    tree = ElementTree.fromstring(
        table(FRAME, [text_column("Name", "name"), number_column("Value", "value")], caption="<i>")
    )
    assert [node.text for node in tree.iter("th")][2:] == ["<b>", "c"]
    assert [node.text for node in tree.iter("td")] == ["1.5", "\N{EN DASH}"]
    assert "".join(next(tree.iter("caption")).itertext()) == "<i>"


def test_rows_can_be_marked_and_carry_data() -> None:
    markup = table(
        FRAME,
        [text_column("Name", "name")],
        caption="c",
        mark=lambda row: "near" if row["value"] == 1.5 else "",
        data=lambda row: {"stage": row["name"]},
    )
    rows = list(ElementTree.fromstring(markup).iter("tr"))[1:]
    assert [row.get("class") for row in rows] == ["near", None]
    assert [row.get("data-stage") for row in rows] == ["<b>", "c"]


def test_a_sortable_table_keeps_exact_values() -> None:
    frame = pd.DataFrame({"value": [0.123456789, math.nan]})
    markup = table(
        frame,
        [number_column("Value", "value", lambda value: f"{value:.1f}")],
        caption="c",
        sortable=True,
    )
    tree = ElementTree.fromstring(markup)
    assert [row[0].get("data-key") for row in list(tree.iter("tr"))[1:]] == ["0.123456789", ""]
    assert next(tree.iter("button")).text == "Value"


def test_units_stand_below_headings_and_tags_are_escaped() -> None:
    markup = table(FRAME, [number_column("Value", "value", unit="MiB")], caption="c")
    assert "<small>MiB</small>" in markup
    assert "&lt;b&gt;" in badge("<b>")
