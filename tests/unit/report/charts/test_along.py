"""Tests of the axis of a parameter: where levels lie, and how trials are spread about them."""

from __future__ import annotations

import itertools
import math

import pytest

from harness.report.charts.along import along, edges, short


def test_names_stand_at_equal_distances_each_in_the_middle_of_its_slot() -> None:
    axis = along(["q", "qv", "mlp", "all"], "targets", str)
    assert [axis.share(name) for name in ("q", "qv", "mlp", "all")] == [0.125, 0.375, 0.625, 0.875]
    assert [tick.text for tick in axis.ticks] == ["q", "qv", "mlp", "all"]
    assert axis.slot == 0.25


def test_ranks_stand_by_their_ratio() -> None:
    axis = along([1, 2, 8, 64], "rank", str, log=True)
    doubling = [
        (axis.share(two) - axis.share(one)) / math.log2(two / one)
        for one, two in itertools.pairwise([1, 2, 8, 64])
    ]
    assert doubling == pytest.approx([doubling[0]] * 3)
    assert 0 < axis.share(1) < axis.share(64) < 1
    assert axis.slot == pytest.approx(doubling[0])  # the least room, between 1 and 2


def test_many_different_rates_are_a_range_without_slots() -> None:
    rates = [10 ** (-4 + step / 10) for step in range(21)]
    axis = along(rates, "learning rate", "{:.0e}".format, log=True)
    assert axis.slot == 0
    assert axis.share(1e-3) == pytest.approx((axis.share(1e-4) + axis.share(1e-2)) / 2)
    assert {"1e-04", "1e-03", "1e-02"} <= {tick.text for tick in axis.ticks}
    assert axis.spread(1e-3, 7) == axis.share(1e-3)


def test_trials_of_a_level_are_spread_evenly_and_stay_in_its_slot() -> None:
    axis = along(["a", "b"], "variant", str)
    places = sorted(axis.spread("a", number) for number in range(100))
    assert places[0] > 0
    assert places[-1] < 0.5
    gaps = [two - one for one, two in itertools.pairwise(places)]
    assert max(gaps) < 3 * (places[-1] - places[0]) / 99  # no hole: at random some are twice that
    assert min(gaps) > 0
    assert axis.spread("a", 5) == axis.spread("a", 5)


def test_edges_stand_at_both_ends_of_every_slot() -> None:
    axis = edges([1e-4, 1e-3, 1e-2], "rate", str)
    assert [tick.share for tick in axis.ticks] == [0.0, 0.5, 1.0]
    assert axis.slot == 0.5


def test_a_single_level_stands_in_the_middle() -> None:
    assert along([8], "rank", str, log=True).share(8) == 0.5


def test_a_long_name_is_cut() -> None:
    assert short("all_linear") == "all_linear"
    assert short("q_proj+v_proj+o_proj") == "q_proj+v_pro\N{HORIZONTAL ELLIPSIS}"
