"""`plan`: a sweep before it runs: trials, parameters, memory, time, money."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import Name, SweepOptions, hourly_price, with_sweep_options

if TYPE_CHECKING:
    from harness.config.sweep import Sweep
    from harness.trial import TrialConfig


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("plan", help="Forecast a sweep: trials, parameters, memory, time and price.")(plan)


@with_sweep_options
def plan(
    name: Name,
    options: SweepOptions,
    price: Annotated[str | None, typer.Option(help="price of the machine, such as 1.29/h")] = None,
) -> None:
    """Times a few steps on this machine and forecasts what the whole sweep would take."""
    from rich.console import Console
    from rich.table import Table

    from harness.study import checks, forecast
    from harness.study.launcher import default_parallelism
    from harness.tasks.task import load_task_for

    hourly = hourly_price(price)
    sweep = options.sweep(name)
    task = load_task_for(sweep)
    console = Console()
    for note in checks.check_sweep(sweep, task):
        console.print(f"note: {note}", highlight=False)
    parallelism = default_parallelism(sweep.workers, sweep.threads, checks.cuda)
    title = "trainable parameters by target modules and rank"
    table = Table("configuration", "trainable parameters", title=title)
    for config in _targets_by_rank(sweep):
        label = f"{config.target_modules} r={config.rank}"
        table.add_row(label, f"{checks.parameters(sweep, task, config):,}")
    console.print(table)
    timing = forecast.time_trial(sweep, task, parallelism.threads)
    stages = forecast.forecast_stages(sweep, task, timing, parallelism.workers)
    table = Table("stage", "maximum trials", "minutes", "within --minutes")
    for stage in stages:
        fits = "-" if sweep.minutes is None else "yes" if stage.fits else "no: cut or dropped"
        table.add_row(stage.stage, str(stage.trials), f"{stage.seconds / 60:.1f}", fits)
    console.print(table)
    total = sum(stage.seconds for stage in stages)
    memory = timing.peak_memory * parallelism.workers / 2**30
    seconds = timing.train_seconds + timing.validation_seconds
    minutes = round(total / 60)
    lines = [
        f"{parallelism}; a full trial of the largest configuration takes about {seconds:.0f} s",
        f"about {minutes} minute{'s' * (minutes != 1)} and {memory:.1f} GB of memory in total (a "
        "forecast from a few timed steps; pruning is assumed to save a quarter of the search)",
    ]
    if hourly is not None:
        lines.append(f"about {hourly * total / 3600:.2f} at {hourly:g} an hour")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _targets_by_rank(sweep: Sweep) -> list[TrialConfig]:
    from harness.trial import TrialConfig

    variant = sweep.space.variant[0]
    return [
        TrialConfig(variant, rank, float(rank), 0.0, targets, 1e-3, 0)
        for targets in sweep.space.target_modules
        for rank in sweep.space.rank
    ]
