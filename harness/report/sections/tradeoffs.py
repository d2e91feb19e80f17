"""Trade-offs: quality against trainable parameters, with the front of those worth their size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from markupsafe import Markup

from harness.analysis.comparison import estimates
from harness.analysis.front import front_probabilities
from harness.analysis.scores import configurations, panel
from harness.report import display
from harness.report.axis import axis
from harness.report.figure import scatter
from harness.report.section import Section, register
from harness.report.table import Column, figures, table, tag
from harness.report.templating import fill

if TYPE_CHECKING:
    from harness.results import StudyResults

#: Stage, split and heading of each view.
VIEWS = (
    ("confirm", "test", "Finalists, on the test split"),
    ("ablate", "validation", "Ablation, on the validation split"),
)
COLUMNS = (
    "key",
    "variant",
    "rank",
    "alpha",
    "dropout",
    "target_modules",
    "learning_rate",
    "parameters",
    "train_seconds",
    "peak_memory",
    "seeds",
    "value",
    "low",
    "high",
    "front",
    "front_probability",
)


def quality_table(results: StudyResults, stage: str, split: str) -> pd.DataFrame:
    """Quality and cost of each configuration of a stage, smallest first.

    Args:
        results: the study.
        stage: `confirm` or `ablate`.
        split: the split its trials were scored on.

    Returns:
        `COLUMNS`; `front` says that no configuration with as few parameters scores higher,
        `front_probability` how sure that is.
    """
    done = results.trials[
        (results.trials["stage"] == stage) & (results.trials["state"] == "complete")
    ]
    if done.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    scores = estimates(results, stage, split)[["key", "value", "low", "high"]]
    frame = configurations(results, stage).merge(scores, on="key", how="inner")
    frame = frame.sort_values(["parameters", "key"], kind="stable", ignore_index=True)
    merit = results.objective.sign * frame["value"].astype(float)
    ahead = [
        not bool(
            (
                ((frame["parameters"] < size) & (merit >= value))
                | ((frame["parameters"] == size) & (merit > value))
            ).any()
        )
        for size, value in zip(frame["parameters"], merit, strict=True)
    ]
    cube = panel(results, stage, split)
    place = [cube.keys.index(key) for key in frame["key"]]
    costs = frame.set_index("key")["parameters"].reindex(list(cube.keys)).to_numpy(dtype=float)
    sure = front_probabilities(cube, results.objective, costs)[place]
    return frame.assign(front=ahead, front_probability=sure)[list(COLUMNS)]


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """Quality against size, stage by stage."""
    return {stage: quality_table(results, stage, split) for stage, split, _ in VIEWS}


def render(results: StudyResults) -> str:
    """The section's HTML."""
    views = []
    for stage, split, heading in VIEWS:
        frame = quality_table(results, stage, split)
        if not frame.empty:
            views.append({"heading": heading, "body": _view(results, frame, split, heading)})
    return fill("tradeoffs.html.j2", views=views, higher=results.objective.sign > 0)


def _view(results: StudyResults, frame: pd.DataFrame, split: str, heading: str) -> Markup:
    scale = display.scale(results.objective)
    shown = table(
        frame,
        [
            Column(
                "Configuration",
                lambda row: Markup("{}{}").format(
                    display.label(row, rate_too=True),
                    tag("front", "reference") if row["front"] else "",
                ),
                numeric=False,
            ),
            figures("Parameters", "parameters", display.count, "trainable"),
            figures("Score", "value", scale.show, scale.unit),
            Column("95 % interval", lambda row: scale.interval(row["low"], row["high"])),
            figures("On the front", "front_probability", _percent, "% of draws"),
            figures("Training", "train_seconds", lambda value: display.number(value, 1), "s"),
            figures("Memory", "peak_memory", display.memory),
            figures("Seeds", "seeds", display.count),
        ],
        caption=f"{heading}, smallest first.",
    )
    return _plot(results, frame, split, heading) + Markup(
        "<details><summary>The numbers</summary>{}</details>"
    ).format(shown)


def _plot(results: StudyResults, frame: pd.DataFrame, split: str, heading: str) -> Markup:
    scale = display.scale(results.objective)
    frame = frame.dropna(subset=["value", "parameters"])
    frame = frame[frame["parameters"] > 0]
    if frame.empty:
        return Markup("")
    points = pd.DataFrame(
        {
            "x": frame["parameters"].astype(float),
            "y": frame["value"].astype(float),
            "low": frame["low"].astype(float),
            "high": frame["high"].astype(float),
            "label": [_short(row) if row["front"] else "" for row in frame.to_dict("records")],
            "kind": ["strong" if front else "faint" for front in frame["front"]],
            "front": frame["front"],
        }
    )
    across = axis(list(points["x"]), "trainable parameters", _size, log=True)
    up = axis(
        [*points["y"], *points["low"], *points["high"]],
        f"score on {split}, {scale.unit}",
        scale.tick,
    )
    return scatter(points, across, up, title=f"{heading}: score against trainable parameters.")


def _percent(value: object) -> str:
    return display.MISSING if display.missing(value) else f"{100 * float(str(value)):.0f}"


def _short(row: dict[object, object]) -> str:
    return f"r={display.short(row['rank'])} {row['target_modules']}"


def _size(value: float) -> str:
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:g}{letter}"
    return f"{value:g}"


register(Section("tradeoffs", "Trade-offs", 40, render, tables))
