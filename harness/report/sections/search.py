"""The search: its history, its best trials, and whether stopping trials early was fair.

All trials: what was run, how it ended and why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from markupsafe import Markup

from harness.analysis import importance, search
from harness.analysis.estimates import noise_floor
from harness.report import formatting, search_charts
from harness.report.section import (
    Column,
    Record,
    Section,
    badge,
    number_column,
    register,
    render_template,
    table,
    text_column,
)

if TYPE_CHECKING:
    from harness.results import StudyResults


TOP: Final = 10


def top_table(results: StudyResults, limit: int = TOP) -> pd.DataFrame:
    """The best complete search trials, best first, with the parameters they train."""
    rows = search.scored(results).merge(
        results.costs[["trial", "parameters", "train_seconds"]],
        left_on="number",
        right_on="trial",
        how="left",
    )
    rows = rows.sort_values(
        "value", ascending=results.objective.sign < 0, kind="stable", ignore_index=True
    )
    columns = ["number", "variant", "rank", "alpha", "dropout", "target_modules"]
    return rows[[*columns, "learning_rate", "value", "parameters", "train_seconds"]].head(limit)


def state_table(results: StudyResults) -> pd.DataFrame:
    """Trials of each stage by how they ended: one row a stage, one column a state."""
    counts = pd.crosstab(results.trials["stage"], results.trials["state"])
    known = ["search", "tune", "ablate", "full", "claim", "confirm"]
    states = ["complete", "pruned", "failed", "running", "waiting"]
    stages = [*known, *(str(name) for name in counts.index if name not in known)]
    return (
        counts.reindex(index=[name for name in stages if name in counts.index], columns=states)
        .fillna(0)
        .astype(int)
        .rename_axis("stage")
        .rename_axis(columns=None)
        .reset_index()
    )


def importance_table(results: StudyResults) -> pd.DataFrame:
    """How much the search's scores depend on each factor, in three ways side by side."""
    return _noted(results, "factors", importance.COLUMNS)


def dependence_table(results: StudyResults) -> pd.DataFrame:
    """The score a forest expects at each level, all else as the search's trials have it."""
    return _noted(results, "dependence", importance.DEPENDENCE)


def _noted(results: StudyResults, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
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
    top, states = top_table(results), state_table(results)
    return render_template(
        "search.html.j2",
        plot=search_charts.history(results),
        spread=_spread(results),
        top=_top(results, top) if len(top) else Markup(""),
        states=_states(states) if len(states) else Markup(""),
        slices=search_charts.slices(results),
        lines=search_charts.lines(results),
        levels=_levels(results),
        importance=_importance(results),
        dependence=_dependence(results),
        heat=search_charts.heat(results),
        heated=_heated(results),
        correlation=formatting.number(results.attributes.get("rung_correlation"), 2, signed=True),
        correlated=not formatting.missing(results.attributes.get("rung_correlation")),
        budget=(results.sweep.get("ablation") or {}).get("tuning_budget"),
        search=results.sweep.get("search") or {},
        any=len(results.trials) > 0,
    )


def _spread(results: StudyResults) -> str:
    """The noise floor with its unit; empty where it is not known."""
    floor, scale = noise_floor(results), formatting.scale(results.objective)
    return "" if formatting.missing(floor) else f"{scale.show(floor)} {scale.unit}"


def _levels(results: StudyResults) -> Markup:
    frame, scale = search.by_level(results), formatting.scale(results.objective)
    if frame.empty:
        return Markup("")
    return table(
        frame,
        [
            Column("Parameter", lambda row: search_charts.words(row["parameter"]), numeric=False),
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
    return table(
        frame,
        [
            Column(
                search_charts.words(names[0]).capitalize(),
                lambda row: _level(names[0], row["first_level"]),
                numeric=False,
            ),
            Column(
                search_charts.words(names[1]).capitalize(),
                lambda row: _level(names[1], row["second_level"]),
            ),
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


def _top(results: StudyResults, frame: pd.DataFrame) -> Markup:
    scale = formatting.scale(results.objective)
    return table(
        frame,
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
            number_column(
                "Training", "train_seconds", lambda value: formatting.number(value, 1), "s"
            ),
        ],
        caption="The best trials of the search, one seed each, on the validation split.",
    )


def _importance(results: StudyResults) -> Markup:
    frame = importance_table(results)
    if frame.empty:
        return Markup("")
    return table(
        frame,
        [
            text_column("Factor", "factor"),
            number_column("PED-ANOVA", "ped_anova", _share, "% of the sum"),
            number_column("fANOVA", "fanova", _share, "% of the sum"),
            number_column(
                "Forest",
                "forest",
                _share,
                "% of the variance",
                lambda row: f"{_share(row['low'])} to {_share(row['high'])}",
            ),
        ],
        caption="What the search's scores depend on, where the sampler looked: no ablation.",
    )


def _share(value: object) -> str:
    return (
        formatting.MISSING
        if formatting.missing(value)
        else formatting.number(100 * float(str(value)), 0)
    )


def _dependence(results: StudyResults) -> Markup:
    frame, scale = dependence_table(results), formatting.scale(results.objective)
    if frame.empty:
        return Markup("")
    return table(
        frame,
        [
            text_column("Factor", "factor"),
            Column("Level", lambda row: formatting.short(row["level"])),
            number_column(
                "Expected",
                "value",
                scale.show,
                scale.unit,
                lambda row: scale.interval(row["low"], row["high"]),
            ),
        ],
        caption="Partial dependence: the score that a random forest on the search's trials "
        "expects at a level, all else as those trials have it; 95 % intervals over resampled "
        "trials.",
    )


def _states(frame: pd.DataFrame) -> Markup:
    columns: list[Column] = [text_column("Stage", "stage")]
    columns += [
        number_column(str(name).capitalize(), str(name), formatting.count)
        for name in frame.columns
        if name != "stage"
    ]
    return table(frame, columns, caption="How the trials of each stage ended.")


register(Section("search", "Search", 50, render, tables))


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
        stages=list(dict.fromkeys(str(one) for one in frame["stage"])),
        total=len(frame),
        body=_body(results, frame) if len(frame) else Markup(""),
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
            number_column(
                "Training", "train_seconds", lambda value: formatting.number(value, 1), "s"
            ),
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
