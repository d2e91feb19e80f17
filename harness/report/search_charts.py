"""The charts of a search: which trials they draw, along which axes, and what is said below them.

Knows how a search's tables look, not how a chart is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pandas as pd
from markupsafe import Markup

from harness.analysis import search
from harness.analysis.estimates import noise_floor
from harness.report import formatting
from harness.report.charts.along import Along, along, edges
from harness.report.charts.axis import Axis, axis
from harness.report.charts.parallel import parallel
from harness.report.charts.slices import Cell, best_so_far, heat_map, multiples
from harness.report.charts.svg import Band

if TYPE_CHECKING:
    from harness.results import StudyResults

#: No chart has more points, nor parallel coordinates more lines, however long the search.
POINTS: Final = 400
LINES: Final = 200


def history(results: StudyResults) -> Markup:
    """The scores in order with the best so far; empty with fewer than two."""
    past = search.history(results)
    if len(past) < 2:
        return Markup("")
    new = past["best"] != past["best"].shift()
    room = max(POINTS // 2, POINTS - int(new.sum()))
    chosen = search.rank_stratified_sample(past["value"].tolist(), results.objective.sign, room)
    points = past.rename(columns={"number": "x", "value": "y"}).assign(
        shown=new | past.index.isin(chosen)
    )
    across = axis([float(one) for one in points["x"]], "trial", formatting.count)
    floor, band = noise_floor(results), None
    if not formatting.missing(floor):
        spread = formatting.scale(results.objective).show(floor)
        band = Band(0, 0, f"\N{PLUS-MINUS SIGN} 1.96 \N{MULTIPLICATION SIGN} {spread}")
    title = "Search trials in order, with the best so far as a line."
    return best_so_far(
        points,
        across,
        _up(results, [*past["low"], *past["high"]]),
        title=f"{title} {_drawn(results, points.loc[points['shown'], 'y'], 'each new best')}",
        band=band,
    )


class _Trials(NamedTuple):
    """The trials that are drawn: `number`, `value`, `best` and one column a parameter."""

    whole: pd.DataFrame
    alongs: dict[str, Along]
    strong: str


def slices(results: StudyResults) -> Markup:
    """The scores by parameter; empty where there are none or nothing varies."""
    trials = _trials(results, POINTS)
    if trials is None:
        return Markup("")
    long = search.slices(results).merge(trials.whole[["number", "best"]], on="number")
    up = _up(results)
    title = f"{up.name[0].upper()}{up.name[1:]}, by parameter."
    said = _drawn(results, trials.whole["value"], trials.strong)
    return multiples(long, trials.alongs, up, title=f"{title} {said}")


def lines(results: StudyResults) -> Markup:
    """The same trials as lines through all parameters; empty likewise."""
    trials = _trials(results, LINES)
    if trials is None:
        return Markup("")
    title = "One line a trial, through its parameters to its score."
    return parallel(
        trials.whole,
        trials.alongs,
        _up(results)._replace(name="score"),
        title=f"{title} {_drawn(results, trials.whole['value'], trials.strong)}",
        instead="A wider window shows the same trials as lines through all parameters at once.",
    )


def _trials(results: StudyResults, limit: int) -> _Trials | None:
    varied, rows = search.parameters(results), search.scored(results)
    if not varied:
        return None
    values, sign = rows["value"].astype(float).tolist(), results.objective.sign
    best = search.best_few(values, sign)
    whole = pd.DataFrame({"number": rows["number"].to_numpy(), "value": values, **varied})
    whole = whole.assign(best=whole.index.isin(best))
    alongs = {
        name: along(
            search.ordered(results, name, levels),
            words(name),
            shown(name),
            log=name in {"rank", search.RATE},
        )
        for name, levels in varied.items()
    }
    strong = f"the best {len(best)}" if len(best) > 1 else "the best"
    return _Trials(whole.iloc[search.rank_stratified_sample(values, sign, limit)], alongs, strong)


def heat(results: StudyResults) -> Markup:
    """Mean scores by the two parameters that matter most; empty where those are not known."""
    frame = search.score_grid(results)
    if frame.empty:
        return Markup("")
    sides = [_side(results, frame, side) for side in ("first", "second")]
    # Texts stand side by side below a chart: there the parameter with fewer levels fits better.
    upright = int(len(sides[1].levels) >= len(sides[0].levels))
    up, across = sides[upright], sides[1 - upright]
    sign, scale = results.objective.sign, formatting.scale(results.objective)
    means = [float(one) for one in frame["value"]]
    worst, best = search.outlier_fence(means, sign), max(means, key=lambda one: sign * one)
    cells = [
        Cell(
            across.levels.index(row[f"{across.name}_level"]),
            up.levels.index(row[f"{up.name}_level"]),
            max(0.0, (row["value"] - worst) / (best - worst)) if best != worst else 1.0,
            scale.show(row["value"]),
            formatting.count(row["trials"]),
        )
        for row in frame.to_dict("records")
    ]
    cut = [one for one in means if sign * one < sign * worst]
    title = (
        f"Mean score on validation, {scale.unit}, by {up.along.name} and {across.along.name}; "
        "below it the number of trials. The better the mean, the stronger the fill"
        + (f"; {scale.show(worst)} and worse are alike." if cut else ".")
    )
    return heat_map(cells, across.along, up.along, title=title)


class _Side(NamedTuple):
    """One side of the heat map: `first` or `second`, its levels in order, and its axis."""

    name: str
    levels: list[Any]
    along: Along


def _side(results: StudyResults, frame: pd.DataFrame, side: str) -> _Side:
    name = str(frame[side].iloc[0])
    levels = search.ordered(results, name, frame[f"{side}_level"])
    if name != search.RATE:
        return _Side(side, levels, along(levels, words(name), shown(name)))
    ends = [levels[0]]
    while ends[-1] <= levels[-1]:
        ends.append(search.half_decade(ends[-1], 1))
    return _Side(side, ends[:-1], edges(ends, words(name), shown(name)))


def _up(results: StudyResults, others: Sequence[float] = ()) -> Axis:
    """The axis of the scores, without those that are far off on the bad side."""
    values, sign = search.scored(results)["value"].astype(float).tolist(), results.objective.sign
    edge, scale = search.outlier_fence(values, sign), formatting.scale(results.objective)
    inside = [one for one in [*values, *others] if sign * one >= sign * edge]
    return axis(inside, f"score on validation, {scale.unit}", scale.tick)


def _drawn(results: StudyResults, chosen: pd.Series, strong: str) -> str:
    """What a chart of these scores draws strong, leaves out and puts on its edge."""
    values, sign = search.scored(results)["value"].astype(float).tolist(), results.objective.sign
    edge, said = search.outlier_fence(values, sign), [f"Strong: {strong}."]
    off = int((sign * chosen < sign * edge).sum())
    if off:
        way, limit = (
            "below" if sign > 0 else "above",
            formatting.scale(results.objective).show(edge),
        )
        said.append(f"On the edge: {formatting.count(off)} that scored {way} {limit}.")
    if len(chosen) < len(values):
        said.append(
            f"Drawn: {formatting.count(len(chosen))} of {formatting.count(len(values))} trials, "
            "the best and an even sample of the others by rank."
        )
    return " ".join(said)


def shown(name: str) -> Callable[[Any], str]:
    """What writes a parameter's levels."""
    return formatting.rate if name == search.RATE else formatting.short


def words(name: str) -> str:
    """A parameter as people say it."""
    return name.replace("_", " ")
