"""The charts of the report: one function a chart, from a tidy table to a plotly figure.

A table has one row for each mark. Its column `hover` says what is shown when the mark is pointed
at: plain text, whose lines are separated by line breaks. Every text of a table may come from
outside; here it is escaped, since plotly reads some HTML tags in labels.

Colors are those of the page in its light scheme. `harness/report/templates/charts.js` replaces
them by those of `DARK` where the reader prefers a dark page.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd

from harness.report import formatting

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

#: Colors by what they are for, as in `templates/page.css`; two more that fill a heat map.
LIGHT: Final = {
    "paper": "#fdfdfb",
    "ink": "#1c1e22",
    "soft": "#5b6068",
    "rule": "#dfdfd8",
    "strong_rule": "#8b8f96",
    "accent": "#0b5c8e",
    "tint": "#e4eff6",
    "warm": "#9a4a00",
    "fill_low": "#f1f5f6",
    "fill_high": "#84adc5",
}
DARK: Final = {
    "paper": "#15171a",
    "ink": "#e7e5e0",
    "soft": "#a3a8b0",
    "rule": "#2f3338",
    "strong_rule": "#70767f",
    "accent": "#7fbbe6",
    "tint": "#18303f",
    "warm": "#f0b070",
    "fill_low": "#1a1f24",
    "fill_high": "#4a6980",
}
#: How a series is drawn: its color, the size of its marks and its opacity.
_STYLES: Final = {
    "plain": (LIGHT["soft"], 8, 1.0),
    "strong": (LIGHT["accent"], 10, 1.0),
    "reference": (LIGHT["accent"], 10, 1.0),
    "faint": (LIGHT["strong_rule"], 7, 0.7),
    "warm": (LIGHT["warm"], 8, 1.0),
}
#: Dashes of lines that have the same color, the first solid.
_DASHES: Final = (
    *("solid", "9px,3px", "5px,3px", "2px,3px"),
    *("9px,3px,2px,3px", "9px,3px,2px,3px,2px,3px"),
)
#: The font of tick labels that name rows or parameters.
_INK: Final = {"color": LIGHT["ink"]}
_FONT: Final = (
    "-apple-system, Inter, Segoe UI, Roboto, Helvetica Neue, Noto Sans, Liberation Sans, "
    "Arial, sans-serif"
)
#: Characters of a label that stands beside a chart; a longer one stands on a line of its own.
_SHORT_LABEL: Final = 16
#: Characters that fit across a chart on a phone.
_LABEL_LENGTH: Final = 44
#: Characters that fit along a vertical axis.
_TITLE_LENGTH: Final = 38
#: Characters of a line in the box that shows a mark's values.
_HOVER_LENGTH: Final = 90
#: From so many levels on a logarithmic parameter is drawn as a range, below as steps.
_RANGE: Final = 12
#: Share of the distance between two levels that points of one level are spread over.
_SPREAD: Final = 0.5
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
#: Size in pixels of the plot that labels of points are placed for, and of a character.
_PLOT: Final = (560.0, 260.0)
_CHARACTER: Final = (6.2, 14.0)


class Band(NamedTuple):
    """A shaded stretch of an axis, and what it means."""

    low: float
    high: float
    meaning: str


class Dimension(NamedTuple):
    """One searched parameter as an axis.

    Attributes:
        name: what the axis shows.
        levels: its different levels, in order.
        texts: the levels as they are written; one more than levels if they are the ends of
            intervals, of which each level is the lower one.
        log: whether many different numbers are drawn along a logarithmic axis.
    """

    name: str
    levels: Sequence[Any]
    texts: Sequence[str]
    log: bool = False


def template() -> dict[str, Any]:
    """Fonts, lines and colors that all charts share, as the value of `layout.template`."""
    axis = {
        "gridcolor": LIGHT["rule"],
        "linecolor": LIGHT["strong_rule"],
        "tickfont": {"color": LIGHT["soft"]},
        "title": {"font": {"color": LIGHT["soft"], "size": 12}, "standoff": 8},
        "zeroline": False,
        "ticks": "",
        "automargin": True,
    }
    layout = {
        "font": {"family": _FONT, "size": 12, "color": LIGHT["ink"]},
        "paper_bgcolor": LIGHT["paper"],
        "plot_bgcolor": LIGHT["paper"],
        "hoverlabel": {
            "bgcolor": LIGHT["paper"],
            "bordercolor": LIGHT["strong_rule"],
            "font": {"color": LIGHT["ink"], "size": 12, "family": _FONT},
            "align": "left",
            "namelength": -1,
        },
        "hovermode": "closest",
        "margin": {"l": 10, "r": 14, "t": 12, "b": 10},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "xaxis": {**axis, "showline": True},
        "yaxis": axis,
    }
    return {"layout": layout}


def escape(text: object, room: int = _LABEL_LENGTH) -> str:
    """A text as plotly shows it literally, cut if it is longer than `room` characters.

    Plotly reads tags such as `<b>` and `<a href>`, entities, and in notebooks TeX between dollars.
    """
    short = formatting.truncate(str(text), room)
    return short.replace("&", "&amp;").replace("<", "&lt;").replace("$", "&#36;")


def intervals(
    table: pd.DataFrame, x_title: str, *, band: Band | None = None, line: float | None = None
) -> Figure:
    """Point estimates with their intervals, one below the other.

    Args:
        table: columns `label`, `value`, `low`, `high` (an open end is missing), `style` (a key
            of the styles: plain, strong, reference, faint, warm), `series` (its name in the
            legend) and `hover`.
        x_title: what the values are, with their unit.
        band: stretch to shade, such as the margin of equivalence.
        line: value at which a reference line stands.
    """
    rows = table.reset_index(drop=True)
    labels = [escape(label) for label in rows["label"]]
    short_labels = max(map(len, map(str, rows["label"])), default=0) <= _SHORT_LABEL
    ends = [*rows["value"], *rows["low"], *rows["high"], *(band[:2] if band else ())]
    low, high = padded_limits(ends)
    bottom, top = len(rows) - 0.4, -0.6 if short_labels else -0.75
    data: list[dict[str, Any]] = []
    if band is not None:
        x, y = [band.low, band.high, band.high, band.low], [bottom, bottom, top, top]
        data.append(_area(x, y, LIGHT["tint"], name=escape(band.meaning, _HOVER_LENGTH)))
    for name, group in rows.groupby("series", sort=False):
        data += _interval_traces(str(name), group, (low, high))
    y_axis: dict[str, Any] = {"range": [bottom, top], "showgrid": False, "fixedrange": True}
    layout: dict[str, Any] = {}
    if short_labels:
        y_axis |= _ticks(labels) | {"tickfont": _INK, "ticklabelstandoff": 6}
    else:
        y_axis |= {"showticklabels": False}
        place = {"xref": "paper", "x": 0, "xanchor": "left", "yshift": 15, "showarrow": False}
        layout["annotations"] = [
            {"text": label, "y": index} | place for index, label in enumerate(labels)
        ]
    if line is not None:
        stroke = {"color": LIGHT["strong_rule"], "dash": "dot", "width": 1}
        span = {"x0": line, "x1": line, "y0": 0, "y1": 1, "yref": "paper"}
        layout["shapes"] = [{"type": "line", "line": stroke, **span}]
    height = 70 + (30 if short_labels else 42) * len(rows)
    return _figure(data, height, _axis(x_title, range=[low, high]), y_axis, **layout)


def pareto(table: pd.DataFrame, x_title: str, y_title: str, *, log: bool = False) -> Figure:
    """Quality against a cost; the points that nothing as cheap beats are joined by steps.

    Args:
        table: columns `x`, `y`, `low`, `high` (may be missing), `label` (of points on the
            front), `front` (whether it lies there) and `hover`.
        x_title: the cost, with its unit.
        y_title: the score, with its unit.
        log: whether the cost is drawn along a logarithmic axis.
    """
    rows = table.sort_values("x", kind="stable", ignore_index=True)
    front = rows["front"].astype(bool)
    x_low, x_high = padded_limits(rows["x"], log=log)
    y_low, y_high = padded_limits([*rows["y"], *rows["low"], *rows["high"]])
    steps = {"shape": "hv", "color": LIGHT["accent"], "width": 1.25}
    x, y = _numbers(rows["x"][front]), _numbers(rows["y"][front])
    data = [_line(x, y, steps, name="front", legendgroup="front", showlegend=False)]
    for name, members, style in (("front", front, "strong"), ("others", ~front, "faint")):
        part = rows[members]
        if part.empty:
            continue
        trace = _marks(part, name, style) | {"error_y": _errors(part, "y", style)}
        if name == "front":
            places = [
                (_share(x, x_low, x_high, log), _share(y, y_low, y_high))
                for x, y in zip(part["x"], part["y"], strict=True)
            ]
            labels = [escape(label, 24) for label in part["label"]]
            positions = place_labels(places, labels)
            texts = [label if at else "" for label, at in zip(labels, positions, strict=True)]
            trace |= {
                "mode": "markers+text",
                "text": texts,
                "textposition": [position or "top left" for position in positions],
                "textfont": {"size": 11},
            }
        data.append(trace)
    x_axis = _axis(x_title, range=[x_low, x_high])
    if log:
        x_axis |= _log_axis(x_low, x_high, _with_prefix)
    return _figure(data, 360, x_axis, _axis(y_title, _TITLE_LENGTH, range=[y_low, y_high]))


def curves(table: pd.DataFrame, x_title: str, y_title: str, *, log: bool = False) -> Figure:
    """Lines along training, some with a band.

    Args:
        table: columns `series` (its name in the legend), `style`, `line` (lines of one series
            share their color), `x`, `y`, `low`, `high` (missing where there is no band), `ring`
            (whether the point is marked) and `hover`; later series are drawn on top.
        x_title: what runs along the lines.
        y_title: what they show, with its unit.
        log: whether that is drawn along a logarithmic axis.
    """
    data: list[dict[str, Any]] = []
    series = table.drop_duplicates("series")["style"].tolist()
    for index, (name, rows) in enumerate(table.groupby("series", sort=False)):
        style = series[index]
        color, _, opacity = _STYLES[style]
        # The last of a style is the solid one: it lies on top.
        dash = _DASHES[series[index + 1 :].count(style) % len(_DASHES)]
        group = _named(name)
        lines = [line for _, line in rows.groupby("line", sort=False)]
        for line in lines:
            if len(line) > 1 and line["low"].notna().all():
                x = _numbers([*line["x"], *line["x"][::-1]])
                y = _numbers([*line["high"], *line["low"][::-1]])
                data.append(_area(x, y, color, opacity=0.16, showlegend=False, **group))
        width = 2.25 if style == "strong" else 1.5
        data.append(
            {
                **_joined(lines),
                "mode": "lines" if all(len(line) > 1 for line in lines) else "lines+markers",
                "line": {"color": color, "width": width, "dash": dash},
                "marker": {"color": color, "size": 4},
                "opacity": opacity,
                **group,
            }
        )
        rings = rows[rows["ring"].astype(bool)]
        if len(rings):
            ring = {"color": LIGHT["paper"], "size": 9, "line": {"color": color, "width": 2}}
            data.append(_points(rings) | {"marker": ring, "showlegend": False, **group})
    y_axis = _axis(y_title, _TITLE_LENGTH)
    if log:
        values = pd.concat([table["y"], table["low"], table["high"]])
        y_axis |= _log_axis(*padded_limits(values, log=True), formatting.short)
    x_axis = _axis(x_title, rangemode="tozero")
    return _figure(data, 360, x_axis, y_axis, legend={"traceorder": "reversed"})


def optimization_history(
    table: pd.DataFrame, y_title: str, limits: tuple[float, float], noise: str = ""
) -> Figure:
    """Trials in order with the best so far as steps and the seed noise around it.

    Args:
        table: columns `number`, `value`, `best`, `low`, `high` (missing where not known),
            `shown` (whether the trial has a mark) and `hover`, in order of `number`.
        y_title: the score, with its unit.
        limits: ends of its axis; a score beyond them stands on the edge.
        noise: what the band around the best means; empty without one.
    """
    # One corner for each new best, and the last trial, up to which the last one holds.
    new = table["best"] != table["best"].shift()
    corners = table[new | (table.index == table.index[-1])]
    data: list[dict[str, Any]] = []
    if noise:
        columns = ["number", "low", "high"]
        # Both ends of each step, up to the next corner.
        numbers, lows, highs = corners[columns].to_numpy(dtype=float).repeat(2, axis=0).T
        ends, low, high = numbers[1:-1], lows[:-2], highs[:-2]
        outline = _numbers([*ends, *ends[::-1]]), _numbers([*high, *low[::-1]])
        data.append(_area(*outline, LIGHT["tint"], name=escape(noise, _HOVER_LENGTH)))
    steps = {"shape": "hv", "color": LIGHT["accent"], "width": 1.5}
    x, y = _numbers(corners["number"]), _numbers(corners["best"])
    data.append(_line(x, y, steps, name="best so far"))
    shown = table[table["shown"].astype(bool)].rename(columns={"number": "x", "value": "y"})
    best = shown["y"] == shown["best"]
    data += _on_edge(shown[~best], limits, "trials", "faint")
    data += _on_edge(shown[best], limits, "new best", "strong")
    y_axis = _axis(y_title, _TITLE_LENGTH, range=list(limits))
    return _figure(data, 300, _axis("trial"), y_axis)


def slice_plot(table: pd.DataFrame, dimension: Dimension, limits: tuple[float, float]) -> Figure:
    """The scores of trials by the level of one parameter.

    Args:
        table: columns `number`, `level`, `value`, `best` (drawn strong) and `hover`.
        dimension: the parameter; points of one level are moved a little, so that they do not
            cover each other.
        limits: ends of the scores' axis; a score beyond them stands on the edge.
    """
    data, x_axis = _slice(table, dimension, limits)
    return _figure(data, 210, x_axis, {"range": list(limits)}, showlegend=False)


def slices(
    table: pd.DataFrame,
    dimensions: Sequence[Dimension],
    limits: tuple[float, float],
    columns: int = 2,
) -> Figure:
    """`slice_plot` of several parameters in one figure.

    Args:
        table: as for `slice_plot`, and `parameter`, which is the name of a dimension.
        dimensions: the parameters, in order.
        limits: ends of the scores' axis.
        columns: how many stand side by side.
    """
    count = len(dimensions)
    columns, lines = min(columns, count), math.ceil(count / columns)
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {}
    for index, dimension in enumerate(dimensions):
        suffix = str(index + 1) if index else ""
        line, column = divmod(index, columns)
        rows = table[table["parameter"] == dimension.name]
        traces, x_axis = _slice(rows, dimension, limits)
        axes = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "showlegend": not index}
        data += [trace | axes for trace in traces]
        width, height = 1 / columns, 1 / lines
        top = 1 - line * height
        layout[f"xaxis{suffix}"] = x_axis | {
            "anchor": f"y{suffix}",
            "domain": [column * width + 0.02, (column + 1) * width - 0.02],
        }
        layout[f"yaxis{suffix}"] = {
            "anchor": f"x{suffix}",
            "domain": [top - height + 0.3 * height, top],
            "range": list(limits),
            "showticklabels": not column,
        }
    return _figure(data, 60 + 210 * lines, **layout)


def parallel_coordinates(
    table: pd.DataFrame,
    dimensions: Sequence[Dimension],
    score: str,
    limits: tuple[float, float],
    ticks: Sequence[tuple[float, str]],
) -> Figure:
    """One line a trial, through its level of each parameter to its score at the right.

    Args:
        table: one column for each dimension by its name, `number`, `value`, `best` (drawn
            strong, on top) and `hover`.
        dimensions: the parameters, from left to right.
        score: the score's name.
        limits: ends of its axis; a score beyond them ends on the edge.
        ticks: values of the score and how they are written.
    """
    last = len(dimensions)
    scales = [_scale(dimension) for dimension in dimensions]
    data: list[dict[str, Any]] = []
    for name, style, strong in (("other trials", "faint", False), ("the best", "strong", True)):
        color, _, opacity = _STYLES[style]
        x, y, hover = [], [], []
        for row in table[table["best"].astype(bool) == strong].to_dict("records"):
            heights = [
                shift_level(share(row[dimension.name]), slot, row["number"])
                for dimension, (share, slot, _) in zip(dimensions, scales, strict=True)
            ]
            end = _share(row["value"], *limits)
            x += [*range(last + 1), None]
            y += [*(round(height, 4) for height in heights), round(min(1, max(0, end)), 4), None]
            hover += [_hover(row["hover"])] * (last + 2)
        if x:
            line = {"color": color, "width": 1.75 if strong else 1}
            trace = _line(x, y, line, name=name, opacity=1 if strong else opacity)
            data.append(trace | {"hovertext": hover, "hoverinfo": "text"})
    # Each label is on the outer side of its axis: x, height, text, anchor and shift.
    labels = [
        (index, height, text, "right", -5)
        for index, (_, _, marks) in enumerate(scales)
        for height, text in marks
    ] + [(last, _share(value, *limits), text, "left", 5) for value, text in ticks]
    x_axis = {
        **_ticks([escape(name, 24) for name in (*(d.name for d in dimensions), score)]),
        "tickfont": _INK,
        "side": "top",
        "range": [0, last],
        "showline": False,
        "showgrid": True,
        "gridcolor": LIGHT["strong_rule"],
        "fixedrange": True,
    }
    annotations = [
        {
            "x": x,
            "y": height,
            "text": escape(text, 14),
            "xanchor": anchor,
            "xshift": shift,
            "showarrow": False,
            "font": {"color": LIGHT["soft"], "size": 11},
            "bgcolor": LIGHT["paper"],
            "borderpad": 0,
        }
        for x, height, text, anchor, shift in labels
    ]
    y_axis = {"visible": False, "range": [-0.03, 1.03], "fixedrange": True}
    margin = {"l": 84, "r": 50, "t": 40, "b": 16}
    return _figure(data, 360, x_axis, y_axis, margin=margin, annotations=annotations)


def heatmap(table: pd.DataFrame, horizontal: Dimension, vertical: Dimension) -> Figure:
    """Cells of two parameters; a pair without a row is left blank.

    Args:
        table: columns `x` and `y` (levels), `depth` (how strong the cell is filled, from 0 to
            1), `text`, `note` (below it) and `hover`.
        horizontal: the parameter of `x`.
        vertical: the parameter of `y`.
    """
    shape = (len(vertical.levels), len(horizontal.levels))
    depth = np.full(shape, None, dtype=object)
    text, hover = np.full(shape, "", dtype=object), np.full(shape, "", dtype=object)
    for row in table.to_dict("records"):
        cell = list(vertical.levels).index(row["y"]), list(horizontal.levels).index(row["x"])
        depth[cell] = round(float(row["depth"]), 3)
        text[cell] = f"{escape(row['text'])}<br>{escape(row['note'])}"
        hover[cell] = _hover(row["hover"])
    trace = {
        "type": "heatmap",
        "x": list(range(shape[1])),
        "y": list(range(shape[0])),
        "z": depth.tolist(),
        "zmin": 0,
        "zmax": 1,
        "text": text.tolist(),
        "texttemplate": "%{text}",
        "textfont": {"color": LIGHT["ink"], "size": 11},
        "hovertext": hover.tolist(),
        "hoverinfo": "text",
        "hoverongaps": False,
        "colorscale": [[0, LIGHT["fill_low"]], [1, LIGHT["fill_high"]]],
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    margin = {"r": 30}  # for the name of the last edge
    height = 90 + 44 * shape[0]
    return _figure([trace], height, _cells(horizontal), _cells(vertical), margin=margin)


def dots(table: pd.DataFrame, x_title: str) -> Figure:
    """Several values a row, one mark for each series.

    Args:
        table: columns `label`, `series`, `value` and `hover`; rows stand in the order of their
            first appearance, the first on top.
        x_title: what the values are, with their unit.
    """
    labels = list(dict.fromkeys(table["label"]))
    symbols = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")
    colors = (LIGHT["accent"], LIGHT["warm"], LIGHT["soft"], LIGHT["strong_rule"])
    names = list(dict.fromkeys(table["series"]))
    data = []
    for index, name in enumerate(names):
        rows = table[table["series"] == name]
        rows = rows.assign(x=rows["value"], y=[labels.index(label) for label in rows["label"]])
        symbol, color = symbols[index % len(symbols)], colors[index % len(colors)]
        mark = {"symbol": symbol, "size": 9, "color": color}
        data.append(_points(rows) | {"name": escape(name, _HOVER_LENGTH), "marker": mark})
    y_axis = _ticks([escape(label, 32) for label in labels]) | {
        "tickfont": _INK,
        "range": [len(labels) - 0.5, -0.5],  # the first on top
        "showgrid": True,
    }
    return _figure(data, 90 + 26 * len(labels), _axis(x_title), y_axis)


def level_curve(table: pd.DataFrame, levels: Dimension, y_title: str) -> Figure:
    """Scores with intervals along the levels of one parameter, one line for each series.

    Args:
        table: columns `series`, `level`, `value`, `low`, `high` and `hover`.
        levels: the parameter.
        y_title: the score, with its unit.
    """
    data = []
    for index, (name, rows) in enumerate(table.groupby("series", sort=False)):
        style = "warm" if index else "strong"
        color = _STYLES[style][0]
        # Series stand beside each other, so that their intervals do not cover each other.
        x = [list(levels.levels).index(level) + 0.08 * index for level in rows["level"]]
        data.append(
            _points(rows.assign(x=x, y=rows["value"]))
            | {
                "name": escape(name, _HOVER_LENGTH),
                "mode": "lines+markers",
                "line": {"color": color, "dash": _DASHES[index % len(_DASHES)]},
                "marker": {"color": color, "size": 8},
                "error_y": _errors(rows, "value", style),
            }
        )
    x_axis = _axis(levels.name, **_ticks([escape(text) for text in levels.texts]))
    return _figure(data, 360, x_axis, _axis(y_title, _TITLE_LENGTH))


def with_caption(figure: Figure, caption: str, width: int = 720) -> Figure:
    """A copy of a figure with its caption above it and its legend below that.

    Args:
        figure: from one of the functions of this module.
        caption: what it shows.
        width: pixels that the copy is laid out for.
    """
    lines = textwrap.wrap(formatting.escape_invisible(caption), width // 7)
    names = [
        len(trace.name)
        for trace in figure.data
        if trace.name and trace.showlegend is not False and figure.layout.showlegend
    ]
    # Where entries do not fit in one row, plotly gives them columns of equal width.
    wide = [6.5 * characters + 50 for characters in names]
    columns = len(names) if sum(wide) < width else max(1, int(width // max(wide)))
    words, keys = 18 * len(lines) + 10, 19 * math.ceil(len(names) / columns) if names else 0
    copy = type(figure)(figure)
    margin = template()["layout"]["margin"] | figure.layout.margin.to_plotly_json()
    height = figure.layout.height + words + keys
    return copy.update_layout(
        title={
            "text": "<br>".join(escape(line, 2 * width) for line in lines),
            "font": {"size": 12, "color": LIGHT["soft"]},
            "x": 0,
            "y": 1,
            "yanchor": "top",
            # Plotly places the last line here, not the first.
            "pad": {"t": 8 + 15.6 * (len(lines) - 1), "l": 10},
        },
        legend={"yref": "container", "y": 1 - words / height, "yanchor": "top"},
        margin={**margin, "t": margin["t"] + words + keys},
        height=height,
    )


def shift_level(share: float, slot: float, number: int) -> float:
    """A level's place, moved within its slot by the trial's number alone.

    Multiples of the golden ratio fill the slot evenly, and equal studies give equal charts.
    """
    return share + _SPREAD * slot * ((number * _GOLDEN) % 1 - 0.5)


def padded_limits(values: Iterable[float], *, log: bool = False) -> tuple[float, float]:
    """Ends of an axis that holds all finite values, with a little room at both.

    They are as plotly takes them: of a logarithmic axis, logarithms.
    """
    finite = [float(value) for value in values if not formatting.missing(value)]
    finite = [value for value in finite if math.isfinite(value) and (value > 0 or not log)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    if log:
        low, high = math.log10(low), math.log10(high)
        room = max(0.06 * (high - low), 0.06)
    else:
        room = 0.06 * (high - low) or 0.05 * abs(high) or 0.01
    return low - room, high + room


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis: decades, and 2 and 5 or 3 between them where these are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    inside: list[float] = []
    for digits in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        ticks = [float(f"{digit}e{power}") for power in range(first, last + 1) for digit in digits]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 3:
            break
    return inside


def place_labels(points: Sequence[tuple[float, float]], labels: Sequence[str]) -> list[str | None]:
    """Where the label of each point stands, so that none covers another or leaves the plot.

    Args:
        points: shares of the width and, from below, of the height.
        labels: their texts.

    Returns:
        `top left`, `bottom right`, `top right` or `bottom left`; None where there is no room.
    """
    places = [(across * _PLOT[0], up * _PLOT[1]) for across, up in points]
    boxes = [(x - 5, y - 2.5, x + 5, y + 2.5) for x, y in places]  # of the marks
    positions: list[str | None] = []
    for (x, y), label in zip(places, labels, strict=True):
        width = len(label) * _CHARACTER[0]
        free = None
        # Above and to the left first: no point of a rising front can lie there.
        for position in ("top left", "bottom right", "top right", "bottom left"):
            left = x - width - 6 if position.endswith("left") else x + 6
            bottom = y + 3 if position.startswith("top") else y - 3 - _CHARACTER[1]
            box = (left, bottom, left + width, bottom + _CHARACTER[1])
            fits = box[0] >= 0 and box[2] <= _PLOT[0] and box[1] >= 0 and box[3] <= _PLOT[1]
            if label and fits and not any(_overlap(box, taken) for taken in boxes):
                free = position
                boxes.append(box)
                break
        positions.append(free)
    return positions


def _overlap(box: Sequence[float], second: Sequence[float]) -> bool:
    return box[0] < second[2] and second[0] < box[2] and box[1] < second[3] and second[1] < box[3]


def _figure(
    data: list[dict[str, Any]], height: int, x_axis: Any = None, y_axis: Any = None, **layout: Any
) -> Figure:
    # Here, since plotly takes a while to load and no figure may be needed.
    from plotly.graph_objects import Figure

    named = sum(bool(trace.get("name")) and trace.get("showlegend", True) for trace in data)
    axes = {"xaxis": x_axis, "yaxis": y_axis} if x_axis else {}
    layout = {"height": height, "showlegend": named > 1, **axes, **layout}
    return Figure({"data": data, "layout": {**layout, "template": template()}})


def _axis(title: object, room: int = _LABEL_LENGTH, **settings: Any) -> dict[str, Any]:
    return {"title": {"text": escape(title, room)}, **settings}


def _ticks(texts: Sequence[str], shift: float = 0) -> dict[str, Any]:
    """One tick for each text at 0, 1, 2 and so on."""
    return {"tickvals": [index + shift for index in range(len(texts))], "ticktext": list(texts)}


def _line(x: Sequence[Any], y: Sequence[Any], line: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"x": x, "y": y, "mode": "lines", "line": line, "hoverinfo": "skip", **more}


def _area(x: Sequence[Any], y: Sequence[Any], color: str, **more: Any) -> dict[str, Any]:
    """The area within an outline that is not drawn."""
    fill = {"mode": "none", "fill": "toself", "fillcolor": color, "hoverinfo": "skip"}
    return {"x": x, "y": y, **fill, **more}


def _named(name: object) -> dict[str, Any]:
    return dict.fromkeys(("name", "legendgroup"), escape(name, _HOVER_LENGTH))


def _interval_traces(
    name: str, rows: pd.DataFrame, limits: tuple[float, float]
) -> list[dict[str, Any]]:
    style = str(rows["style"].iloc[0])
    rows = rows.assign(x=rows["value"], y=rows.index)
    trace = _marks(rows, name, style) | {"error_x": _errors(rows, "value", style)}
    # An interval without an end reaches to the edge of the plot, and has no bar there.
    x: list[float | None] = []
    y: list[float | None] = []
    bounded = rows["low"].notna() | rows["high"].notna()
    for side, edge in (("low", limits[0]), ("high", limits[1])):
        for row in rows[rows[side].isna() & bounded].to_dict("records"):
            x += [float(row["value"]), edge, None]
            y += [row["y"], row["y"], None]
    if not x:
        return [trace]
    line = {"color": _STYLES[style][0], "width": 1.5}
    return [_line(x, y, line, legendgroup=trace["legendgroup"], showlegend=False), trace]


def _marks(rows: pd.DataFrame, name: str, style: str) -> dict[str, Any]:
    color, size, opacity = _STYLES[style]
    hollow = {"color": LIGHT["paper"], "size": size, "line": {"color": color, "width": 2.5}}
    marker = hollow if style == "reference" else {"color": color, "size": size}
    return _points(rows) | _named(name) | {"marker": marker, "opacity": opacity}


def _points(rows: pd.DataFrame) -> dict[str, Any]:
    return {
        "x": _numbers(rows["x"]),
        "y": _numbers(rows["y"]),
        "mode": "markers",
        "hovertext": [_hover(text) for text in rows["hover"]],
        "hoverinfo": "text",
    }


def _errors(rows: pd.DataFrame, value: str, style: str) -> dict[str, Any]:
    middle = rows[value].astype(float)
    return {
        "type": "data",
        "array": _numbers((rows["high"].astype(float) - middle).fillna(0)),
        "arrayminus": _numbers((middle - rows["low"].astype(float)).fillna(0)),
        "color": _STYLES[style][0],
        "thickness": 1.5,
        "width": 4,
    }


def _joined(lines: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """Lines of one series as one trace, with a gap between each two."""
    trace: dict[str, Any] = {"x": [], "y": [], "hovertext": [], "hoverinfo": "text"}
    for line in lines:
        gap = [None] if trace["x"] else []
        trace["x"] += [*gap, *_numbers(line["x"])]
        trace["y"] += [*gap, *_numbers(line["y"])]
        trace["hovertext"] += [*("" for _ in gap), *(_hover(text) for text in line["hover"])]
    return trace


def _on_edge(
    rows: pd.DataFrame, limits: tuple[float, float], name: str, style: str
) -> list[dict[str, Any]]:
    """Points as one trace; one beyond the axis stands on its edge as a triangle."""
    if rows.empty:
        return []
    low, high = limits
    values = rows["y"].astype(float)
    # By its size within, for plotly leaves out what lies beyond the axis by a rounding error.
    edge = 0.025 * (high - low)
    inside = values.where(values >= low, low + edge).where(values <= high, high - edge)
    trace = _marks(rows.assign(y=inside), name, style) | {"cliponaxis": False}
    symbols = [
        "triangle-down" if value < low else "triangle-up" if value > high else "circle"
        for value in values
    ]
    if set(symbols) != {"circle"}:
        trace["marker"] = {**trace["marker"], "symbol": symbols}
    return [trace]


def _slice(
    table: pd.DataFrame, dimension: Dimension, limits: tuple[float, float]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Traces and horizontal axis of one parameter."""
    axis = _axis(dimension.name)
    if _ranged(dimension):
        axis |= _log_axis(*padded_limits(dimension.levels, log=True), formatting.rate)
        x = [float(level) for level in table["level"]]
    else:
        places = {level: index for index, level in enumerate(dimension.levels)}
        pairs = zip(table["level"], table["number"], strict=True)
        x = [shift_level(places[level], 1, number) for level, number in pairs]
        axis |= _ticks([escape(text, 13) for text in dimension.texts])
        axis |= {"range": [-0.5, len(places) - 0.5]}
    rows = table.assign(x=x, y=table["value"])
    best = rows["best"].astype(bool)
    traces = _on_edge(rows[~best], limits, "other trials", "faint")
    return traces + _on_edge(rows[best], limits, "the best", "strong"), axis


def _ranged(dimension: Dimension) -> bool:
    return dimension.log and len(dimension.levels) > _RANGE


def _scale(dimension: Dimension) -> tuple[Any, float, list[tuple[float, str]]]:
    """Of a vertical axis: a level's share of its height, the room of a level, and its ticks."""
    if _ranged(dimension):
        low, high = padded_limits(dimension.levels, log=True)

        def share(level: Any) -> float:
            return _share(level, low, high, log=True)

        ticks = log_ticks(10**low, 10**high)
        return share, 0.0, [(share(tick), formatting.rate(tick)) for tick in ticks]
    slot = 1 / max(1, len(dimension.levels))
    places = {level: (index + 0.5) * slot for index, level in enumerate(dimension.levels)}
    return places.__getitem__, slot, list(zip(places.values(), dimension.texts, strict=True))


def _cells(dimension: Dimension) -> dict[str, Any]:
    """The axis of a heat map's cells, named at their middles or at their ends."""
    count = len(dimension.levels)
    shift = -0.5 if len(dimension.texts) > count else 0.0
    ticks = _ticks([escape(text, 13) for text in dimension.texts], shift) | {"tickfont": _INK}
    hidden = {"showgrid": False, "showline": False, "fixedrange": True}
    return _axis(dimension.name, range=[-0.5, count - 0.5], **ticks, **hidden)


def _log_axis(low: float, high: float, show: Any) -> dict[str, Any]:
    """A logarithmic axis from its ends' logarithms, with ticks at decades if there are some."""
    ticks = log_ticks(10**low, 10**high)
    texts = [show(tick) for tick in ticks]
    return {"type": "log", "tickvals": ticks, "ticktext": texts, "range": [low, high]}


def _share(value: float, low: float, high: float, log: bool = False) -> float:
    return ((math.log10(value) if log else float(value)) - low) / (high - low)


def _with_prefix(value: float) -> str:
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:g}{letter}"
    return f"{value:g}"


def _numbers(values: Iterable[Any]) -> list[float | None]:
    """Numbers to seven digits, far below a pixel; None where there is none."""
    return [
        None if formatting.missing(value) else float(f"{float(value):.7g}") for value in values
    ]


def _hover(text: object) -> str:
    return "<br>".join(escape(line, _HOVER_LENGTH) for line in str(text).split("\n"))
