"""The ablation: for each factor, what each of its levels does around the incumbent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd
from markupsafe import Markup

from harness.analysis.ablation import (
    FACTORS,
    ablation_table,
    base_score,
    crossed_scores,
    incumbent_level,
    interaction_table,
    pairs_of,
)
from harness.analysis.estimates import estimates
from harness.analysis.scores import configurations
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

TITLES = {
    "rank": "Rank",
    "alpha_ratio": "Alpha, as a multiple of the rank",
    "target_modules": "Target modules",
    "dropout": "Dropout",
    "variant": "Variant",
}


def factors(results: StudyResults) -> tuple[str, ...]:
    """The factors that the sweep asks for, then its pairs such as `rank@target_modules=qv`."""
    names = (results.sweep.get("ablation") or {}).get("factors") or FACTORS
    cells = results.attributes.get("cells") or ()
    planned = dict.fromkeys(str(cell["factor"]) for cell in cells)
    order = [name for name in FACTORS if name in names or name in planned]
    return tuple(dict.fromkeys([*order, *planned]))


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """One table for each factor and each planned pair, and the interaction of each pair."""
    interactions = {
        f"interaction: {pair}": interaction_table(results, pair) for pair in pairs_of(results)
    }
    return {name: ablation_table(results, name) for name in factors(results)} | interactions


def render(results: StudyResults) -> str:
    """The section's HTML."""
    parts = []
    pairs = pairs_of(results)
    for name in factors(results):
        frame = ablation_table(results, name)
        body = _level_table(results, name, frame)
        if name in pairs:
            body += chart_html(*crossed_charts(results, name))
            body += _interaction(results, name, interaction_table(results, name))
        parts.append({"name": name, "title": _title(name), "empty": frame.empty, "body": body})
    return render_template(
        "ablation.html.j2",
        parts=parts,
        any=any(not part["empty"] for part in parts),
        margin=results.objective.margin_text,
        incumbent=results.attributes.get("incumbent"),
        centred=bool((results.sweep.get("ablation") or {}).get("centre")),
        full=_full(results),
        base=_base(results),
        lower=results.objective.sign < 0,
        label=formatting.label,
    )


def _full(results: StudyResults) -> str:
    scores = estimates(results, "full", "validation")
    if scores.empty:
        return ""
    scale, row = formatting.scale(results.objective), scores.iloc[0]
    cost = configurations(results, "full").iloc[0]
    return (
        f"{scale.show(row['value'])} {scale.unit} ({scale.interval(row['low'], row['high'])}; "
        f"{formatting.count(cost['parameters'])} parameters, "
        f"{formatting.seconds(cost['train_seconds'])}"
        f", {formatting.memory(cost['peak_memory'])})"
    )


def _base(results: StudyResults) -> str:
    scale, value = formatting.scale(results.objective), base_score(results)
    return "" if formatting.missing(value) else f"{scale.show(value)} {scale.unit}"


def _title(name: str) -> str:
    factor, _, setting = name.partition("@")
    title = TITLES.get(factor, factor.replace("_", " "))
    return f"{title} at {setting.replace('_', ' ').replace('=', ' ')}" if setting else title


def _level_table(results: StudyResults, name: str, frame: pd.DataFrame) -> Markup:
    scale = formatting.scale(results.objective)
    body = table(
        frame,
        [
            Column("Level", _level, numeric=False),
            interval_column("Score", scale),
            number_column(
                "Difference",
                "difference",
                scale.gap,
                "to the reference",
                lambda row: formatting.known(
                    scale.gap_interval(row["difference_low"], row["difference_high"])
                ),
            ),
            number_column("p", "p_holm", formatting.p_value, "Holm"),
            Column("Tuned rate", _rate),
            number_column("Scale", "scale", formatting.short, "effective"),
            number_column("Parameters", "parameters", formatting.count, "trainable"),
            number_column("Training", "train_seconds", formatting.number, "s"),
            number_column("Memory", "peak_memory", _mebibytes, "MiB"),
            number_column("Seeds", "seeds", formatting.count),
            *_reference_columns(results, frame),
        ],
        caption=f"{_title(name)}: score on the validation split, each level at its own "
        "learning rate.",
        mark=lambda row: "near" if _true(row["near_best"]) else "",
    )
    return body + chart_html(*level_charts(results, name, frame))


def _interaction(results: StudyResults, name: str, frame: pd.DataFrame) -> Markup:
    if frame.empty:
        return Markup("")
    scale = formatting.scale(results.objective)
    factor, _, setting = name.partition("@")
    words = setting.replace("_", " ").replace("=", " ")
    return table(
        frame,
        [
            text_column("Level", "level"),
            number_column("Difference", "difference", scale.gap, "else"),
            number_column("Difference", "difference_held", scale.gap, f"at {words}"),
            number_column(
                "Interaction",
                "interaction",
                scale.gap,
                scale.unit,
                lambda row: formatting.known(scale.gap_interval(row["low"], row["high"])),
            ),
            number_column("p", "p_holm", formatting.p_value, "Holm"),
        ],
        caption=f"{TITLES.get(factor, factor)} by {words}: does what a level does depend on it? "
        f"Differences to {formatting.short(frame['reference'].iloc[0])}; the interaction is the "
        "second less the first.",
    )


def _reference_columns(results: StudyResults, frame: pd.DataFrame) -> list[Column]:
    """What the levels are held against, as far as the study has it."""
    scale = formatting.scale(results.objective)
    columns = [
        number_column(
            "Gain", "gain", scale.gap, f"{formatting.gained(results.objective)} the base"
        ),
        number_column("Of\u00a0full", "percent_of_full", formatting.number, "%"),
        number_column("Of\u00a0full", "percent_of_gain", formatting.number, "% of its gain"),
    ]
    known = [column for column in columns if frame[str(column.value)].notna().any()]
    if frame["proofs"].astype(bool).any():
        known.append(
            Column("Checked", lambda row: _words(row["proofs"]), numeric=False, wide=True)
        )
    return known


def _words(proofs: object) -> str:
    words = ", ".join(name.replace("_", " ") for name in str(proofs).split())
    return re.sub(r"\b[ab] ", lambda found: found.group().upper(), words)  # the matrices A and B


def _level(row: Record) -> Markup:
    mark = badge("reference", "reference") if _true(row["reference"]) else Markup("")
    return Markup("{}{}").format(formatting.short(row["level"]), mark)


def _rate(row: Record) -> Markup:
    mark = badge("edge", "open") if _true(row["rate_at_edge"]) else Markup("")
    return Markup("{}{}").format(formatting.column_rate(row["learning_rate"]), mark)


def _mebibytes(value: object) -> str:
    return formatting.count(None if formatting.missing(value) else float(str(value)) / 2**20)


def _true(value: object) -> bool:
    return not formatting.missing(value) and bool(value)


def ablation_charts(results: StudyResults) -> list[Chart]:
    """The charts of all factors and pairs."""
    charts: list[Chart] = []
    for name in factors(results):
        charts += level_charts(results, name, ablation_table(results, name))
        if name in pairs_of(results):
            charts += crossed_charts(results, name)
    return charts


def level_charts(results: StudyResults, name: str, frame: pd.DataFrame) -> list[Chart]:
    """The mean score of each level of a factor with its interval, none without a score.

    Args:
        results: the study.
        name: the factor, or a planned pair such as `rank@target_modules=qv`.
        frame: its ablation table.
    """
    rows = frame.dropna(subset=["value"]) if len(frame) else frame
    if rows.empty:
        return []
    objective = results.objective
    scale = formatting.scale(objective)
    records = rows.to_dict("records")
    values = rows["value"].astype(float)
    best = float(values.max() if objective.sign > 0 else values.min())
    limits = sorted((best, best - objective.sign * objective.margin))
    margin = f"within the margin of the {formatting.highest(objective)} mean"
    points = (rows[["value", "low", "high"]].astype(float) * scale.factor).assign(
        label=[formatting.short(level) for level in rows["level"]],
        style=[_style(row) for row in records],
        series=[_SERIES[_style(row)] for row in records],
        hover=[
            f"{formatting.short(row['level'])}: {formatting.with_interval(scale, row)}\n"
            f"learning rate {formatting.rate(row['learning_rate'])}, "
            f"{formatting.count(row['seeds'])} seeds"
            for row in records
        ],
    )
    figure = charts.intervals(
        points,
        f"score on validation, {scale.unit}",
        band=charts.Band(limits[0] * scale.factor, limits[1] * scale.factor, margin),
    )
    caption = f"{_title(name)}: mean score with its 95 % interval. Shaded: {margin}."
    return [Chart(figure, caption)]


def crossed_charts(results: StudyResults, pair: str) -> list[Chart]:
    """A planned pair as a heat map; none unless two levels were trained both ways.

    Args:
        results: the study.
        pair: such as `rank@target_modules=qv`.
    """
    frame = crossed_scores(results, pair).dropna(subset=["value"])
    both = frame.groupby("level", sort=False)["held"].nunique()
    if (both == 2).sum() < 2:
        return []
    objective, scale = results.objective, formatting.scale(results.objective)
    factor, _, setting = pair.partition("@")
    second, _, level = setting.partition("=")
    level_of_incumbent = incumbent_level(results, second)
    usual = "incumbent's" if level_of_incumbent is None else formatting.short(level_of_incumbent)
    levels = list(dict.fromkeys(frame["level"]))
    horizontal = charts.Dimension(TITLES.get(second, second), [False, True], [usual, level])
    vertical = charts.Dimension(
        TITLES.get(factor, factor), levels, list(map(formatting.short, levels))
    )
    merit = objective.sign * frame["value"].astype(float)
    spread = float(merit.max() - merit.min())
    cells = pd.DataFrame(
        {
            "x": frame["held"].astype(bool),
            "y": frame["level"],
            "depth": (merit - merit.min()) / spread if spread else 1.0,
            "text": frame["value"].map(scale.show),
            "note": [f"{formatting.count(seeds)} seeds" for seeds in frame["seeds"]],
            "hover": [
                f"{vertical.name} {formatting.short(row['level'])}, {horizontal.name.lower()} "
                f"{level if row['held'] else usual}: {scale.show(row['value'])} {scale.unit}"
                for row in frame.to_dict("records")
            ],
        }
    )
    caption = (
        f"Score on validation, {scale.unit}, by {vertical.name.lower()} and "
        f"{horizontal.name.lower()}; each cell at its own learning rate. The better, the stronger "
        "the fill."
    )
    return [Chart(charts.heatmap(cells, horizontal, vertical), caption)]


#: What the styles of levels mean.
_SERIES = {
    "reference": "reference",
    "strong": "no worse than the best by more than the margin",
    "plain": "not shown to be as good",
}


def _style(row: Record) -> str:
    if _true(row["reference"]):
        return "reference"
    return "strong" if _true(row["near_best"]) else "plain"


register(Section("ablation", "Ablation", 20, render, tables, ablation_charts))
