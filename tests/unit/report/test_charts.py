"""Tests of `harness.report.charts`: a table written by hand -> the data of the figure."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report import charts, page
from harness.report.section import template_source

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HOSTILE = '<b>bold</b> <a href="javascript:alert(1)">&amp; $x^2$ \u202e'
SHOWN = '&lt;b>bold&lt;/b> &lt;a href="javascript:alert(1)">&amp;amp; &#36;x^2&#36; [U+202E]'
LEVELS = pd.DataFrame(
    {
        "label": ["4", "8", "16"],
        "value": [70.0, 75.0, 76.0],
        "low": [68.0, 74.0, float("nan")],
        "high": [72.0, float("nan"), 78.0],
        "style": ["plain", "reference", "strong"],
        "series": ["others", "reference", "near"],
        "hover": ["four", "eight", "sixteen\nwins"],
    }
)


def traces(figure: Figure) -> list[dict[str, Any]]:
    """The figure's traces as plain values."""
    data: list[dict[str, Any]] = figure.to_plotly_json()["data"]
    return data


def named(figure: Figure) -> dict[str, dict[str, Any]]:
    """The traces that the legend names."""
    return {
        trace["name"]: trace
        for trace in traces(figure)
        if trace.get("name") and trace.get("showlegend", True)
    }


def test_intervals_are_a_mark_and_its_bars_in_the_order_of_the_rows() -> None:
    band = charts.Band(74.5, 76.0, "within the margin")
    figure = charts.intervals(LEVELS, "score", band=band, line=75.5)
    series = named(figure)
    assert list(series) == ["within the margin", "others", "reference", "near"]
    assert [series[name]["x"] for name in ("others", "reference", "near")] == [[70], [75], [76]]
    assert [series[name]["y"] for name in ("others", "reference", "near")] == [[0], [1], [2]]
    assert series["others"]["error_x"]["array"] == series["others"]["error_x"]["arrayminus"] == [2]
    assert series["near"]["hovertext"] == ["sixteen<br>wins"]
    assert set(series["within the margin"]["x"]) == {74.5, 76.0}
    low, high = figure.layout.xaxis.range
    assert low < 68
    assert high > 78
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]  # the first row on top
    assert list(figure.layout.yaxis.ticktext) == ["4", "8", "16"]
    assert figure.layout.shapes[0].x0 == figure.layout.shapes[0].x1 == 75.5


def test_an_open_interval_reaches_to_the_edge() -> None:
    figure = charts.intervals(LEVELS, "score")
    lines = [trace for trace in traces(figure) if trace["mode"] == "lines"]
    low, high = figure.layout.xaxis.range
    assert [trace["x"] for trace in lines] == [[75, high, None], [76, low, None]]


def test_a_row_without_any_interval_has_none() -> None:
    rows = LEVELS.assign(low=float("nan"), high=float("nan"))
    assert [trace["mode"] for trace in traces(charts.intervals(rows, "score"))] == ["markers"] * 3


def test_long_labels_stand_above_their_rows() -> None:
    figure = charts.intervals(LEVELS.assign(label="a label of more than sixteen"), "score")
    assert [each.y for each in figure.layout.annotations] == [0, 1, 2]
    assert not figure.layout.yaxis.showticklabels


def test_the_front_is_a_line_of_steps_and_its_points_have_labels() -> None:
    table = pd.DataFrame(
        {
            "x": [1e5, 1e3, 1e4],
            "y": [80.0, 60.0, 55.0],
            "low": [79.0, 58.0, 50.0],
            "high": [81.0, 62.0, 57.0],
            "label": ["large", "small", "medium"],
            "front": [True, True, False],
            "hover": ["L", "S", "M"],
        }
    )
    figure = charts.pareto(table, "parameters", "score", log=True)
    line, front, others = traces(figure)
    assert (line["x"], line["y"], line["line"]["shape"]) == ([1e3, 1e5], [60, 80], "hv")
    assert front["text"] == ["small", "large"]
    assert front["error_y"]["array"] == [2, 1]
    assert (others["x"], others["hovertext"]) == ([1e4], ["M"])
    assert figure.layout.xaxis.type == "log"
    assert list(figure.layout.xaxis.ticktext) == ["1k", "10k", "100k"]


def lines(series: dict[str, list[list[float]]], **columns: Any) -> pd.DataFrame:
    """Lines of scores at 1, 2, 3, ... by the name of their series."""
    rows = [
        {"series": name, "line": f"{name} {number}", "x": at, "y": value}
        for name, group in series.items()
        for number, values in enumerate(group)
        for at, value in enumerate(values, 1)
    ]
    table = pd.DataFrame(rows).assign(style="plain", low=math.nan, high=math.nan, ring=False)
    return table.assign(hover="", **columns)


def test_lines_of_one_series_are_one_trace_with_gaps() -> None:
    figure = charts.curves(lines({"all": [[1, 2], [3, 4]], "best": [[5, 6]]}), "step", "loss")
    every, best = traces(figure)
    assert every["x"] == [1, 2, None, 1, 2]
    assert every["y"] == [1, 2, None, 3, 4]
    assert len(every["hovertext"]) == 5
    assert best["y"] == [5, 6]
    assert every["line"]["dash"] != best["line"]["dash"]  # told apart without color
    assert figure.layout.legend.traceorder == "reversed"  # the last is drawn on top


def test_a_band_runs_there_and_back_and_belongs_to_its_line() -> None:
    table = lines({"A": [[2.0, 1.0]]}, low=[1.5, 0.5], high=[2.5, 1.5])
    band, line = traces(charts.curves(table, "epoch", "loss"))
    assert band["x"] == [1, 2, 2, 1]
    assert band["y"] == [2.5, 1.5, 0.5, 1.5]
    assert band["legendgroup"] == line["legendgroup"]
    assert band["showlegend"] is False


def test_a_marked_point_has_a_ring_and_a_single_one_a_dot() -> None:
    table = lines({"all": [[1, 2], [3]]}, ring=[False, True, False])
    line, ring = traces(charts.curves(table, "step", "score"))
    assert line["mode"] == "lines+markers"
    assert (ring["x"], ring["y"]) == ([2], [2])


def history(values: list[float], best: list[float]) -> pd.DataFrame:
    """A history with a noise of 1 around the best."""
    table = pd.DataFrame({"number": range(len(values)), "value": values, "best": best})
    return table.assign(low=table["best"] - 1, high=table["best"] + 1, shown=True, hover="h")


def test_the_best_so_far_is_a_line_of_steps_with_its_noise() -> None:
    table = history([5.0, 4.0, 7.0, 1.0], [5.0, 5.0, 7.0, 7.0])
    figure = charts.optimization_history(table, "score", (3.5, 8.5), "seed noise")
    series = named(figure)
    assert (series["best so far"]["x"], series["best so far"]["y"]) == ([0, 2, 3], [5, 7, 7])
    assert series["new best"]["y"] == [5, 7]
    noise = series["seed noise"]
    assert noise["x"] == [0, 2, 2, 3, 3, 2, 2, 0]
    assert noise["y"] == [6, 6, 8, 8, 6, 6, 4, 4]
    # What lies beyond the axis stands on its edge, as a triangle.
    assert series["trials"]["y"] == pytest.approx([4, 3.625])
    assert series["trials"]["y"][1] > 3.5  # plotly draws nothing beyond it
    assert series["trials"]["marker"]["symbol"] == ["circle", "triangle-down"]


def test_a_history_may_be_of_one_best_and_leave_trials_out() -> None:
    table = history([5.0, 4.0], [5.0, 5.0]).assign(shown=[True, False])
    figure = charts.optimization_history(table, "score", (3, 6))
    assert "trials" not in named(figure)
    assert "seed noise" not in named(figure)


TRIALS = pd.DataFrame(
    {
        "number": [0, 1, 2],
        "rank": [4, 16, 4],
        "target_modules": ["qv", "qv", "q"],
        "value": [50.0, 60.0, 40.0],
        "best": [False, True, False],
        "hover": ["zero", "one", "two"],
    }
)
RANK = charts.Dimension("rank", [4, 8, 16], ["4", "8", "16"])
MODULES = charts.Dimension("target_modules", ["q", "qv"], ["q", "q and v"])


def test_levels_are_spread_within_their_slots() -> None:
    figure = charts.slice_plot(TRIALS.assign(level=TRIALS["rank"]), RANK, (35, 65))
    others, best = traces(figure)
    assert [round(x) for x in others["x"]] == [0, 0]
    assert len(set(others["x"])) == 2
    assert round(best["x"][0]) == 2
    assert (others["y"], best["y"]) == ([50, 40], [60])
    assert list(figure.layout.xaxis.ticktext) == ["4", "8", "16"]


def test_many_numbers_are_a_logarithmic_range_with_decades() -> None:
    rates = [10 ** (-4 + number / 10) for number in range(21)]
    dimension = charts.Dimension("learning rate", rates, list(map(str, rates)), log=True)
    table = pd.DataFrame(
        {"number": range(21), "level": rates, "value": 1.0, "best": False, "hover": ""}
    )
    figure = charts.slice_plot(table, dimension, (0, 2))
    assert figure.layout.xaxis.type == "log"
    assert list(figure.layout.xaxis.ticktext) == ["1e-4", "1e-3", "1e-2"]
    assert traces(figure)[0]["x"] == pytest.approx(rates)


def test_several_slices_are_one_figure_with_one_legend() -> None:
    long = pd.concat(
        [TRIALS.assign(parameter=name, level=TRIALS[name]) for name in ("rank", "target_modules")]
    )
    figure = charts.slices(long, [RANK, MODULES], (35, 65))
    assert {trace["xaxis"] for trace in traces(figure)} == {"x", "x2"}
    assert sum(trace["showlegend"] for trace in traces(figure)) == 2


def test_a_line_runs_through_the_levels_of_its_trial_to_its_score() -> None:
    figure = charts.parallel_coordinates(
        TRIALS, [RANK, MODULES], "score", (35, 65), [(40, "40"), (60, "60")]
    )
    others, best = traces(figure)
    assert others["x"] == [0, 1, 2, None] * 2
    assert best["x"] == [0, 1, 2, None]
    rank, modules, score, _ = best["y"]
    assert 2 / 3 < rank < 1
    assert 1 / 2 < modules < 1
    assert score == pytest.approx((60 - 35) / 30, abs=1e-3)
    assert set(best["hovertext"]) == {"one"}
    assert all(trace["type"] in {"scatter", None} for trace in map(_typed, traces(figure)))
    texts = [each.text for each in figure.layout.annotations]
    assert texts == ["4", "8", "16", "q", "q and v", "40", "60"]


def _typed(trace: dict[str, Any]) -> dict[str, Any]:
    return {"type": None, **trace}


def test_cells_have_their_texts_and_missing_ones_are_blank() -> None:
    table = pd.DataFrame(
        {
            "x": ["q", "qv"],
            "y": [4, 16],
            "depth": [0.0, 1.0],
            "text": ["50.0", "60.0"],
            "note": ["2 seeds", "3 seeds"],
            "hover": ["a", "b"],
        }
    )
    (trace,) = traces(charts.heatmap(table, MODULES, RANK))
    assert trace["z"] == [[0, None], [None, None], [None, 1]]
    assert trace["text"][2][1] == "60.0<br>3 seeds"
    assert trace["hovertext"][0][0] == "a"


def test_cells_between_ends_are_named_at_their_edges() -> None:
    rates = charts.Dimension("rate", [1, 2], ["1", "2", "3"])
    table = pd.DataFrame(
        {"x": [2], "y": [4], "depth": [1], "text": [""], "note": [""], "hover": [""]}
    )
    figure = charts.heatmap(table, rates, RANK)
    assert list(figure.layout.xaxis.tickvals) == [-0.5, 0.5, 1.5]


def test_dots_bars_and_curves_of_levels() -> None:
    table = pd.DataFrame(
        {
            "label": ["A", "A", "B"],
            "series": ["r=4", "r=8", "r=4"],
            "value": [1.0, 2.0, 3.0],
            "hover": ["", "", ""],
        }
    )
    dots = named(charts.dots(table, "score"))
    assert (dots["r=4"]["x"], dots["r=4"]["y"]) == ([1, 3], [0, 1])
    assert dots["r=4"]["marker"]["symbol"] != dots["r=8"]["marker"]["symbol"]
    levels = pd.DataFrame(
        {
            "series": ["usual", "usual", "at qv"],
            "level": [4, 16, 4],
            "value": [1.0, 2.0, 0.5],
            "low": [0.0, 1.0, 0.0],
            "high": [2.0, 3.0, 1.0],
            "hover": "",
        }
    )
    curves = named(charts.level_curve(levels, RANK, "score"))
    assert curves["usual"]["x"] == [0, 2]
    assert curves["usual"]["error_y"]["array"] == [1, 1]
    assert 0 < curves["at qv"]["x"][0] < 0.5


def test_texts_are_shown_literally() -> None:
    assert charts.escape(HOSTILE, 100) == SHOWN
    rows = LEVELS.assign(label=HOSTILE, series=HOSTILE, hover=HOSTILE)
    text = str(charts.intervals(rows, HOSTILE, band=charts.Band(70, 71, HOSTILE)).to_json())
    for tag in ("\\u003cb\\u003e", "<b>", "<a", "$x"):
        assert tag not in text
    figure = charts.with_caption(charts.intervals(LEVELS, "score"), HOSTILE)
    assert "<b>" not in figure.layout.title.text


def test_a_caption_stands_above_a_copy() -> None:
    figure = charts.intervals(LEVELS, "score")
    before = figure.to_json()
    copy = charts.with_caption(figure, "What it shows. " * 20)
    assert "What it shows." in copy.layout.title.text
    assert copy.layout.height > figure.layout.height
    assert figure.to_json() == before


@given(st.floats(1e-8, 1e6), st.floats(1.2, 1e8))
def test_logarithmic_ticks_are_round_and_inside(low: float, ratio: float) -> None:
    ticks = charts.log_ticks(low, low * ratio)
    assert ticks == sorted(set(ticks))
    assert all(low <= tick <= low * ratio for tick in ticks)
    if ratio >= 1e3:
        assert all(f"{tick:e}".startswith("1.0000") for tick in ticks)


points = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.text("abc", min_size=1, max_size=20)),
    max_size=12,
)


@given(points)
def test_labels_do_not_cover_each_other(rows: list[tuple[float, float, str]]) -> None:
    positions = charts.place_labels([row[:2] for row in rows], [row[2] for row in rows])
    boxes = []
    for (across, up, label), position in zip(rows, positions, strict=True):
        if position is not None:
            x, y, width = 560 * across, 260 * up, 6.2 * len(label)
            left = x - width - 6 if "left" in position else x + 6
            bottom = y + 3 if "top" in position else y - 17
            boxes.append((left, bottom, left + width, bottom + 14))
    for one, other in itertools.combinations(boxes, 2):
        apart = (
            one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        )
        assert apart


def test_colors_are_those_of_the_page() -> None:
    style = template_source("page.css")
    light, dark = style.split("@media (prefers-color-scheme: dark)")[:2]
    for name in set(charts.LIGHT) - {"fill_low", "fill_high"}:
        variable = f"--{name.replace('_', '-')}: "
        assert f"{variable}{charts.LIGHT[name]}" in light
        assert f"{variable}{charts.DARK[name]}" in dark.split("@media")[0]
    assert len(set(charts.LIGHT.values())) == len(charts.LIGHT)  # each has one dark one
    assert set(charts.LIGHT) == set(charts.DARK)


def test_the_page_has_the_library_that_the_figures_are_made_for() -> None:
    library, script = page.chart_scripts()
    assert library == plotly.offline.get_plotlyjs()
    assert "</script" not in (library + script).lower()
