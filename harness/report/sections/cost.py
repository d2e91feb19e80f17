"""Cost: what each stage spent, what was to be expected of it, and what a full grid would cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.analysis import cost
from harness.report import formatting
from harness.report.section import (
    Column,
    Record,
    Section,
    number_column,
    register,
    render_template,
    table,
)

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

    from harness.analysis.cost import TrialDuration
    from harness.results import StudyResults

_DAY: Final = 86400.0
_HAIR: Final = "\N{NARROW NO-BREAK SPACE}"
_FIRM: Final = "\N{NO-BREAK SPACE}"
_TIMES: Final = "\N{MULTIPLICATION SIGN}"
#: Factors as they are said of several levels.
_PLURALS: Final = {
    "alpha_ratio": "alpha ratios",
    "target_modules": "sets of target modules",
    "dropout": "dropouts",
    "bias": "bias settings",
    "layers": "sets of layers",
    "modules_to_save": "sets of fully trained modules",
    "gradient_checkpointing": "settings of gradient checkpointing",
}


class Unit(NamedTuple):
    """A unit of time for a whole table, so that its numbers can be compared at a glance.

    Attributes:
        seconds: that it has.
        name: such as `min`.
        digits: behind the point.
    """

    seconds: float
    name: str
    digits: int

    def show(self, value: Any) -> str:
        """Seconds in this unit."""
        amount = None if formatting.missing(value) else float(value) / self.seconds
        return formatting.number(amount, self.digits)


_UNITS: Final = ((120.0, Unit(1.0, "s", 1)), (7200.0, Unit(60.0, "min", 1)))
_HOURS: Final = Unit(3600.0, "h", 2)


def unit(frame: pd.DataFrame, *names: str) -> Unit:
    """The unit that fits the longest time in these columns."""
    longest = frame[list(names)].to_numpy(dtype=float, na_value=0.0).max(initial=0.0)
    return next((candidate for limit, candidate in _UNITS if longest < limit), _HOURS)


def duration(value: Any) -> str:
    """A time in seconds, minutes, hours, or days from the third day on."""
    if formatting.missing(value) or float(value) < 2 * _DAY:
        return formatting.seconds(value)
    days = float(value) / _DAY
    return f"{formatting.number(days, 1) if days < 100 else formatting.count(days)}{_HAIR}days"


def money(value: Any) -> str:
    """An amount of whatever the price was told in."""
    if formatting.missing(value):
        return formatting.MISSING
    return "< 0.01" if 0 < float(value) < 0.005 else formatting.number(value, 2)


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """What was spent, the forecast beside it, the full grid."""
    return {
        "stages": cost.stage_table(results),
        "forecast": cost.forecast_table(results),
        "grid": cost.grid_table(results),
    }


def render(results: StudyResults) -> str:
    """The section's HTML."""
    spent = cost.stage_table(results)
    if spent.empty:
        return render_template("cost.html.j2", total=None)
    forecast = cost.forecast_table(results)
    expected = cost.trial_duration(results)
    total = spent.iloc[-1].to_dict()
    return render_template(
        "cost.html.j2",
        total=total,
        counted=_ran(total) - int(total["unknown"]),
        device=_known(total["device_seconds"]),
        wall=_known(total["wall_seconds"]),
        stages=_stages(spent),
        overlap=float(spent["wall_seconds"].iloc[:-1].sum()) - float(total["wall_seconds"]) >= 1,
        money=money(total["money"]) if "money" in total else None,
        hourly=formatting.short(cost.price(results)),
        forecast=_forecast(forecast) if len(forecast) else None,
        pace=_duration_words(expected) if expected else None,
        packs=_packs(spent, forecast),
        grid=_grid(results, _ran(total)),
    )


def _ran(row: Record) -> int:
    return sum(int(row[name]) for name in cost.OUTCOMES)


def _known(seconds: Any) -> str | None:
    return None if formatting.missing(seconds) else duration(seconds)


def _stages(spent: pd.DataFrame) -> Markup:
    time = unit(spent, "train_seconds", "score_seconds", "device_seconds", "wall_seconds")
    outcomes = [name for name in cost.OUTCOMES if name == "complete" or spent[name].iloc[-1] > 0]
    columns = [
        _stage_column(),
        *(number_column(name.capitalize(), name, formatting.count, "trials") for name in outcomes),
    ]
    if spent["not_run"].iloc[-1] > 0:
        columns.append(number_column("Not run", "not_run", formatting.count, "trials"))
    columns += [
        number_column("Training", "train_seconds", time.show, time.name),
        number_column("Scoring", "score_seconds", time.show, time.name),
        number_column("Device time", "device_seconds", time.show, time.name),
        number_column("Wall time", "wall_seconds", time.show, time.name),
        number_column("Peak memory", "peak_memory", formatting.memory),
        number_column("Tokens", "tokens", _millions, "millions"),
    ]
    if (spent["pack"] > 1).any():
        columns.append(number_column("Pack", "pack", formatting.short, "adapters"))
    if "money" in spent:
        columns.append(number_column("Price", "money", money))
    return table(spent, columns, caption="Cost by stage.", mark=_total)


def _forecast(frame: pd.DataFrame) -> Markup:
    time = unit(frame, "forecast_seconds", "device_seconds")
    columns = [
        _stage_column(),
        number_column("Trials", "trials", formatting.count),
        number_column("Trainings", "trainings", formatting.number, "of all steps"),
        number_column("Forecast", "forecast_seconds", time.show, time.name),
        number_column("Actual", "device_seconds", time.show, time.name),
        number_column("Actual / forecast", "ratio", lambda value: formatting.number(value, 2)),
    ]
    return table(frame, columns, caption="Device time, forecast and actual.", mark=_total)


def _stage_column() -> Column:
    return Column("Stage", lambda row: str(row["stage"]), numeric=False)


def _total(row: Record) -> str:
    return "total" if row["stage"] == cost.ALL else ""


def _millions(value: Any) -> str:
    return formatting.number(None if formatting.missing(value) else float(value) / 1e6, 2)


def _duration_words(expected: TrialDuration) -> dict[str, Any]:
    return {
        "stage": expected.stage,
        "trials": expected.trials,
        "seconds": duration(expected.seconds),
        "range": f"{duration(expected.low)} to {duration(expected.high)}",
    }


def _packs(spent: pd.DataFrame, forecast: pd.DataFrame) -> bool:
    """Whether the search's pack size is another than that of a stage it was held against."""
    sizes = spent.set_index("stage")["pack"]
    later = [float(sizes[name]) for name in forecast["stage"] if name != cost.ALL]
    return any(size != sizes.get("search") for size in later)


def _grid(results: StudyResults, ran: int) -> dict[str, Any] | None:
    frame = cost.grid_table(results)
    typical = cost.grid_trial_duration(results)
    if frame.empty or typical is None:
        return None
    row = frame.iloc[0].to_dict()
    levels = {name: count for name, count in cost.factors(results).items() if count > 1}
    product = f" {_TIMES} ".join(
        f"{count}{_FIRM}{_plural(name)}" for name, count in levels.items()
    )
    return {
        "product": product,
        "cells": formatting.count(row["cells"]),
        "trials": formatting.count(row["trials"]),
        "seeds": int(row["seeds"]),
        "ran": ran,
        "time": duration(row["grid_seconds"]),
        "spent": duration(row["device_seconds"]),
        "times": _ratio(row["ratio"]),
        "pace": _duration_words(typical),
        "range": isinstance((results.sweep.get("space") or {}).get("learning_rate"), Mapping),
        "rates": int(row["rates"]),
    }


def _plural(name: str) -> str:
    return _PLURALS.get(name, name.replace("_", " ") + "s")


def _ratio(value: Any) -> str:
    if formatting.missing(value):
        return formatting.MISSING
    return formatting.count(value) if float(value) >= 10 else formatting.number(value, 1)


register(Section("cost", "Cost", 65, render, tables))
