"""Tests of `harness.report.charts.figure`: the SVG is read back and compared with the frame."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pandas as pd

from harness.report.charts.axis import axis
from harness.report.charts.figure import intervals, scatter
from harness.report.charts.svg import Band


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


def found(tree: ElementTree.Element, tag: str, kind: str) -> list[ElementTree.Element]:
    return [node for node in tree.iter(tag) if kind in (node.get("class") or "").split()]


def percent(node: ElementTree.Element, name: str) -> float:
    return float((node.get(name) or "").removesuffix("%"))


FRAME = pd.DataFrame(
    {
        "label": ["4", "8", "<16>"],
        "value": [0.70, 0.75, 0.80],
        "low": [0.68, 0.74, math.nan],
        "high": [0.72, 0.76, 0.83],
        "kind": ["plain", "reference", "strong"],
    }
)


def test_intervals_stand_where_their_values_are() -> None:
    along = axis([0.65, 0.85], "score", str)
    tree = parsed(intervals(FRAME, along, title="t", line=None))
    marks = [percent(node, "cx") for node in found(tree, "circle", "mark")]
    assert marks == [round(100 * along.share(value), 2) for value in FRAME["value"]]
    bars = [node for node in found(tree, "line", "whisker") if node.get("y1") == node.get("y2")]
    first = percent(bars[0], "x1"), percent(bars[0], "x2")
    assert first == (round(100 * along.share(0.68), 2), round(100 * along.share(0.72), 2))


def test_an_open_end_runs_to_the_edge_without_a_cap() -> None:
    along = axis([0.65, 0.85], "score", str)
    tree = parsed(intervals(FRAME, along, title="t", line=None))
    last = next(node for node in tree.iter("g") if node.get("class") == "strong")
    lines = found(last, "line", "whisker")
    assert percent(lines[0], "x1") == 0.0
    assert len(lines) == 2  # the bar and the cap of the end that is known


def test_labels_titles_and_bands_are_escaped_and_named() -> None:
    along = axis([0.65, 0.85], "score", str)
    markup = intervals(FRAME, along, title="a < b", band=Band(0.7, 0.8, "near & far"), line=0.75)
    tree = parsed(markup)
    assert "<16>" in [node.text for node in tree.iter("text")]
    assert next(tree.iter("svg")).get("aria-label") == "a < b"
    assert "near & far" in "".join(tree.itertext())
    assert len(found(tree, "rect", "band")) == len(found(tree, "line", "zero")) == 1


def test_long_labels_get_a_line_of_their_own() -> None:
    along = axis([0.65, 0.85], "score", str)
    tree = parsed(intervals(FRAME.assign(label="x" * 40), along, title="t", line=None))
    assert len(found(tree, "text", "near")) == 3
    assert not found(tree, "text", "label")


def test_a_scatter_joins_its_front_only() -> None:
    frame = pd.DataFrame(
        {
            "x": [1e3, 1e4, 1e5],
            "y": [0.7, 0.6, 0.8],
            "low": [0.69, math.nan, 0.78],
            "high": [0.71, math.nan, 0.82],
            "label": ["a", "", "c"],
            "kind": ["strong", "faint", "strong"],
            "front": [True, False, True],
        }
    )
    across, up = axis([1e3, 1e5], "size", str, log=True), axis([0.5, 0.9], "score", str)
    tree = parsed(scatter(frame, across, up, title="t"))
    assert len(found(tree, "circle", "mark")) == 3
    assert len(found(tree, "line", "front")) == 2  # one step to the right, one up
    assert len(found(tree, "line", "whisker")) == 2
    assert [node.text for node in found(tree, "text", "near")] == ["a", "c"]
