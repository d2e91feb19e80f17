"""Tests of `harness.report.charts.labels`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.report.charts.labels import USUAL, Point, _box, _meet, place

points = st.lists(
    st.builds(
        Point, st.floats(0, 1), st.floats(0, 300), st.sampled_from(["", "r=4 qv", "r=16 mlp"])
    ),
    max_size=15,
)


@given(points)
def test_no_label_covers_another(given_points: list[Point]) -> None:
    labels = place(given_points)
    boxes = [
        _box(point, label, USUAL)
        for point, label in zip(given_points, labels, strict=True)
        if label is not None and label.roomy
    ]
    assert not any(_meet(one, two) for i, one in enumerate(boxes) for two in boxes[:i])


def test_a_lone_label_stands_above_on_the_left() -> None:
    (label,) = place([Point(0.5, 100, "r=4")])
    assert label is not None
    assert (label.anchor, label.roomy) == ("end", False)


def test_at_the_left_edge_it_stands_on_the_right() -> None:
    (label,) = place([Point(0.0, 100, "r=16 all_linear")])
    assert label is not None
    assert label.anchor == "start"


def test_a_crowd_keeps_what_fits_and_an_empty_label_has_no_place() -> None:
    crowd = place([Point(0.5, 100, "r=16 all_linear")] * 9)
    assert 1 <= sum(label is not None for label in crowd) < 9
    assert place([Point(0.5, 100, "")]) == [None]
