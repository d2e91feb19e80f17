"""Tests of `harness.report.charts.slices`: the SVG is read back and compared with the frame."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest

from harness.report.charts.along import Along, along, edges
from harness.report.charts.axis import Axis, axis
from harness.report.charts.slices import Cell, best_so_far, dots, heat_map, multiples
from harness.report.charts.svg import Band

UP = Axis(0.0, 1.0, "score", False, "{:g}".format)


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


def found(tree: ElementTree.Element, tag: str, kind: str) -> list[ElementTree.Element]:
    return [node for node in tree.iter(tag) if kind in (node.get("class") or "").split()]


def places(tree: ElementTree.Element, kind: str) -> list[tuple[int, int]]:
    """Where the points of a kind begin, in thousandths from the left and from the top."""
    text = "".join(node.get("d") or "" for node in found(tree, "path", kind))
    return [(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)", text)]


def number(node: ElementTree.Element, name: str) -> float:
    return float((node.get(name) or "").removesuffix("%"))


def test_points_lie_where_their_values_are_and_those_off_on_the_edge() -> None:
    tree = parsed(
        dots([(0.25, 0.9, False), (0.5, 0.1, True), (0.75, -3, False), (1, 7, True)], 90)
    )
    assert places(tree, "plain") == [(250, 100)]
    assert places(tree, "best") == [(500, 900)]
    assert places(tree, "off") == [(750, 1000), (1000, 0)]
    assert tree.get("viewBox") == "0 0 1000 1000"
    assert tree.get("preserveAspectRatio") == "none"


def make(alongs: dict[str, Along]) -> ElementTree.Element:
    frame = pd.DataFrame(
        [
            (0, "targets", "q", 0.2, False),
            (1, "targets", "<all>", 0.8, True),
            (0, "rank", 4, 0.2, False),
            (1, "rank", 16, 0.8, True),
        ],
        columns=["number", "parameter", "level", "value", "best"],
    )
    return parsed(multiples(frame, alongs, UP, title="a < b"))


def test_each_parameter_has_a_chart_of_its_own() -> None:
    alongs = {
        "targets": along(["q", "<all>"], "targets", str),
        "rank": along([4, 16], "rank", str, log=True),
    }
    tree = make(alongs)
    charts = found(tree, "svg", "chart")
    assert [one.get("aria-label") for one in charts] == ["score by targets", "score by rank"]
    for chart, (name, level) in zip(charts, (("targets", "q"), ("rank", 4)), strict=True):
        [(x, y)] = places(chart, "plain")
        assert x == round(1000 * alongs[name].spread(level, 0))
        assert abs(x / 1000 - alongs[name].share(level)) <= alongs[name].slot / 2
        assert y == 800
        [(_, top)] = places(chart, "best")
        assert top == 200
    assert "<all>" in [node.text for node in found(charts[0], "text", "tick")]
    assert "a < b" in "".join(tree.itertext())


def test_names_that_do_not_fit_side_by_side_stand_in_rows() -> None:
    few = make({"targets": along(["q", "<all>"], "targets", str)})
    names = ["q", "<all>", *(f"long_name_{index}" for index in range(6))]
    many = make({"targets": along(names, "targets", str)})
    rows = [{number(node, "y") for node in found(tree, "text", "tick")} for tree in (few, many)]
    assert len(rows[0]) == 1
    assert len(rows[1]) > 2
    ticks = found(many, "text", "tick")
    assert len(ticks) == len(names)
    for row in rows[1]:  # 6 pixels a glyph, on a plot of 230 pixels
        line = [node for node in ticks if number(node, "y") == row]
        ends = [(2.3 * number(one, "x"), 3 * len(one.text or "")) for one in line]
        for (x, half), (next_x, next_half) in itertools.pairwise(ends):
            assert x + half < next_x - next_half


def past(**changes: list[float]) -> pd.DataFrame:
    columns = {
        "x": [0.0, 1.0, 2.0, 3.0],
        "y": [0.5, 0.4, 0.7, 0.6],
        "best": [0.5, 0.5, 0.7, 0.7],
        "low": [0.45, 0.45, 0.65, 0.65],
        "high": [0.55, 0.55, 0.75, 0.75],
        "shown": [True, False, True, True],
    }
    return pd.DataFrame({**columns, **changes})


def test_the_band_lies_around_the_best_as_long_as_it_is_the_best() -> None:
    across, up = Axis(0.0, 3.0, "trial"), UP
    tree = parsed(best_so_far(past(), across, up, title="t", band=Band(0, 0, "1.96 SD")))
    bands = sorted(found(tree, "rect", "band"), key=lambda node: number(node, "x"))
    spans = [(number(one, "x"), number(one, "width")) for one in bands]
    assert spans == [(0.0, 66.67), (66.67, 33.33)]
    assert [number(one, "y") for one in bands] == pytest.approx([240 * 0.45, 240 * 0.25])
    assert [number(one, "height") for one in bands] == pytest.approx([24.0, 24.0])
    assert "1.96 SD" in "".join(tree.itertext())
    steps = found(tree, "line", "front")
    assert [number(one, "y2") for one in steps] == pytest.approx([120.0, 72.0, 72.0])
    assert places(tree, "best") == [(0, 500), (667, 300)]
    assert places(tree, "plain") == [(1000, 400)]  # the second is not shown


def test_without_a_noise_floor_there_is_no_band() -> None:
    nothing = [float("nan")] * 4
    frame = past(low=nothing, high=nothing)
    tree = parsed(best_so_far(frame, Axis(0.0, 3.0, "trial"), UP, title="t", band=None))
    assert not found(tree, "rect", "band")
    assert found(tree, "line", "front")


def test_a_first_best_off_the_axis_stays_in_the_plot() -> None:
    frame = past(y=[0.0, 0.4, 0.7, 0.6], best=[0.0, 0.4, 0.7, 0.7], low=[-0.05, 0.35, 0.65, 0.65])
    up = axis([0.4, 0.7], "score", str)
    tree = parsed(best_so_far(frame, Axis(0.0, 3.0, "trial"), up, title="t", band=None))
    for line in found(tree, "line", "front"):
        assert 0 <= number(line, "y1") <= 240
        assert 0 <= number(line, "y2") <= 240
    assert places(tree, "off") == [(0, 1000)]


def test_cells_stand_in_their_slots_and_blank_ones_are_left_out() -> None:
    across = edges([1e-4, 1e-3, 1e-2], "rate", str)
    up = along(["q", "qv", "mlp"], "targets", str)
    cells = [Cell(1, 0, 1.0, "81.0", "3"), Cell(0, 2, 0.0, "62.5", "11")]
    tree = parsed(heat_map(cells, across, up, title="t"))
    boxes = found(tree, "rect", "cell")
    assert [number(box, "x") for box in boxes] == [50.0, 0.0]
    assert [number(box, "width") for box in boxes] == [50.0, 50.0]
    tall = number(boxes[0], "height")
    assert [number(box, "y") for box in boxes] == [2 * tall, 0.0]  # the first row lies lowest
    fills = [number(node, "fill-opacity") for node in tree.iter("g")]
    assert fills[0] > fills[1] > 0
    assert [node.text for node in found(tree, "text", "mean")] == ["81.0", "62.5"]
    assert [node.text for node in found(tree, "text", "few")] == ["3", "11"]
    names = {node.text: number(node, "y") for node in found(tree, "text", "rung")}
    assert names["q"] > names["qv"] > names["mlp"]
