"""Tests of `harness.report.charts.axis`."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.charts.axis import axis

finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(finite, min_size=1, max_size=20))
def test_every_value_lies_inside(values: list[float]) -> None:
    along = axis(values, "x", str)
    assert all(0 <= along.share(value) <= 1 for value in values)


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=20))
def test_every_value_lies_inside_a_logarithmic_axis(values: list[float]) -> None:
    along = axis(values, "x", str, log=True)
    assert all(0 <= along.share(value) <= 1 for value in values)
    assert all(along.low <= tick <= along.high for tick in along.ticks())


@given(finite, st.floats(1e-3, 1e6))
def test_ticks_are_few_equal_steps_inside(low: float, width: float) -> None:
    along = axis([low, low + width], "x", str)
    ticks = along.ticks()
    assert 1 <= len(ticks) <= 6
    assert all(along.low - 1e-6 <= tick <= along.high + 1e-6 for tick in ticks)


def test_ticks_are_round() -> None:
    assert axis([0.71, 0.89], "x", str).ticks() == [0.7, 0.75, 0.8, 0.85, 0.9]
    assert axis([8_000, 330_000], "x", str, log=True).ticks() == [1e4, 3e4, 1e5, 3e5]


def test_missing_values_do_not_count_and_none_at_all_is_refused() -> None:
    assert axis([math.nan, 1.0, 2.0], "x", str) == axis([1.0, 2.0], "x", str)
    with pytest.raises(ValueError, match="nothing to draw along the axis 'x'"):
        axis([math.nan], "x", str)


def test_no_two_ticks_are_written_alike() -> None:
    trials = axis([0, 1], "trial", "{:.0f}".format)
    assert trials.ticks() == [0.0, 1.0]
    assert axis([0, 2], "trial", "{:.0f}".format).ticks() == [0.0, 1.0, 2.0]
    assert axis([0.2, 0.4], "share", "{:.2f}".format).ticks() == [0.2, 0.25, 0.3, 0.35, 0.4]


def test_equal_values_have_an_axis_of_their_own_size() -> None:
    around = axis([5.0, 5.0], "x", "{:g}".format)
    assert (around.low, around.high) == (4.75, 5.25)
    nothing = axis([0.0, 0.0], "x", "{:g}".format)
    assert (nothing.low, nothing.high) == (-0.01, 0.01)  # a point of a share
