"""Learning curves: losses of the finalists, readings of the search, rates that diverged."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from markupsafe import Markup

from harness.analysis.learning_curves import divergence_table, loss_table, reading_table, wilson
from harness.report import charts, formatting
from harness.report.section import (
    Chart,
    Column,
    Section,
    chart_html,
    configuration_column,
    number_column,
    register,
    render_template,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.results import StudyResults

#: Search trials that are drawn strong, and how many of those with nothing to tell are drawn.
BEST: Final = 3
FAINT: Final = 200
_LETTERS: Final = "ABCDEF"
_WHOSE: Final = {
    "confirm": "the finalists",
    "ablate": "the ablation's configurations that scored best on validation",
    "search": "the search's configurations that scored best on validation",
}
#: What may name a configuration, the plainest first.
_PARTS: Final = (
    *("rank", "variant", "target_modules", "learning_rate"),
    *("alpha", "dropout", "extras"),
)
#: From this ratio of the highest to the lowest value an axis is logarithmic.
_WIDE: Final = 10.0


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """Losses along training, readings of the search, and how often training diverged."""
    return {
        "loss": loss_table(results),
        "readings": reading_table(results),
        "divergence": divergence_table(results),
    }


def render(results: StudyResults) -> str:
    """The section's HTML."""
    loss, readings, divergence = tables(results).values()
    sizes = readings.groupby("trial").size()
    fallen = readings[readings["overfits"].astype(bool)]
    strong = _best(results, readings)
    outcomes = int(divergence["trials"].sum())
    return render_template(
        "curves.html.j2",
        any=len(results.measurements) > 0 or outcomes > 0,
        loss=_loss(results, loss),
        whose=_WHOSE[str(loss["stage"].iloc[0])] if len(loss) else "",
        several=loss["key"].nunique() > 1,
        seeds=int(loss["seeds"].max()) if len(loss) else 0,
        readings=chart_html(*reading_charts(results)),
        read=len(sizes),
        best=len(strong),
        examples=(results.sweep.get("training") or {}).get("reading_examples"),
        twice=int((sizes > 1).sum()),
        fell=int(fallen["trial"].nunique()),
        margin=results.objective.margin_text,
        overfits=_overfits(results, fallen),
        outcomes=outcomes,
        diverged=int(divergence["diverged"].sum()),
        lowest=_two_digits(divergence["low_rate"].min()),
        highest=_two_digits(divergence["high_rate"].max()),
        bound=formatting.number(100 * wilson(0, outcomes)[1], 1) if outcomes else "",
        divergence=chart_html(*divergence_charts(results)),
        shares=_shares(divergence),
    )


def short_names(rows: Sequence[Mapping[Any, Any]]) -> list[str]:
    """Names of configurations by the fewest of their settings that tell them apart.

    Args:
        rows: configurations, each with `analysis.scores.CONFIGURATION`.
    """
    for size in range(1, len(_PARTS) + 1):
        for parts in itertools.combinations(_PARTS, size):
            names = [
                formatting.label({name: row[name] for name in parts}, rate_too=True)
                for row in rows
            ]
            if len(set(names)) == len(names) and formatting.MISSING not in names:
                return names
    return [formatting.label(row, rate_too=True) for row in rows]


def curve_charts(results: StudyResults) -> list[Chart]:
    """The charts of losses, readings and divergence."""
    return [*loss_charts(results), *reading_charts(results), *divergence_charts(results)]


def loss_charts(results: StudyResults) -> list[Chart]:
    """Training loss of the configurations that came furthest; none without a loss."""
    frame = loss_table(results)
    if frame.empty:
        return []
    parts = []
    for index, (letter, name, group) in enumerate(_named_losses(frame)):
        points = group.rename(columns={"epoch": "x", "mean": "y"})[["x", "y", "low", "high"]]
        parts.append(
            points.astype(float).assign(
                series=f"{letter} {name}",
                style="plain" if index else "strong",
                line=letter,
                ring=False,
                hover=[
                    f"{letter} {name}\nepoch {row['epoch']:.3g}: {_loss_text(row)}"
                    for row in group.to_dict("records")
                ],
            )
        )
    points = pd.concat(parts[::-1], ignore_index=True)  # the best on top
    log = _wide([*frame["low"], *frame["high"]])
    title = "training loss, nats a token" + (" (log)" if log else "")
    figure = charts.curves(points, "epoch", title, log=log)
    return [Chart(figure, "Training loss against epochs.")]


def _named_losses(frame: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Letter, name and rows of each configuration, the best first."""
    groups = [group for _, group in frame.groupby("key", sort=False)]
    names = short_names([group.iloc[0].to_dict() for group in groups])
    return list(zip(_LETTERS, names, groups, strict=False))


def _loss_text(row: Mapping[Any, Any]) -> str:
    mean = _digits(row["mean"])
    return f"{mean} ({_ends(row)} over {row['seeds']} seeds)" if row["seeds"] > 1 else mean


def _ends(row: Mapping[Any, Any]) -> str:
    return f"{_digits(row['low'])} to {_digits(row['high'])}"


def _loss(results: StudyResults, frame: pd.DataFrame) -> Markup:
    if frame.empty:
        return Markup("")
    ends = pd.DataFrame(
        [{**group.iloc[-1].to_dict(), "name": letter} for letter, _, group in _named_losses(frame)]
    )
    columns = [
        Column("Line", lambda row: str(row["name"]), numeric=False),
        configuration_column(),
        number_column("Last loss", "mean", _digits, "nats a token"),
        Column("Lowest to highest", _ends, "nats a token"),
        number_column("Seeds", "seeds", formatting.count),
    ]
    if ends["seeds"].max() == 1:
        del columns[-2]
    caption = "The lines, by score on validation, with their loss at the last reading."
    return chart_html(*loss_charts(results)) + table(ends, columns, caption=caption)


def _digits(value: float) -> str:
    return formatting.number(value, 4)


def _wide(values: Iterable[float]) -> bool:
    """Whether the values call for a logarithmic axis."""
    known = [float(value) for value in values]
    return min(known) > 0 and max(known) > _WIDE * min(known)


def _best(results: StudyResults, readings: pd.DataFrame) -> list[int]:
    """Numbers of the trials that scored best at their end; where none is complete, on the way."""
    sign = results.objective.sign
    values = results.trials.set_index("number")["value"].astype(float)
    ended = sign * values[values.index.isin(readings["trial"])].dropna()
    if ended.empty and len(readings):
        ended = (sign * readings["value"]).groupby(readings["trial"]).max()
    best = ended.sort_values(ascending=False, kind="stable").head(BEST)
    return [int(str(number)) for number in best.index]


def reading_charts(results: StudyResults) -> list[Chart]:
    """Validation readings of the search's trials; none without a reading."""
    frame = reading_table(results)
    if frame.empty:
        return []
    scale, strong = formatting.scale(results.objective), _best(results, frame)
    fallen = set(frame.loc[frame["overfits"].astype(bool), "trial"])
    crowd = [number for number in frame["trial"].unique() if number not in {*strong, *fallen}]
    # Of what only shows the crowd an even sample is enough.
    sample = crowd[:: -(-len(crowd) // FAINT) or 1]
    series = {
        **dict.fromkeys(sample, ("other trials", "faint")),
        **{n: ("last reading worse by more than the margin", "warm") for n in fallen},
        **{number: (f"trial {number}", "strong") for number in reversed(strong)},
    }
    # What matters most is drawn last.
    order = sorted(series, key=lambda number: ("faint", "warm", "strong").index(series[number][1]))
    parts = []
    for number in order:
        rows = frame[frame["trial"] == number]
        name, style = series[number]
        hover = [
            f"trial {number}, {_step(row['step'])}: {scale.show(row['value'])} {scale.unit}"
            for row in rows.to_dict("records")
        ]
        points = {
            "x": rows["step"].astype(float),
            "y": rows["value"].astype(float) * scale.factor,
            "ring": rows["best"].astype(bool) & (number in fallen),
        }
        marks = pd.DataFrame({**points, "low": float("nan"), "high": float("nan")})
        parts.append(marks.assign(series=name, style=style, line=number, hover=hover))
    log = results.objective.sign < 0 and _wide(frame["value"])
    title = f"score on validation, {scale.unit}" + (" (log)" if log else "")
    figure = charts.curves(pd.concat(parts), "optimizer step", title, log=log)
    caption = "Validation readings of the search's trials."
    if len(sample) < len(crowd):
        caption += f" Of {len(crowd)} faint ones {len(sample)} are drawn."
    return [Chart(figure, caption)]


def _overfits(results: StudyResults, fallen: pd.DataFrame) -> Markup:
    if fallen.empty:
        return Markup("")
    scale, trials = formatting.scale(results.objective), results.trials.set_index("number")
    rows = []
    for number, group in fallen.groupby("trial"):
        best, last = group[group["best"].astype(bool)].iloc[0], group.iloc[-1]
        rows.append(
            {
                **trials.loc[number].to_dict(),
                "trial": number,
                "top": best["value"],
                "at": best["step"],
                "last": last["value"],
                "end": last["step"],
                "fall": last["fall"],
            }
        )
    frame = pd.DataFrame(rows).sort_values("fall", ascending=False, kind="stable")
    columns = [
        number_column("Trial", "trial", formatting.count),
        configuration_column(),
        number_column("Best reading", "top", scale.show, scale.unit, lambda row: _step(row["at"])),
        number_column(
            "Last reading", "last", scale.show, scale.unit, lambda row: _step(row["end"])
        ),
        number_column("Worse by", "fall", scale.show, scale.unit),
    ]
    return table(
        frame,
        columns,
        caption="Trials whose last reading is worse than their best by more than the margin.",
    )


def _step(step: Any) -> str:
    return f"step {formatting.count(step)}"


def divergence_charts(results: StudyResults) -> list[Chart]:
    """How often training diverged, by learning rate; none where it never did."""
    frame = divergence_table(results)
    if not frame["diverged"].sum():
        return []
    diverged = [bool(count) for count in frame["diverged"]]
    percents = 100 * frame[["share", "low", "high"]].astype(float)
    points = percents.rename(columns={"share": "value"}).assign(
        label=[f"from {_two_digits(rate)}" for rate in frame["low_rate"]],
        style=["strong" if bad else "plain" for bad in diverged],
        series=["some trials diverged" if bad else "none diverged" for bad in diverged],
        hover=[
            f"learning rate {_span(row)}\n{formatting.count(row['diverged'])} of "
            f"{formatting.count(row['trials'])} trials diverged: "
            f"{formatting.percent(row['share'])} % ({_interval(row)})"
            for row in frame.to_dict("records")
        ],
    )
    figure = charts.intervals(points, "trials that diverged, %")
    caption = "Share of trials that diverged, by half decades of the learning rate."
    return [Chart(figure, caption)]


def _span(row: Mapping[Any, Any]) -> str:
    return f"{_two_digits(row['low_rate'])} to {_two_digits(row['high_rate'])}"


def _interval(row: Mapping[Any, Any]) -> str:
    return f"{formatting.percent(row['low'])} to {formatting.percent(row['high'])}"


def _two_digits(rate: float) -> str:
    """An end of a half decade: `1e-3` or `3.2e-3`."""
    return formatting.rate(float(f"{rate:.2g}"))


def _shares(frame: pd.DataFrame) -> Markup:
    columns = [
        Column("Learning rate", _span, numeric=False),
        number_column("Trials", "trials", formatting.count),
        number_column("Diverged", "diverged", formatting.count),
        number_column("Share", "share", formatting.percent, "%"),
        Column("95 % interval", _interval, unit="%, Wilson"),
    ]
    caption = "Trials that were completed, pruned or diverged, by half decades of the rate."
    return table(frame, columns, caption=caption)


register(Section("curves", "Learning curves", 55, render, tables, curve_charts))
