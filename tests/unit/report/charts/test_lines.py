"""Tests of `harness.report.charts.lines`: the SVG is read back and compared with the points."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
import scipy.optimize

from harness.report.charts.axis import Axis
from harness.report.charts.lines import DASHES, Line, apart, lines, sample
from harness.report.section import template_source

ACROSS = Axis(0.0, 4.0, "epoch")
UP = Axis(0.0, 2.0, "loss")
POINTS = pd.DataFrame(
    {"x": [1.0, 2.0, 4.0], "y": [1.5, 1.0, 0.5], "low": [1.4, 0.8, 0.4], "high": [1.6, 1.1, 0.9]}
)
CORNERS = [(250.0, 50.0), (500.0, 100.0), (1000.0, 150.0)]  # of 1000 units and 200 pixels


def drawn(*some: Line) -> ElementTree.Element:
    return ElementTree.fromstring(lines(some, ACROSS, UP, title="a < b", height=200))


def found(tree: ElementTree.Element, tag: str, kind: str) -> list[ElementTree.Element]:
    return [node for node in tree.iter(tag) if kind in (node.get("class") or "").split()]


def corners(path: ElementTree.Element) -> list[tuple[float, ...]]:
    steps = (path.get("d") or "").removeprefix("M").removesuffix("Z").split("L")
    return [tuple(float(number) for number in step.split()) for step in steps]


def test_a_line_goes_through_its_points() -> None:
    (path,) = found(drawn(Line(POINTS)), "path", "curve")
    assert corners(path) == CORNERS


def test_a_band_reaches_from_the_lowest_to_the_highest() -> None:
    (path,) = found(drawn(Line(POINTS)), "path", "spread")
    high = [(250, 40), (500, 90), (1000, 110)]
    low = [(250, 60), (500, 120), (1000, 160)]
    assert corners(path) == [*high, *low[::-1]]
    assert not found(drawn(Line(POINTS[["x", "y"]])), "path", "spread")


def test_lines_are_told_apart_by_dashes_that_the_style_knows() -> None:
    tree = drawn(*(Line(POINTS, dash=dash) for dash in range(DASHES)))
    dashes = [(path.get("class") or "").split()[1] for path in found(tree, "path", "curve")]
    assert len(set(dashes)) == DASHES
    style = template_source("page.css")
    for name in dashes[1:]:
        assert f".{name} {{ stroke-dasharray" in style
    assert dashes[1] in sample("plain", 1)


def test_a_line_is_named_where_it_ends() -> None:
    tree = drawn(Line(POINTS, "A", "r=4 <qv>"), Line(POINTS[["x", "y"]].head(2), "B"))
    first, second = sorted(found(tree, "text", "near"), key=lambda node: float(node.get("y", 0)))
    assert ("".join(first.itertext()), "".join(second.itertext())) == ("B", "A r=4 <qv>")
    assert (first.get("y"), second.get("y")) == ("104", "154")  # on a level with their lines
    assert [node.text for node in found(second, "tspan", "roomy")] == [" r=4 <qv>"]
    # The shorter line is led to the edge.
    leaders = [node for node in found(tree, "line", "leader") if node.get("x2") == "100.00%"]
    assert [(node.get("x1"), node.get("y1")) for node in leaders] == [("50.00%", "100")]


def test_names_of_lines_that_end_together_do_not_cover_each_other() -> None:
    tree = drawn(*(Line(POINTS, letter) for letter in "CBA"))
    names = sorted((float(node.get("y", 0)), node.text) for node in found(tree, "text", "near"))
    assert [name for _, name in names] == ["A", "B", "C"]  # what is drawn on top is above
    assert all(two[0] - one[0] >= 13 for one, two in itertools.pairwise(names))


def test_one_point_is_a_mark_and_a_ring_stands_where_it_was_asked_for() -> None:
    tree = drawn(Line(POINTS.head(1), kind="faint"), Line(POINTS, kind="warm", ring=1))
    (mark,), (ring,) = found(tree, "circle", "mark"), found(tree, "circle", "ring")
    assert (mark.get("cx"), mark.get("cy")) == ("25.00%", "50")
    assert (ring.get("cx"), ring.get("cy")) == ("50.00%", "100")
    assert len(found(tree, "path", "curve")) == 1


def test_the_title_is_there_for_those_who_cannot_see_it() -> None:
    assert next(drawn(Line(POINTS)).iter("svg")).get("aria-label") == "a < b"


@pytest.mark.parametrize("seed", range(6))
def test_places_are_moved_as_little_as_can_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted, gap, length = rng.uniform(0, 100, 6), 12.0, 100.0
    moved = np.array(apart(list(wanted), gap, length))
    order = np.argsort(wanted)
    ahead = {"type": "ineq", "fun": lambda places: np.diff(places[order]) - gap}
    best = scipy.optimize.minimize(
        lambda places: ((places - wanted) ** 2).sum(),
        np.linspace(0, length, 6)[np.argsort(order)],
        bounds=[(0, length)] * 6,
        constraints=[ahead],
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert best.success
    assert moved == pytest.approx(best.x, abs=1e-3)


def test_places_without_room_keep_their_gap() -> None:
    assert apart([5.0, 5.0, 5.0], 10.0, 15.0) == [0.0, 10.0, 20.0]
    assert apart([], 10.0, 15.0) == []
