"""`Section`: one part of the report, and the registry that the page is made of.

A section is a small publisher: a name, a place in the order, tidy tables, and their rendering.
Knows none of the sections there are; each file of `sections/` registers itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pandas as pd

from harness.registry import Registry
from harness.results import StudyResults


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes:
        name: short name, also the anchor on the page.
        title: heading on the page.
        order: place on the page, lowest first.
        render: the section's HTML, without its heading; works on a study of any size, also an
            empty one, and escapes every text that comes from outside.
        tables: the tidy tables behind what is shown, by name (empty frames are left out).
    """

    name: str
    title: str
    order: int
    render: Callable[[StudyResults], str]
    tables: Callable[[StudyResults], dict[str, pd.DataFrame]]


SECTIONS: Final[Registry[Section]] = Registry("report section")


def register(section: Section) -> Section:
    """Adds a section to the report and returns it."""
    return SECTIONS.add(section.name, section)


def ordered() -> tuple[Section, ...]:
    """The registered sections as they stand on the page."""
    return tuple(sorted((section for _, section in SECTIONS), key=lambda one: one.order))
