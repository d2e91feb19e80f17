"""The contract of every section: it renders on a study of any size and names its tables."""

from __future__ import annotations

import math
from html.parser import HTMLParser

import pandas as pd
import pytest

from harness.report import sections as _sections  # noqa: F401
from harness.report.section import SECTIONS, Section, ordered, register
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
    assert [section.name for section in ordered()] == NAMES
    assert len({section.order for section in ordered()}) == len(NAMES)


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
    for table in SECTIONS.get(name).tables(study).values():
        assert isinstance(table, pd.DataFrame)
        numbers = table.select_dtypes("number").to_numpy(dtype=float, na_value=math.nan)
        assert not pd.isna(numbers[numbers == math.inf]).size


def test_a_name_is_registered_once() -> None:
    taken = SECTIONS.get("verdict")
    with pytest.raises(ValueError, match="report section 'verdict' is registered twice"):
        register(Section("verdict", "Again", 99, taken.render, taken.tables))
