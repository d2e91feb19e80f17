"""Learning curves: losses of the finalists, readings of the search, rates that diverged."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from markupsafe import Markup

from harness.analysis.learning_curves import divergence_table, loss_table, reading_table, wilson
from harness.report import formatting
from harness.report.charts.axis import Axis, axis
from harness.report.charts.figure import intervals
from harness.report.charts.lines import DASHES, Line, lines, sample
from harness.report.section import Column, Section, number_column, register, render_template, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    "rank",
    "variant",
    "target_modules",
    "learning_rate",
    "alpha",
    "dropout",
    "extras",
)
#: From this ratio of the highest to the lowest value an axis is logarithmic.
_WIDE: Final = 10.0
#: Glyphs that there is room for behind a line's letter.
_ROOM: Final = 16


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
        loss=_loss(loss),
        whose=_WHOSE[str(loss["stage"].iloc[0])] if len(loss) else "",
        several=loss["key"].nunique() > 1,
        seeds=int(loss["seeds"].max()) if len(loss) else 0,
        readings=_readings(results, readings, strong),
        read=len(sizes),
        best=len(strong),
        examples=(results.sweep.get("training") or {}).get("reading_examples"),
        twice=int((sizes > 1).sum()),
        fell=int(fallen["trial"].nunique()),
        margin=results.objective.margin_told,
        overfits=_overfits(results, fallen),
        outcomes=outcomes,
        diverged=int(divergence["diverged"].sum()),
        lowest=_two_digits(divergence["low_rate"].min()),
        highest=_two_digits(divergence["high_rate"].max()),
        bound=formatting.number(100 * wilson(0, outcomes).high, 1) if outcomes else "",
        divergence=_divergence(divergence),
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


def _loss(frame: pd.DataFrame) -> Markup:
    if frame.empty:
        return Markup("")
    groups = [group for _, group in frame.groupby("key", sort=False)]
    names = short_names([group.iloc[0].to_dict() for group in groups])
    if max(map(len, names)) > _ROOM:  # then the letter must do
        names = [""] * len(names)
    drawn = [
        Line(
            group.rename(columns={"epoch": "x", "mean": "y"})[["x", "y", "low", "high"]],
            letter,
            name,
            "plain" if place else "strong",
            place % DASHES,
        )
        for place, (group, letter, name) in enumerate(zip(groups, _LETTERS, names, strict=False))
    ]
    up = _upright([*frame["low"], *frame["high"]], "training loss, nats a token", "{:g}".format)
    across = Axis(0.0, float(frame["epoch"].max()), "epoch", False, "{:g}".format)
    plot = lines(drawn[::-1], across, up, title="Training loss against epochs.")
    ends = pd.DataFrame(
        [
            {**group.iloc[-1].to_dict(), "name": line.label, "kind": line.kind, "dash": line.dash}
            for group, line in zip(groups, drawn, strict=True)
        ]
    )
    columns = [
        Column(
            "Line",
            lambda row: Markup("{} {}").format(row["name"], sample(row["kind"], row["dash"])),
            numeric=False,
        ),
        Column("Configuration", lambda row: formatting.label(row, rate_too=True), numeric=False),
        number_column("Last loss", "mean", _digits, "nats a token"),
        Column(
            "Lowest to highest",
            lambda row: f"{_digits(row['low'])} to {_digits(row['high'])}",
            "nats a token",
        ),
        number_column("Seeds", "seeds", formatting.count),
    ]
    if ends["seeds"].max() == 1:
        del columns[-2]
    caption = "The lines, by score on validation, with their loss at the last reading."
    return Markup("{}{}").format(plot, table(ends, columns, caption=caption))


def _digits(value: float) -> str:
    return formatting.number(value, 4)


def _upright(values: Sequence[float], name: str, show: Any, *, log: bool = True) -> Axis:
    wide = log and min(values) > 0 and max(values) > _WIDE * min(values)
    return axis(values, name + (" (log)" if wide else ""), show, log=wide)


def _best(results: StudyResults, readings: pd.DataFrame) -> list[int]:
    """Numbers of the trials that scored best at their end; where none is complete, on the way."""
    sign = results.objective.sign
    values = results.trials.set_index("number")["value"].astype(float)
    ended = sign * values[values.index.isin(readings["trial"])].dropna()
    if ended.empty and len(readings):
        ended = (sign * readings["value"]).groupby(readings["trial"]).max()
    best = ended.sort_values(ascending=False, kind="stable").head(BEST)
    return [int(str(number)) for number in best.index]


def _readings(results: StudyResults, frame: pd.DataFrame, strong: list[int]) -> Markup:
    if frame.empty:
        return Markup("")
    scale = formatting.scale(results.objective)
    drawn = {}
    for number, rows in frame.groupby("trial"):
        points = rows.rename(columns={"step": "x", "value": "y"})[["x", "y"]]
        fell = bool(rows["overfits"].iloc[0])
        drawn[int(str(number))] = Line(
            points,
            kind="warm" if fell else "faint",
            ring=int(rows["best"].to_numpy().argmax()) if fell else None,
        )
    for place, number in enumerate(strong):
        one = drawn[number]
        drawn[number] = one._replace(label=f"#{number}", kind="strong", dash=place)
    # What matters most is drawn last; of what only shows the crowd an even sample is enough.
    order = sorted(drawn, key=lambda number: ("faint", "warm", "strong").index(drawn[number].kind))
    crowd = [number for number in order if drawn[number].kind == "faint"]
    left_out = {*crowd} - {*crowd[:: -(-len(crowd) // FAINT) or 1]}
    order = [number for number in order if number not in left_out]
    up = _upright(
        list(frame["value"]),
        f"score on validation, {scale.unit}",
        scale.tick,
        log=results.objective.sign < 0,
    )
    across = Axis(0.0, float(frame["step"].max()), "optimiser step", False, formatting.count)
    title = "Validation readings of the search's trials."
    if left_out:
        title += f" Of {len(crowd)} faint ones {len(crowd) - len(left_out)} are drawn."
    return lines([drawn[number] for number in order], across, up, title=title)


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
        Column("Configuration", lambda row: formatting.label(row, rate_too=True), numeric=False),
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


def _divergence(frame: pd.DataFrame) -> Markup:
    if not frame["diverged"].sum():
        return Markup("")
    shown = pd.DataFrame(
        {
            "label": [f"from {_two_digits(rate)}" for rate in frame["low_rate"]],
            "value": frame["share"],
            "low": frame["low"],
            "high": frame["high"],
            "kind": ["strong" if bad else "plain" for bad in frame["diverged"]],
        }
    )
    top = min(1.0, 1.05 * float(frame["high"].max()))
    along = Axis(0.0, top, "trials that diverged, %", False, lambda share: f"{100 * share:g}")
    title = "Share of trials that diverged, by half decades of the learning rate."
    return intervals(shown, along, title=title, line=None)


def _span(row: Mapping[Any, Any]) -> str:
    return f"{_two_digits(row['low_rate'])} to {_two_digits(row['high_rate'])}"


def _two_digits(rate: float) -> str:
    """An end of a half decade: `1e-3` or `3.2e-3`."""
    return formatting.rate(float(f"{rate:.2g}"))


def _shares(frame: pd.DataFrame) -> Markup:
    columns = [
        Column("Learning rate", _span, numeric=False),
        number_column("Trials", "trials", formatting.count),
        number_column("Diverged", "diverged", formatting.count),
        number_column("Share", "share", _percent, "%"),
        Column(
            "95 % interval",
            lambda row: f"{_percent(row['low'])} to {_percent(row['high'])}",
            unit="%, Wilson",
        ),
    ]
    caption = "Trials that were completed, pruned or diverged, by half decades of the rate."
    return table(frame, columns, caption=caption)


def _percent(share: Any) -> str:
    return formatting.number(100 * float(share), 1)


register(Section("curves", "Learning curves", 55, render, tables))
