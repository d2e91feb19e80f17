"""Trade-offs: quality against parameters, memory and seconds, each with its front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup

from harness.analysis.estimates import estimates
from harness.analysis.pareto import (
    front_probabilities,
    nondominated,
    objective_directions,
    search_table,
)
from harness.analysis.scores import configurations, score_array
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

if TYPE_CHECKING:
    from harness.analysis.formatting import MetricFormat
    from harness.results import StudyResults

#: Stage, split and heading of each view.
VIEWS = (
    ("confirm", "test", "Finalists, on the test split"),
    ("ablate", "validation", "Ablation, on the validation split"),
)


class Price(NamedTuple):
    """A cost that quality is shown against.

    Attributes:
        cost: one of `harness.costs.COSTS`.
        title: of its axis, with its unit.
        front: column that says whether a row is on its front.
        unit: how much of the cost is 1 on the axis.
        log: whether its axis is logarithmic.
    """

    cost: str
    title: str
    front: str
    unit: float = 1.0
    log: bool = False

    @property
    def probability(self) -> str:
        """Column that says in which share of the bootstrap draws a row is on the front."""
        return f"{self.front}_probability"


PRICES = (
    Price("parameters", "trainable parameters", "front", log=True),
    Price("peak_memory", "peak memory in training, MiB", "memory_front", unit=2.0**20),
    Price("train_seconds", "training seconds", "seconds_front"),
)
COLUMNS = (
    *("key", "variant", "rank", "alpha", "dropout", "target_modules", "learning_rate"),
    *("parameters", "train_seconds", "peak_memory", "seeds", "value", "low", "high"),
    *(name for price in PRICES for name in (price.front, price.probability)),
)
#: How the costs of a search's front are written.
_COST_FORMATS = {
    "parameters": formatting.count,
    "train_seconds": formatting.number,
    "peak_memory": formatting.memory,
    "inference_memory": formatting.memory,
}


def quality_table(results: StudyResults, stage: str, split: str) -> pd.DataFrame:
    """Quality and cost of each configuration of a stage, smallest first.

    Args:
        results: the study.
        stage: `confirm` or `ablate`.
        split: the split its trials were scored on.

    Returns:
        `COLUMNS`; `front` says that no configuration with as few parameters scores higher,
        `front_probability` how sure that is; the same for memory and seconds.
    """
    done = results.trials[
        (results.trials["stage"] == stage) & (results.trials["state"] == "complete")
    ]
    if done.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    scores = estimates(results, stage, split)[["key", "value", "low", "high"]]
    frame = configurations(results, stage).merge(scores, on="key", how="inner")
    frame = frame.sort_values(["parameters", "key"], kind="stable", ignore_index=True)
    merit = results.objective.sign * frame["value"].to_numpy(dtype=float)
    cube = score_array(results, stage, split)
    order = [cube.keys.index(key) for key in frame["key"]]
    for price in PRICES:
        amounts = frame[price.cost].to_numpy(dtype=float)
        known = np.isfinite(amounts)
        front = np.zeros(len(frame), dtype=bool)
        front[known] = nondominated(np.column_stack([amounts, -merit])[known])
        costs = frame.set_index("key")[price.cost].reindex(list(cube.keys)).to_numpy(dtype=float)
        sure = front_probabilities(cube, results.objective, costs)[order]
        frame = frame.assign(**{price.front: front, price.probability: sure})
    return frame[list(COLUMNS)]


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """Quality against cost, stage by stage; after a search for several objectives its front."""
    tables = {stage: quality_table(results, stage, split) for stage, split, _ in VIEWS}
    several = search_table(results)
    return tables if several.empty else {**tables, "search_front": several}


def render(results: StudyResults) -> str:
    """The section's HTML."""
    views = []
    for stage, split, heading in VIEWS:
        frame = quality_table(results, stage, split)
        if not frame.empty:
            views.append({"heading": heading, "body": _view(results, frame, split, heading)})
    return render_template(
        "tradeoffs.html.j2",
        views=views,
        higher=results.objective.sign > 0,
        several=_several(results),
        objectives=", ".join(objective_directions(results)).replace("_", " "),
    )


def _view(results: StudyResults, frame: pd.DataFrame, split: str, heading: str) -> Markup:
    scale = formatting.scale(results.objective)
    first, *others = (
        chart_html(*price_charts(results, frame, split, heading, price)) for price in PRICES
    )
    sure = {price.cost: price.probability for price in PRICES}
    body = table(
        frame,
        [
            Column("Configuration", _configuration, numeric=False),
            number_column("Score", "value", scale.show, scale.unit),
            Column("95 % interval", lambda row: scale.interval(row["low"], row["high"])),
            number_column("Parameters", "parameters", formatting.count, "trainable"),
            number_column("on its front", sure["parameters"], _percent, "% of draws"),
            number_column("Memory", "peak_memory", formatting.memory),
            number_column("on its front", sure["peak_memory"], _percent, "% of draws"),
            number_column("Training", "train_seconds", formatting.number, "s"),
            number_column("on its front", sure["train_seconds"], _percent, "% of draws"),
            number_column("Seeds", "seeds", formatting.count),
        ],
        caption=f"{heading}, smallest first.",
    )
    return Markup(
        "{}<details><summary>Against memory and seconds</summary>{}</details>"
        "<details><summary>The numbers</summary>{}</details>"
    ).format(first, Markup("").join(others), body)


def _configuration(row: Record) -> Markup:
    mark = badge("front", "reference") if row["front"] else ""
    return Markup("{}{}").format(formatting.label(row, rate_too=True), mark)


def tradeoff_charts(results: StudyResults) -> list[Chart]:
    """The charts of all views and costs."""
    return [
        chart
        for stage, split, heading in VIEWS
        for frame in [quality_table(results, stage, split)]
        for price in PRICES
        for chart in price_charts(results, frame, split, heading, price)
    ]


def price_charts(
    results: StudyResults, frame: pd.DataFrame, split: str, heading: str, price: Price
) -> list[Chart]:
    """Quality against one cost; none where no configuration has both.

    Args:
        results: the study.
        frame: its `quality_table` of a stage.
        split: the split that its scores are on.
        heading: of the view.
        price: the cost.
    """
    scale = formatting.scale(results.objective)
    frame = frame.dropna(subset=["value", price.cost])
    frame = frame[frame[price.cost].astype(float) > 0]
    if frame.empty:
        return []
    records = frame.to_dict("records")
    points = (frame[["value", "low", "high"]].astype(float) * scale.factor).assign(
        x=frame[price.cost].astype(float) / price.unit,
        y=lambda scores: scores["value"],
        label=[f"r={formatting.short(row['rank'])} {row['target_modules']}" for row in records],
        front=frame[price.front].astype(bool),
        hover=[_quality_hover(row, scale, price) for row in records],
    )
    title = f"score on {split}, {scale.unit}"
    figure = charts.pareto(points, price.title, title, log=price.log)
    return [Chart(figure, f"{heading}: score against {price.title.partition(',')[0]}.")]


def _quality_hover(row: Record, scale: MetricFormat, price: Price) -> str:
    lines = [
        formatting.label(row, rate_too=True),
        formatting.with_interval(scale, row),
        f"{formatting.count(row['parameters'])} parameters, "
        f"{formatting.memory(row['peak_memory'])}, {formatting.seconds(row['train_seconds'])}",
    ]
    if not formatting.missing(row[price.probability]):
        lines.append(f"on the front in {_percent(row[price.probability])} % of draws")
    return "\n".join(lines)


def _several(results: StudyResults) -> Markup | None:
    """The front of a search for several objectives; None after any other."""
    trials = search_table(results)
    if trials.empty:
        return None
    scale = formatting.scale(results.objective)
    front = trials[trials["front"].astype(bool)]
    columns = [
        configuration_column(),
        number_column("Score", "value", scale.show, scale.unit),
    ]
    for name in objective_directions(results):
        show = _COST_FORMATS.get(name, lambda value: formatting.number(value, 4))
        columns.append(number_column(name.replace("_", " "), name, show))
    columns.append(number_column("Trial", "number", formatting.count))
    count = f"{len(front)} of {len(trials)} search trials"
    by = next(iter(objective_directions(results)))
    return table(front, columns, caption=f"{count}, by {by}.")


def _percent(value: Any) -> str:
    return formatting.percent(value, 0)


register(Section("tradeoffs", "Trade-offs", 40, render, tables, tradeoff_charts))
