"""The charts of a report for notebooks and scripts: each function turns a study into a Figure.

    import harness

    results = harness.read_study("my_study")
    harness.plots.plot_ablation(results, "rank").show()

The study is what `harness.read_study` gives. The figures are those of the page, with the same
numbers. A study that does not have what a chart needs is refused with a `UserError` of one line
that says what is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plotly.graph_objects import Figure

    from harness.report.section import Chart
    from harness.results import StudyResults

__all__ = [
    "plot_ablation",
    "plot_classes",
    "plot_errors",
    "plot_finalists",
    "plot_history",
    "plot_learning_curves",
    "plot_parallel",
    "plot_rank",
    "plot_slices",
    "plot_tradeoff",
]


def plot_ablation(results: StudyResults, factor: str) -> Figure:
    """The mean score of each level of a factor with its 95 % interval, on the validation split.

    Args:
        results: the study.
        factor: such as `rank` or `target_modules`, or a pair such as `rank@target_modules=qv`.

    Returns:
        The levels below each other, with the margin below the best mean shaded.

    Raises:
        UserError: the study does not ablate this factor, or no level was trained on fresh seeds.
    """
    from harness.report.sections import ablation

    tables = ablation.tables(results)
    factors = ablation.factors(results)
    if factor not in factors:
        raise UserError(f"unknown factor '{factor}': {did_you_mean(factor, factors)}")
    charts = ablation.level_charts(results, factor, tables[factor])
    return _first(
        charts, f"{results.name}: no level of '{factor}' has been trained on fresh seeds yet"
    )


def plot_rank(results: StudyResults) -> Figure:
    """Score against rank with 95 % intervals, on the validation split.

    A further line for each planned pair of the rank with another factor's level, such as rank at
    target modules q and v.

    Raises:
        UserError: fewer than two ranks were trained on fresh seeds.
    """
    import pandas as pd

    from harness.report import charts, formatting
    from harness.report.sections import ablation

    scale = formatting.scale(results.objective)
    parts = []
    for name, table in ablation.tables(results).items():
        if name.partition("@")[0] != "rank" or not len(table):
            continue
        rows = table.dropna(subset=["value"])
        setting = name.partition("@")[2].replace("_", " ").replace("=", " ")
        scores = rows[["value", "low", "high"]].astype(float) * scale.factor
        parts.append(
            scores.assign(
                series=f"at {setting}" if setting else "else as the incumbent",
                level=rows["level"],
                hover=[
                    f"rank {formatting.short(row['level'])}: "
                    f"{formatting.with_interval(scale, row)}"
                    for row in rows.to_dict("records")
                ],
            )
        )
    points = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"level": []})
    levels = sorted(points["level"].unique())
    if len(levels) < 2:
        raise UserError(f"{results.name}: no two ranks have been trained on fresh seeds yet")
    ranks = charts.Dimension("rank", levels, [formatting.short(level) for level in levels])
    figure = charts.level_curve(points, ranks, f"score on validation, {scale.unit}")
    return charts.with_caption(figure, "Mean score by rank with its 95 % interval.")


def plot_tradeoff(results: StudyResults, cost: str = "parameters") -> Figure:
    """Score against a cost; what nothing as cheap or cheaper beats is joined by steps.

    Args:
        results: the study.
        cost: `parameters` (trainable ones), `peak_memory` or `train_seconds`.

    Returns:
        The finalists on the test split; before any of them has run, the ablation on validation.

    Raises:
        UserError: the cost is unknown, or no configuration has been run on fresh seeds.
    """
    from harness.report.sections import tradeoffs

    prices = {price.cost: price for price in tradeoffs.PRICES}
    if cost not in prices:
        raise UserError(f"unknown cost '{cost}': {did_you_mean(cost, prices)}")
    charts = [
        chart
        for stage, split, heading in tradeoffs.VIEWS
        for chart in tradeoffs.price_charts(
            results,
            tradeoffs.quality_table(results, stage, split),
            split,
            heading,
            prices[cost],
        )
    ]
    return _first(charts, f"{results.name}: no configuration has been run on fresh seeds yet")


def plot_history(results: StudyResults) -> Figure:
    """The scores of the search's trials in order, with the best so far and its seed noise.

    Raises:
        UserError: fewer than two search trials are complete.
    """
    from harness.report.sections import search

    charts = search.history_charts(results)
    return _first(charts, f"{results.name}: fewer than two search trials are complete")


def plot_parallel(results: StudyResults) -> Figure:
    """Each trial of the search as a line through its parameters to its score.

    Raises:
        UserError: no two complete search trials differ in a parameter.
    """
    from harness.report.sections import search

    return _first(search.parallel_charts(results), _nothing_varies(results))


def plot_slices(results: StudyResults) -> Figure:
    """The scores of the search's trials by the level of each parameter, side by side.

    Raises:
        UserError: no two complete search trials differ in a parameter.
    """
    from harness.report.sections import search

    return _first(search.slices_chart(results), _nothing_varies(results))


def plot_learning_curves(results: StudyResults) -> Figure:
    """Training loss of the configurations that came furthest, over epochs.

    Returns:
        One line a configuration, the mean over its seeds, with a band from the lowest seed to the
        highest.

    Raises:
        UserError: no complete trial has left a loss.
    """
    from harness.report.sections import learning_curves

    charts = learning_curves.loss_charts(results)
    return _first(charts, f"{results.name}: no complete trial has left a training loss yet")


def plot_finalists(results: StudyResults) -> Figure:
    """How far each finalist is from the best of the others, on the test split.

    Returns:
        Differences with simultaneous 95 % bounds, with the margin shaded.

    Raises:
        UserError: fewer than two finalists were confirmed.
    """
    from harness.report.sections import verdict

    return _first(
        verdict.finalist_charts(results),
        f"{results.name}: no two finalists have been confirmed on the test split yet",
    )


def plot_classes(results: StudyResults) -> Figure:
    """Scores by class of each rank, beside what needs no training, on the validation split.

    Raises:
        UserError: the metric has no classes, or no rank was trained on fresh seeds.
    """
    import pandas as pd

    from harness.analysis.metric_tables import class_table, parts_of
    from harness.report import charts, formatting

    parts = parts_of(results.objective)
    if not parts:
        raise UserError(f"{results.name}: {results.objective.name} has no scores by class")
    table = class_table(results, part=parts[0])
    if table.empty:
        raise UserError(f"{results.name}: no rank has been trained on fresh seeds yet")
    scale, points = formatting.scale(results.objective), []
    for row in table.to_dict("records"):
        for name in table.columns.drop(["class", "support"]):
            if formatting.missing(row[name]):
                continue
            series = "best cell" if name == "best" else formatting.baseline_label(name)
            hover = (
                f"{row['class']}, {series}: {scale.show(row[name])} {scale.unit}\n"
                f"{formatting.count(row['support'])} references"
            )
            points.append((str(row["class"]), series, row[name] * scale.factor, hover))
    frame = pd.DataFrame(points, columns=["label", "series", "value", "hover"])
    figure = charts.dots(frame, f"{parts[0].replace('_', ' ')} on validation, {scale.unit}")
    return charts.with_caption(figure, "Scores by class, mean over seeds.")


def plot_errors(results: StudyResults) -> Figure:
    """On how many examples the pick is better than another, and by how much.

    Returns:
        For each configuration that the report's section on errors compares with the pick (or,
        before there is one, with the best so far), and for the base model: the differences of
        their scores of single examples, largest first; mean over seeds, more being better for
        the pick.

    Raises:
        UserError: nothing has been scored that the pick can be compared with.
    """
    import pandas as pd

    from harness.analysis import error_analysis
    from harness.report import charts
    from harness.report.sections import errors

    compared = error_analysis.compared_configurations(results)
    if compared is None or len(compared.names) < 2:
        raise UserError(f"{results.name}: nothing has been scored that can be compared yet")
    scores = error_analysis.by_example(results, compared)
    names = errors.configuration_names(results, compared)
    parts = []
    for index, key in enumerate(compared.names[1:]):
        gains = (scores[compared.chief] - scores[key]).dropna()
        gains = gains.sort_values(ascending=False, kind="stable")
        hover = [f"{name}: {gain:+.3g}" for name, gain in gains.items()]
        points = pd.DataFrame({"x": range(1, len(gains) + 1), "y": gains.tolist(), "hover": hover})
        parts.append(
            points.assign(
                series=f"against {names[key]}", style="plain" if index else "strong", line=key
            )
        )
    figure = charts.curves(
        pd.concat(parts, ignore_index=True).assign(
            low=float("nan"), high=float("nan"), ring=False
        ),
        f"examples of the {compared.split} split, by difference",
        "difference of an example's score",
    )
    caption = f"Where {names[compared.chief]} is better, example by example."
    return charts.with_caption(figure, caption)


def _nothing_varies(results: StudyResults) -> str:
    return f"{results.name}: no two complete search trials differ in a parameter"


def _first(charts: Sequence[Chart], missing: str) -> Figure:
    """The first chart with its caption, or an error that says what is missing."""
    from harness.report.charts import with_caption

    if not charts:
        raise UserError(missing)
    return with_caption(charts[0].figure, charts[0].caption)
