"""`plan`: a sweep before it runs: trials, parameters, memory, time, money."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options

if TYPE_CHECKING:
    from harness.config.sweep import Sweep
    from harness.trial import TrialConfig


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("plan", help="Forecast a sweep: trials, parameters, memory, time and price.")(plan)


def plan(
    name: options.Name,
    model: options.Model = None,
    trials: options.Trials = None,
    minutes: options.Minutes = None,
    seeds: options.Seeds = None,
    overrides: options.Set = None,
    workers: options.Workers = None,
    data: options.Data = None,
    limit: options.Limit = None,
    preset: options.Preset = None,
    allow_leaks: options.AllowLeaks = False,
    price: Annotated[str | None, typer.Option(help="of the machine, such as 1.29/h")] = None,
) -> None:
    """Times a few steps on this machine and says what the whole sweep would take."""
    from rich.console import Console
    from rich.table import Table

    from harness.study import checks, forecast
    from harness.study.launcher import default_parallelism as choose_crew

    hourly = price_of(price)
    sweep = options.sweep_of(
        name, model, trials, minutes, seeds, overrides, workers, data, limit, preset, allow_leaks
    )
    console = Console()
    for note in checks.check_sweep(sweep):
        console.print(f"note: {note}", highlight=False)
    crew = choose_crew(sweep.workers, sweep.threads, checks.cuda)
    table = Table("configuration", "trainable parameters", title="by target and rank")
    for config in _grid(sweep):
        shown = f"{config.target_modules} r={config.rank}"
        table.add_row(shown, f"{checks.parameters(sweep, config):,}")
    console.print(table)
    timing = forecast.time_trial(sweep, crew.threads)
    found = forecast.stages(sweep, timing, crew.workers)
    table = Table("stage", "trials at most", "minutes", "within --minutes")
    for row in found:
        fits = "-" if sweep.minutes is None else "yes" if row.fits else "no: cut or dropped"
        table.add_row(row.stage, str(row.trials), f"{row.seconds / 60:.1f}", fits)
    console.print(table)
    total = sum(row.seconds for row in found)
    memory = timing.peak_memory * crew.workers / 2**30
    seconds = timing.train_seconds + timing.validation_seconds
    lines = [
        f"{crew}; a full trial of the largest configuration takes about {seconds:.0f} s",
        f"about {total / 60:.0f} minutes and {memory:.1f} GB of memory in all (a forecast from "
        "a few timed steps; pruning is taken to save a quarter of the search)",
    ]
    if hourly is not None:
        lines.append(f"about {hourly * total / 3600:.2f} at {hourly:g} an hour")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def price_of(text: str | None) -> float | None:
    """The price an hour in `1.29/h` or `1.29`.

    Raises:
        UserError: it is written otherwise.
    """
    from harness.errors import UserError

    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/h)?", text.strip())
    if not found:
        raise UserError(f"--price {text}: write it as 1.29/h")
    return float(found.group(1))


def _grid(sweep: Sweep) -> list[TrialConfig]:
    from harness.trial import TrialConfig

    variant = sweep.space.variant[0]
    return [
        TrialConfig(variant, rank, float(rank), 0.0, targets, 1e-3, 0)
        for targets in sweep.space.target_modules
        for rank in sweep.space.rank
    ]
