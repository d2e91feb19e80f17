"""The verdict: what to use, how sure that is, what it costs, what this study does not support."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.analysis.estimates import estimates
from harness.analysis.explanation import explain
from harness.analysis.formatting import COST_NAMES
from harness.analysis.metric_tables import baseline_table
from harness.analysis.recommendation import recommend
from harness.analysis.scores import base_model_score, configurations, shots
from harness.analysis.wording import baselines_sentence, more_seeds
from harness.report import charts, formatting
from harness.report.section import (
    Chart,
    Column,
    Record,
    Section,
    badge,
    chart_html,
    configuration_column,
    number_column,
    register,
    render_template,
    table,
)
from harness.report.snippets import add_seeds, rerun_command, snippet_for

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

    from harness.analysis.estimates import Interval
    from harness.analysis.formatting import MetricFormat
    from harness.analysis.recommendation import Recommendation
    from harness.results import StudyResults

#: Stated plainly, outcome by outcome.
KICKERS = {
    "decided": "Use this",
    "tie": "Use this: all finalists are within the margin of each other, and it is the cheapest",
    "undecided": "Not decided",
    "none": "No recommendation",
}
_VERDICTS = {"pick": "pick", "best": "best", "worse": "worse", "undecided": "open"}


def gain_table(results: StudyResults, score: Interval | None) -> pd.DataFrame:
    """Gain of the pick over each baseline on the test split: `name`, `baseline`, `gain`.

    A gain is positive where the pick is better, whichever direction the objective has.
    """
    frame = baseline_table(results).rename(columns={"value": "baseline"})
    value = float("nan") if score is None else float(score.value)
    gain = results.objective.sign * (value - frame["baseline"].astype(float))
    return frame.assign(gain=gain)[["name", "baseline", "gain"]]


def share_of_full(results: StudyResults, value: float) -> dict[str, str] | None:
    """A test score as a share of full fine-tuning's.

    Where less is better it is the share of its gain over the base model.

    Args:
        results: the study.
        value: the score.

    Returns:
        Name, value and note of a fact; None where full fine-tuning was not scored on test.
    """
    full = estimates(results, "full", "test")
    if full.empty:
        return None
    full_score, seeds = float(full["value"].iloc[0]), int(full["seeds"].iloc[0])
    scale = formatting.scale(results.objective)
    base = base_model_score(results, "test") if results.objective.sign < 0 else 0.0
    if not math.isfinite(base) or full_score == base:
        return None
    plural = "s" if seeds != 1 else ""
    return {
        "name": "Share of full fine-tuning" + ("" if results.objective.sign > 0 else "'s gain"),
        "value": f"{formatting.number(100 * (value - base) / (full_score - base), 1)} %",
        "note": f"full fine-tuning: {scale.show(full_score)} on test, {seeds} seed{plural}",
    }


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """The finalists compared, and the gain over what needs no adapter."""
    advice = recommend(results)
    return {"finalists": advice.comparison, "gain": gain_table(results, advice.score)}


def render(results: StudyResults) -> str:
    """The section's HTML."""
    advice = recommend(results)
    scale = formatting.scale(results.objective)
    pick = advice.pick
    return render_template(
        "verdict.html.j2",
        kicker=_kicker(results, advice),
        headline=_headline(results, advice),
        pick=pick,
        score=advice.score,
        scale=scale,
        advice=advice,
        best=formatting.label(advice.best or {}),
        facts=_facts(results, advice),
        steps=_next_steps(results, advice),
        dropped=[str(name) for name in results.attributes.get("dropped") or ()],
        notes=_notes(results),
        pending=int(results.trials["state"].isin(["running", "waiting"]).sum()),
        comparison=_comparison(results, advice),
        chain=explain(results),
        reached="" if pick is not None else baselines_sentence(results),
        snippet="" if pick is None else snippet_for(results, pick),
        command=rerun_command(results),
        margin=results.objective.margin_text,
        cost=COST_NAMES[advice.cost],
        lower=results.objective.sign < 0,
    )


def _notes(results: StudyResults) -> list[str]:
    """On the data: of its rows, then of what became of them as the model's tokens."""
    rows, tokens = results.provenance.get("task_notes"), results.attributes.get("token_notes")
    return [str(note) for note in (*(rows or ()), *(tokens or ()))]


def _kicker(results: StudyResults, advice: Recommendation) -> str:
    if advice.pick is not None:
        gains = gain_table(results, advice.score)
        better = gains[gains["name"].map(shots).isna() & (gains["gain"] <= 0)]
        if better.empty:
            return KICKERS[advice.outcome]
        least = str(better.sort_values("gain").iloc[0]["name"])
        return f"The best here, and no better than the {formatting.baseline_label(least)}"
    finished = int((results.trials["state"] == "complete").sum())
    if not len(results.trials):
        return "Nothing to report"
    if _planned(results) and advice.best is not None:
        best = formatting.highest(results.objective).capitalize()
        return f"{KICKERS['none']}: nothing was confirmed, by plan. {best} on validation:"
    return "Not enough evidence" if finished <= 1 else KICKERS[advice.outcome]


def _planned(results: StudyResults) -> bool:
    """Whether the sweep asks for an ablation alone."""
    limits = [
        (results.sweep.get(section) or {}).get(key)
        for section, key in (("search", "trials"), ("confirmation", "max_configurations"))
    ]
    return limits == [0, 0]


def _headline(results: StudyResults, advice: Recommendation) -> str:
    if advice.pick is not None:
        return formatting.label(advice.pick)
    if _planned(results) and advice.best is not None:
        return formatting.label(advice.best)
    if not len(results.trials):
        return "No trial yet"
    complete = int((results.trials["state"] == "complete").sum())
    if complete == 0:
        return "No trial has finished yet"
    one = "One trial is not enough evidence"
    return one if complete == 1 else "No configuration stands out yet"


def _next_steps(results: StudyResults, advice: Recommendation) -> list[str]:
    steps: list[str] = []
    if advice.outcome in {"decided", "tie"}:
        return steps
    if _planned(results):
        steps.append(
            "For a pick on fresh seeds and the test split run the sweep again with --study NAME "
            "--set confirmation.max_configurations=4."
        )
    elif not (results.trials["stage"] == "confirm").any():
        after = "The command below resumes the study."
        if results.attributes.get("dropped"):
            after = (
                "What was left out stays left out of this study, because its plan does not change "
                "after results are seen. Start another study with --study NAME and more --minutes."
            )
        steps.append(f"Nothing was confirmed on fresh seeds and the test split. {after}")
    if advice.more_seeds:
        steps.append(
            f"With the seed noise observed here, about {more_seeds(advice.more_seeds)} for each "
            f"finalist would decide it.{_more_seeds_command(results, advice.more_seeds)}"
        )
    return steps


def _more_seeds_command(results: StudyResults, count: int) -> str:
    command = add_seeds(results, count)
    return (
        ""
        if command is None
        else f" Seeds beyond the planned looks make the verdict exploratory: {command}"
    )


def _facts(results: StudyResults, advice: Recommendation) -> list[dict[str, str]]:
    scale = formatting.scale(results.objective)
    over = f"{advice.seeds} seeds" if advice.seeds else "the ablation's seeds, on validation"
    note = f"{scale.unit}, sd of one configuration over {over}"
    noise = {"name": "Seed noise", "value": scale.show(advice.seed_sd), "note": note}
    if advice.pick is None or advice.score is None:
        return [noise] if advice.seed_sd is not None else []
    below = " below it" if results.objective.sign < 0 else ""
    facts = [
        {
            "name": f"Gain over the {formatting.baseline_label(str(row['name']))}",
            "value": scale.gap(row["gain"]),
            "note": f"{scale.unit}{below}; it reaches {scale.show(row['baseline'])}",
        }
        for row in _with_most_shots(gain_table(results, advice.score)).to_dict("records")
    ]
    frame = configurations(results, "confirm")
    rows = frame[frame["key"] == advice.pick["key"]].to_dict("records")
    share = share_of_full(results, advice.score.value)
    return [*facts, *([share] if share else ()), noise, *(_cost(rows[0]) if rows else ())]


def _with_most_shots(gains: pd.DataFrame) -> pd.DataFrame:
    # The first screen has the base model only with the most worked examples.
    count = gains["name"].map(shots).astype(float)
    return gains[count.isna() | (count == count.max())]


def _cost(row: Mapping[Any, Any]) -> list[dict[str, str]]:
    parameters, seconds = formatting.count(row["parameters"]), row["train_seconds"]
    facts = [
        ("Trainable parameters", parameters, "in the adapter"),
        ("Training time", formatting.seconds(seconds), "median over seeds, without scoring"),
        ("Peak memory", formatting.memory(row["peak_memory"]), "of the training process"),
    ]
    return [dict(zip(("name", "value", "note"), fact, strict=True)) for fact in facts]


def _comparison(results: StudyResults, advice: Recommendation) -> Markup:
    frame = advice.comparison
    scale = formatting.scale(results.objective)
    body = table(
        frame,
        [
            configuration_column(),
            Column("Verdict", _verdict, numeric=False),
            number_column("Score", "value", scale.show, scale.unit),
            Column("95 % interval", lambda row: scale.interval(row["low"], row["high"])),
            number_column("Difference", "difference_to_best", scale.gap, "to the best other"),
            Column(
                "Simultaneous bounds", lambda row: scale.gap_interval(row["lower"], row["upper"])
            ),
            number_column("Parameters", "parameters", formatting.count),
            number_column("Seeds", "seeds", formatting.count),
        ],
        caption="The finalists on the test split, with fresh seeds.",
        mark=lambda row: "chosen" if row["verdict"] == "pick" else "",
    )
    return body + chart_html(*finalist_charts(results))


def _verdict(row: Record) -> Markup:
    word = str(row["verdict"])
    return badge(word, _VERDICTS.get(word, "plain"))


def finalist_charts(results: StudyResults) -> list[Chart]:
    """How far each finalist is from the best of the others; none before two are compared."""
    advice, scale = recommend(results), formatting.scale(results.objective)
    frame = advice.comparison
    frame = frame.dropna(subset=["difference_to_best"]) if len(frame) else frame
    if frame.empty:
        return []
    picked = [word == "pick" for word in frame["verdict"]]
    bounds = {"difference_to_best": "value", "lower": "low", "upper": "high"}
    points = (frame[list(bounds)].astype(float) * scale.factor).rename(columns=bounds)
    points = points.assign(
        label=[formatting.label(row) for row in frame.to_dict("records")],
        style=["strong" if pick else "plain" for pick in picked],
        series=["the pick" if pick else "other finalists" for pick in picked],
        hover=[_finalist_hover(row, scale) for row in frame.to_dict("records")],
    )
    margin = results.objective.margin * scale.factor
    meaning = f"within the margin of {results.objective.margin_text}"
    figure = charts.intervals(
        points,
        f"difference to the best other, {scale.unit}",
        band=charts.Band(-margin, margin, meaning),
        line=0.0,
    )
    caption = (
        "Difference of each finalist to the best of the others, with simultaneous bounds. "
        f"Shaded: {meaning}."
    )
    return [Chart(figure, caption)]


def _finalist_hover(row: Record, scale: MetricFormat) -> str:
    bounds = scale.gap_interval(row["lower"], row["upper"])
    score = formatting.with_interval(scale, row)
    return (
        f"{formatting.label(row, rate_too=True)}\n"
        f"difference {scale.gap(row['difference_to_best'])} ({bounds}) {scale.unit}\n"
        f"score {score}, {formatting.count(row['seeds'])} seeds"
    )


register(Section("verdict", "Verdict", 10, render, tables, finalist_charts))
