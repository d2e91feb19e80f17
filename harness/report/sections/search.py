"""The search: its history, its best trials, and whether stopping trials early was fair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd
from markupsafe import Markup

from harness.analysis import importance
from harness.report import display
from harness.report.axis import axis
from harness.report.figure import history
from harness.report.section import Section, register
from harness.report.table import Column, figures, table, text
from harness.report.templating import fill

if TYPE_CHECKING:
    from harness.results import StudyResults

TOP: Final = 10


def history_table(results: StudyResults) -> pd.DataFrame:
    """Complete search trials in order: `number`, `value`, `best` (the best up to there)."""
    rows = _complete(results)[["number", "value"]].astype({"value": float})
    best = rows["value"].cummax() if results.objective.sign > 0 else rows["value"].cummin()
    return rows.assign(best=best).reset_index(drop=True)


def top_table(results: StudyResults, limit: int = TOP) -> pd.DataFrame:
    """The best complete search trials, best first, with the parameters they train."""
    rows = _complete(results).merge(
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
    """History, best trials, states, importances and dependences."""
    return {
        "history": history_table(results),
        "top": top_table(results),
        "states": state_table(results),
        "importance": importance_table(results),
        "dependence": dependence_table(results),
    }


def render(results: StudyResults) -> str:
    """The section's HTML."""
    past, top, states = (tables(results)[name] for name in ("history", "top", "states"))
    return fill(
        "search.html.j2",
        plot=_plot(results, past),
        top=_top(results, top) if len(top) else Markup(""),
        states=_states(states) if len(states) else Markup(""),
        importance=_importance(results),
        dependence=_dependence(results),
        correlation=display.number(results.attributes.get("rung_correlation"), 2, signed=True),
        correlated=not display.missing(results.attributes.get("rung_correlation")),
        budget=(results.sweep.get("ablation") or {}).get("tuning_budget"),
        search=results.sweep.get("search") or {},
        any=len(results.trials) > 0,
    )


def _complete(results: StudyResults) -> pd.DataFrame:
    rows = results.trials
    chosen = rows[
        (rows["stage"] == "search")
        & (rows["state"] == "complete")
        & rows["duplicate_of"].isna()
        & rows["value"].notna()
    ]
    return chosen.sort_values("number", kind="stable")


def _plot(results: StudyResults, past: pd.DataFrame) -> Markup:
    if len(past) < 2:
        return Markup("")
    scale = display.scale(results.objective)
    points = past.rename(columns={"number": "x", "value": "y"})
    across = axis([float(one) for one in points["x"]], "trial", display.count)
    up = axis(list(points["y"]), f"score on validation, {scale.unit}", scale.tick)
    return history(
        points, across, up, title="Search trials in order, with the best so far as a line."
    )


def _top(results: StudyResults, frame: pd.DataFrame) -> Markup:
    scale = display.scale(results.objective)
    return table(
        frame,
        [
            figures("Trial", "number", display.count),
            text("Variant", "variant"),
            figures("Rank", "rank"),
            figures("Alpha", "alpha"),
            text("Targets", "target_modules"),
            figures("Dropout", "dropout"),
            figures("Learning rate", "learning_rate", display.column_rate),
            figures("Score", "value", scale.show, scale.unit),
            figures("Parameters", "parameters", display.count, "trainable"),
            figures("Training", "train_seconds", lambda value: display.number(value, 1), "s"),
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
            text("Factor", "factor"),
            figures("PED-ANOVA", "ped_anova", _share, "% of the sum"),
            figures("fANOVA", "fanova", _share, "% of the sum"),
            figures(
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
        display.MISSING if display.missing(value) else display.number(100 * float(str(value)), 0)
    )


def _dependence(results: StudyResults) -> Markup:
    frame, scale = dependence_table(results), display.scale(results.objective)
    if frame.empty:
        return Markup("")
    return table(
        frame,
        [
            text("Factor", "factor"),
            Column("Level", lambda row: display.short(row["level"])),
            figures(
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
    columns: list[Column] = [text("Stage", "stage")]
    columns += [
        figures(str(name).capitalize(), str(name), display.count)
        for name in frame.columns
        if name != "stage"
    ]
    return table(frame, columns, caption="How the trials of each stage ended.")


register(Section("search", "Search", 50, render, tables))
