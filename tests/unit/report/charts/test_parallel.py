"""Tests of parallel coordinates: the lines are read back and compared with the frame."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

import pandas as pd

from harness.report.charts.along import along
from harness.report.charts.axis import Axis
from harness.report.charts.parallel import parallel

ALONGS = {
    "targets": along(["q", "<qv>"], "target modules", str),
    "rate": along([10 ** (-4 + step / 10) for step in range(21)], "rate", str, log=True),
}
UP = Axis(0.0, 1.0, "score", False, "{:g}".format)
FRAME = pd.DataFrame(
    {
        "number": [3, 4, 5],
        "targets": ["q", "<qv>", "<qv>"],
        "rate": [1e-3, 1e-2, 1e-4],
        "value": [0.9, 0.25, -8.0],
        "best": [True, False, False],
    }
)


def tree() -> ElementTree.Element:
    return ElementTree.fromstring(parallel(FRAME, ALONGS, UP, title="a < b", instead="wider"))


def threads() -> list[tuple[str, list[tuple[int, int]]]]:
    return [
        (node.get("class") or "", [(int(x), int(y)) for x, y in re.findall(r"(\d+) (\d+)", text)])
        for node in tree().iter("path")
        if (text := node.get("d"))
    ]


def test_a_line_goes_through_the_levels_of_its_trial_to_its_score() -> None:
    by_score = {corners[-1][1]: (kind, corners) for kind, corners in threads()}
    assert set(by_score) == {100, 750, 1000}  # the last one is off the axis and ends on its edge
    kind, corners = by_score[100]
    assert kind == "thread best"
    assert [x for x, _ in corners] == [0, 500, 1000]
    assert abs(corners[0][1] - 750) <= 125  # "q", the lower of two names, within half its slot
    assert corners[1][1] == round(1000 * (1 - ALONGS["rate"].share(1e-3)))


def test_the_best_are_drawn_last_so_that_nothing_covers_them() -> None:
    assert [kind for kind, _ in threads()] == ["thread", "thread", "thread best"]


def test_every_axis_has_its_name_and_its_levels() -> None:
    texts: dict[str, list[str]] = defaultdict(list)
    for node in tree().iter("text"):
        texts[node.get("class") or ""].append(node.text or "")
    assert texts["above"] == ["target modules", "rate", "score"]
    assert texts["halo rung"][:2] == ["q", "<qv>"]
    assert texts["halo beside"] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


def test_a_narrow_window_has_a_sentence_in_its_place() -> None:
    [figure] = [node for node in tree().iter("figure")]
    [instead] = [node for node in figure if node.get("class") == "instead"]
    assert (figure.get("class"), instead.text) == ("parallel", "wider")
    style = (Path(__file__).parents[4] / "harness/report/templates/page.css").read_text("utf-8")
    [narrow] = re.findall(r"@media screen and \(max-width: \d+rem\) \{(.*?\})\s*\}", style, re.S)
    assert re.search(r"\.parallel svg[^{]*\{ display: none; \}", narrow)
    assert re.search(r"\.instead \{ display: block; \}", narrow)
    assert re.search(r"^\.instead \{ display: none;", style, re.M)
