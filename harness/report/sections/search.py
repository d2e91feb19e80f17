"""The search (its history, its best trials, whether stopping early was fair), and all trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from markupsafe import Markup

from harness.analysis import importance, search
from harness.analysis.estimates import noise_floor
from harness.report import charts, formatting
from harness.report.section import (
    Chart,
    Column,
    Record,
    Section,
    badge,
    chart_html,
    interval_column,
    number_column,
    register,
    render_template,
    table,
    text_column,
)

if TYPE_CHECKING:
    from harness.results import StudyResults


TOP: Final = 10
#: No chart has more marks, nor parallel coordinates more lines, however long the search.
POINTS: Final = 400
LINES: Final = 200


def top_table(results: StudyResults, limit: int = TOP) -> pd.DataFrame:
    """The best complete search trials, best first, with the parameters they train."""
    costs = results.costs[["trial", "parameters", "train_seconds"]]
    rows = search.scored(results).merge(costs, left_on="number", right_on="trial", how="left")
    lower = results.objective.sign < 0
    rows = rows.sort_values("value", ascending=lower, kind="stable", ignore_index=True)
    columns = ["number", "variant", "rank", "alpha", "dropout", "target_modules"]
    return rows[[*columns, "learning_rate", "value", "parameters", "train_seconds"]].head(limit)


def state_table(results: StudyResults) -> pd.DataFrame:
    """Trials of each stage by how they ended: one row a stage, one column a state."""
    counts = pd.crosstab(results.trials["stage"], results.trials["state"])
    known = ["search", "tune", "ablate", "full", "claim", "confirm"]
    states = ["complete", "pruned", "failed", "running", "waiting"]
    stages = [*known, *(str(name) for name in counts.index if name not in known)]
    present = [name for name in stages if name in counts.index]
    counts = counts.reindex(index=present, columns=states, fill_value=0).astype(int)
    return counts.rename_axis(index="stage", columns=None).reset_index()


def importance_table(results: StudyResults) -> pd.DataFrame:
    """How much the search's scores depend on each factor, in three ways side by side."""
    return _importance_rows(results, "factors", importance.COLUMNS)


def dependence_table(results: StudyResults) -> pd.DataFrame:
    """The score a forest expects at each level, all else as the search's trials have it."""
    return _importance_rows(results, "dependence", importance.DEPENDENCE)


def _importance_rows(results: StudyResults, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    rows = (results.attributes.get("importance") or {}).get(name) or []
    return pd.DataFrame(rows, columns=list(columns))


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """History, best trials, states, scores by parameter, importances and dependences."""
    return {
        "history": search.history(results),
        "top": top_table(results),
        "states": state_table(results),
        "slices": search.slices(results),
        "levels": search.by_level(results),
        "importance": importance_table(results),
        "dependence": dependence_table(results),
        "heat": search.score_grid(results),
    }


def render(results: StudyResults) -> str:
    """The section's HTML."""
    return render_template(
        "search.html.j2",
        plot=chart_html(*history_charts(results)),
        spread=_spread(results),
        top=_top(results),
        states=_states(state_table(results)),
        slices=chart_html(
            *slice_charts(results), caption=_slices_caption(results), style="multiples"
        ),
        lines=chart_html(*parallel_charts(results), style="parallel"),
        levels=_levels(results),
        importance=_importance(results),
        dependence=_dependence(results),
        heat=chart_html(*heat_charts(results)),
        heated=_heated(results),
        correlation=formatting.number(results.attributes.get("rung_correlation"), 2, signed=True),
        correlated=not formatting.missing(results.attributes.get("rung_correlation")),
        budget=(results.sweep.get("ablation") or {}).get("tuning_budget"),
        search=results.sweep.get("search") or {},
        any=len(results.trials) > 0,
    )


def search_charts(results: StudyResults) -> list[Chart]:
    """The charts of the search, in the order of the page."""
    return [
        *history_charts(results),
        *slice_charts(results),
        *parallel_charts(results),
        *heat_charts(results),
    ]


def history_charts(results: StudyResults) -> list[Chart]:
    """The scores in order with the best so far; none with fewer than two."""
    history = search.history(results)
    if len(history) < 2:
        return []
    scale, sign = formatting.scale(results.objective), results.objective.sign
    new = history["best"] != history["best"].shift()
    room = max(POINTS // 2, POINTS - int(new.sum()))
    sample = search.rank_stratified_sample(history["value"].tolist(), sign, room)
    marked = new | history.index.isin(sample)
    settings = results.trials.set_index("number")
    points = history.assign(
        **{name: history[name] * scale.factor for name in ("value", "best", "low", "high")},
        shown=marked,
        hover=[
            _trial_hover(results, int(number), settings.loc[number].to_dict()) if mark else ""
            for number, mark in zip(history["number"], marked, strict=True)
        ],
    )
    floor, noise = noise_floor(results), ""
    if not formatting.missing(floor):
        noise = f"seed noise, \N{PLUS-MINUS SIGN} 1.96 \N{MULTIPLICATION SIGN} {scale.show(floor)}"
    limits = _score_limits(results, [*history["low"], *history["high"]])
    figure = charts.optimization_history(points, _score_title(results), limits, noise)
    sentences = _sample_sentences(results, history.loc[marked, "value"], "each new best")
    caption = f"Search trials in order, with the best so far as a line. {sentences}"
    return [Chart(figure, caption)]


def slice_charts(results: StudyResults) -> list[Chart]:
    """The scores by each parameter; none where nothing varies."""
    trials, dimensions, _ = _sample_trials(results, POINTS)
    if not dimensions:
        return []
    limits, title, rows = _score_limits(results), _score_title(results), _long(trials, dimensions)
    return [
        Chart(
            charts.slice_plot(rows[rows["parameter"] == dimension.name], dimension, limits),
            f"{title} by {dimension.name}",
        )
        for dimension in dimensions
    ]


def slices_chart(results: StudyResults) -> list[Chart]:
    """`slice_charts` as one chart, for where no page places them side by side."""
    trials, dimensions, _ = _sample_trials(results, POINTS)
    if not dimensions:
        return []
    figure = charts.slices(_long(trials, dimensions), dimensions, _score_limits(results))
    return [Chart(figure, _slices_caption(results))]


def _long(trials: pd.DataFrame, dimensions: Sequence[charts.Dimension]) -> pd.DataFrame:
    """The trials of a chart in long form: one row for each trial and parameter."""
    shared, names = ["number", "value", "best", "hover"], [item.name for item in dimensions]
    # As objects, so that levels of one parameter are not converted to another's type.
    trials = trials.astype(dict.fromkeys(names, object))
    return trials.melt(shared, names, var_name="parameter", value_name="level")


def _slices_caption(results: StudyResults) -> str:
    caption, title = _sample_trials(results, POINTS)[-1], _score_title(results)
    return f"{title[0].upper()}{title[1:]}, by parameter. {caption}" if caption else ""


def parallel_charts(results: StudyResults) -> list[Chart]:
    """The same trials as lines through all parameters; none where nothing varies."""
    trials, dimensions, which = _sample_trials(results, LINES)
    if not dimensions:
        return []
    low, high = limits = _score_limits(results)
    ticks = [(tick, f"{tick:.4g}") for tick in _round_ticks(low, high)]
    figure = charts.parallel_coordinates(trials, dimensions, "score", limits, ticks)
    caption = "One line a trial, through its parameters to its score."
    return [Chart(figure, f"{caption} {which}")]


def _round_ticks(low: float, high: float) -> list[float]:
    """About five round values between two ends."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 5, 10) if rough <= digit * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _sample_trials(
    results: StudyResults, limit: int
) -> tuple[pd.DataFrame, list[charts.Dimension], str]:
    """The trials of a chart, the parameters that vary, and which trials are drawn and how.

    The frame has `number`, `value` (in the unit that is shown), `best`, `hover`, and a column for
    each parameter by the name of its dimension. All are empty where nothing varies.
    """
    varied, rows = search.parameters(results), search.scored(results)
    if not varied:
        return pd.DataFrame(), [], ""
    scale, sign = formatting.scale(results.objective), results.objective.sign
    values = rows["value"].astype(float).tolist()
    best = search.best_few(values, sign)
    places = search.rank_stratified_sample(values, sign, limit)
    records = rows.to_dict("records")
    trials = pd.DataFrame(
        {
            "number": rows["number"].to_numpy(),
            "value": [value * scale.factor for value in values],
            **{_words(name): levels for name, levels in varied.items()},
        }
    )
    trials = trials.assign(best=trials.index.isin(best)).iloc[places]
    trials = trials.assign(
        hover=[_trial_hover(results, records[at]["number"], records[at]) for at in places]
    )
    dimensions = []
    for name, levels in varied.items():
        ordered = search.ordered(results, name, levels)
        texts = [_level_text(name)(level) for level in ordered]
        log = name in {"rank", search.RATE}
        dimensions.append(charts.Dimension(_words(name), ordered, texts, log))
    strong = f"the best {len(best)}" if len(best) > 1 else "the best"
    values_of_sample = pd.Series(values).iloc[places]
    return trials, dimensions, _sample_sentences(results, values_of_sample, strong)


def heat_charts(results: StudyResults) -> list[Chart]:
    """Mean scores by the two parameters that matter most; none where those are not known."""
    frame = search.score_grid(results)
    if frame.empty:
        return []
    sides = {side: _grid_dimension(results, frame, side) for side in ("first", "second")}
    # Texts stand side by side below a chart: there the parameter with fewer levels fits better.
    upright = len(sides["second"].levels) >= len(sides["first"].levels)
    vertical, horizontal = ("second", "first") if upright else ("first", "second")
    scale, sign = formatting.scale(results.objective), results.objective.sign
    means = [float(value) for value in frame["value"]]
    worst, best = search.outlier_fence(means, sign), max(means, key=lambda value: sign * value)
    spread = best - worst
    cells = pd.DataFrame(
        {
            "x": frame[f"{horizontal}_level"],
            "y": frame[f"{vertical}_level"],
            "depth": [max(0.0, (mean - worst) / spread) if spread else 1.0 for mean in means],
            "text": [scale.show(value) for value in means],
            "note": [formatting.count(trials) for trials in frame["trials"]],
            "hover": [
                f"{_words(row['first'])} {_level(row['first'], row['first_level'])}, "
                f"{_words(row['second'])} {_level(row['second'], row['second_level'])}\n"
                f"mean {scale.show(row['value'])} {scale.unit} of "
                f"{formatting.count(row['trials'])} trials"
                for row in frame.to_dict("records")
            ],
        }
    )
    cut = [value for value in means if sign * value < sign * worst]
    caption = (
        f"Mean score on validation, {scale.unit}, by {sides[vertical].name} and "
        f"{sides[horizontal].name}; below it the number of trials. The better the mean, the "
        "stronger the fill" + (f"; {scale.show(worst)} and worse are alike." if cut else ".")
    )
    return [Chart(charts.heatmap(cells, sides[horizontal], sides[vertical]), caption)]


def _grid_dimension(results: StudyResults, frame: pd.DataFrame, side: str) -> charts.Dimension:
    """One side of the heat map: `first` or `second`."""
    name = str(frame[side].iloc[0])
    levels = search.ordered(results, name, frame[f"{side}_level"])
    if name != search.RATE:
        return charts.Dimension(_words(name), levels, list(map(_level_text(name), levels)))
    ends = [levels[0]]
    while ends[-1] <= levels[-1]:
        ends.append(search.half_decade(ends[-1], 1))
    return charts.Dimension(_words(name), ends[:-1], list(map(_level_text(name), ends)))


def _score_title(results: StudyResults) -> str:
    return f"score on validation, {formatting.scale(results.objective).unit}"


def _score_limits(results: StudyResults, others: Sequence[float] = ()) -> tuple[float, float]:
    """Ends of the axis of scores, without those that are far off on the bad side."""
    values, sign = search.scored(results)["value"].astype(float).tolist(), results.objective.sign
    edge, scale = search.outlier_fence(values, sign), formatting.scale(results.objective)
    inside = [value for value in [*values, *others] if sign * value >= sign * edge]
    return charts.padded_limits([value * scale.factor for value in inside])


def _sample_sentences(results: StudyResults, values_drawn: pd.Series, strong: str) -> str:
    """What a chart of these scores draws strong, leaves out and puts on its edge."""
    values, sign = search.scored(results)["value"].astype(float).tolist(), results.objective.sign
    edge, sentences = search.outlier_fence(values, sign), [f"Strong: {strong}."]
    off = int((sign * values_drawn < sign * edge).sum())
    if off:
        limit = formatting.scale(results.objective).show(edge)
        beyond = f"{'below' if sign > 0 else 'above'} {limit}"
        sentences.append(f"On the edge: {formatting.count(off)} that scored {beyond}.")
    if len(values_drawn) < len(values):
        sentences.append(
            f"Drawn: {formatting.count(len(values_drawn))} of "
            f"{formatting.count(len(values))} trials, the best and an even sample of the others "
            "by rank."
        )
    return " ".join(sentences)


def _trial_hover(results: StudyResults, number: int, row: Record) -> str:
    scale = formatting.scale(results.objective)
    return (
        f"trial {formatting.count(number)}: {scale.show(row['value'])} {scale.unit}\n"
        f"{formatting.label(row, rate_too=True)}"
    )


def _level_text(name: str) -> Callable[[Any], str]:
    """What writes a parameter's levels."""
    return formatting.rate if name == search.RATE else formatting.short


def _words(name: str) -> str:
    """A parameter as people say it."""
    return name.replace("_", " ")


def _spread(results: StudyResults) -> str:
    """The noise floor with its unit; empty where it is not known."""
    floor, scale = noise_floor(results), formatting.scale(results.objective)
    return "" if formatting.missing(floor) else f"{scale.show(floor)} {scale.unit}"


def _levels(results: StudyResults) -> Markup:
    scale = formatting.scale(results.objective)
    return table(
        search.by_level(results),
        [
            Column("Parameter", lambda row: _words(row["parameter"]), numeric=False),
            Column("Level", lambda row: _level(row["parameter"], row["level"])),
            number_column("Trials", "trials", formatting.count),
            number_column("Median", "median", scale.show, scale.unit),
            number_column("Best", "best", scale.show, scale.unit),
        ],
        caption="Scores of the complete search trials at each level, where the sampler looked.",
    )


def _heated(results: StudyResults) -> Markup:
    frame, scale = search.score_grid(results), formatting.scale(results.objective)
    if frame.empty:
        return Markup("")
    names = str(frame["first"].iloc[0]), str(frame["second"].iloc[0])
    heads = [_words(name).capitalize() for name in names]
    return table(
        frame,
        [
            Column(heads[0], lambda row: _level(names[0], row["first_level"]), numeric=False),
            Column(heads[1], lambda row: _level(names[1], row["second_level"])),
            number_column("Trials", "trials", formatting.count),
            number_column("Mean", "value", scale.show, scale.unit),
        ],
        caption="Mean scores of the complete search trials in the cells of the two parameters.",
    )


def _level(name: str, level: Any) -> str:
    """A level; a learning rate's half decade by both ends."""
    if name != search.RATE:
        return formatting.short(level)
    return f"{formatting.rate(level)} to {formatting.rate(search.half_decade(level, 1))}"


def _top(results: StudyResults) -> Markup:
    scale = formatting.scale(results.objective)
    return table(
        top_table(results),
        [
            number_column("Trial", "number", formatting.count),
            text_column("Variant", "variant"),
            number_column("Rank", "rank"),
            number_column("Alpha", "alpha"),
            text_column("Targets", "target_modules"),
            number_column("Dropout", "dropout"),
            number_column("Learning rate", "learning_rate", formatting.column_rate),
            number_column("Score", "value", scale.show, scale.unit),
            number_column("Parameters", "parameters", formatting.count, "trainable"),
            number_column("Training", "train_seconds", formatting.number, "s"),
        ],
        caption="The best trials of the search, one seed each, on the validation split.",
    )


def _importance(results: StudyResults) -> Markup:
    return table(
        importance_table(results),
        [
            text_column("Factor", "factor"),
            number_column("PED-ANOVA", "ped_anova", _percent, "% of the sum"),
            number_column("fANOVA", "fanova", _percent, "% of the sum"),
            number_column("Forest", "forest", _percent, "% of the variance", _percents),
        ],
        caption="Hyperparameter importance in the region that the sampler explored (not an "
        "ablation).",
    )


def _percent(value: Any) -> str:
    return formatting.percent(value, 0)


def _percents(row: Record) -> str:
    return f"{_percent(row['low'])} to {_percent(row['high'])}"


def _dependence(results: StudyResults) -> Markup:
    scale = formatting.scale(results.objective)
    return table(
        dependence_table(results),
        [
            text_column("Factor", "factor"),
            Column("Level", lambda row: formatting.short(row["level"])),
            interval_column("Expected", scale),
        ],
        caption="Partial dependence: the score that a random forest on the search's trials "
        "expects at a level, all else as those trials have it; 95 % intervals over resampled "
        "trials.",
    )


def _states(frame: pd.DataFrame) -> Markup:
    columns = [text_column("Stage", "stage")]
    for name in frame.columns.drop("stage"):
        columns.append(number_column(name.capitalize(), name, formatting.count))
    return table(frame, columns, caption="How the trials of each stage ended.")


register(Section("search", "Search", 50, render, tables, search_charts))


_REASON = 300  # glyphs of a reason, such as what a library raised
_KINDS = {"complete": "plain", "failed": "worse", "pruned": "open"}


def trial_table(results: StudyResults) -> pd.DataFrame:
    """All trials in order, with their cost and a `reason` for those that are not complete."""
    cost = results.costs[["trial", "train_seconds", "score_seconds", "parameters", "peak_memory"]]
    frame = results.trials.merge(cost, left_on="number", right_on="trial", how="left")
    reasons = [
        _reason(error, copy)
        for error, copy in zip(frame["error"], frame["duplicate_of"], strict=True)
    ]
    return frame.drop(columns="trial").assign(reason=pd.Series(reasons, dtype=object))


def tables_trials(results: StudyResults) -> dict[str, pd.DataFrame]:
    """All trials."""
    return {"trials": trial_table(results)}


def render_trials(results: StudyResults) -> str:
    """The section's HTML."""
    frame = trial_table(results)
    return render_template(
        "trials.html.j2",
        stages=list(dict.fromkeys(str(stage) for stage in frame["stage"])),
        total=len(frame),
        body=_body(results, frame),
    )


def _reason(error: object, copy: object) -> str:
    parts = [] if formatting.missing(error) else [str(error)]
    if not formatting.missing(copy):
        parts.insert(0, f"repeats trial {formatting.count(copy)}, not run again")
    return "; ".join(parts)


def _body(results: StudyResults, frame: pd.DataFrame) -> Markup:
    scale = formatting.scale(results.objective)
    return table(
        frame,
        [
            number_column("Trial", "number", lambda value: str(int(value))),
            text_column("Stage", "stage"),
            Column("State", _state, numeric=False, value="state"),
            text_column("Variant", "variant"),
            number_column("Rank", "rank"),
            number_column("Alpha", "alpha"),
            text_column("Targets", "target_modules"),
            number_column("Drop\u00adout", "dropout"),
            number_column("Learning rate", "learning_rate", formatting.column_rate),
            number_column("Budget", "budget", lambda value: formatting.number(value, 2)),
            number_column("Seed", "seed"),
            number_column("Vali\u00addation", "value", scale.show),
            number_column("Test", "test", scale.show),
            number_column("Training", "train_seconds", formatting.number, "s"),
            Column(
                "Reason",
                lambda row: formatting.truncate(row["reason"], _REASON),
                numeric=False,
                value="reason",
                wide=True,
            ),
        ],
        caption=f"All trials; scores in {scale.unit}.",
        mark=lambda row: f"state-{row['state']}" if row["state"] in _KINDS else "",
        data=lambda row: {"stage": str(row["stage"])},
        sortable=True,
        name="all-trials",
    )


def _state(row: Record) -> Markup:
    word = str(row["state"])
    return badge(word, _KINDS.get(word, "plain"))


register(Section("trials", "Trials", 60, render_trials, tables_trials))
