"""`plan`: a sweep before it runs: trials, parameters, memory, time, money."""

from __future__ import annotations

from itertools import product
from typing import Annotated

import typer

from harness.cli.options import Name, SweepOptions, hourly_price, say, with_sweep_options


@with_sweep_options
def plan(
    name: Name,
    options: SweepOptions,
    price: Annotated[str | None, typer.Option(help="price of the machine, such as 1.29/h")] = None,
) -> None:
    """Forecast a sweep: trials, parameters, memory, time and price.

    Times a few steps on this machine.
    """
    from rich.console import Console
    from rich.table import Table

    from harness.study import checks, forecast
    from harness.study.launcher import default_parallelism
    from harness.tasks.task import load_task_for
    from harness.trial import TrialConfig

    hourly = hourly_price(price)
    sweep = options.sweep(name)
    task = load_task_for(sweep)
    console = Console()
    for note in checks.check_sweep(sweep, task):
        say(console, f"note: {note}")
    parallelism = default_parallelism(sweep.workers, sweep.threads, checks.cuda)
    title = "trainable parameters by target modules and rank"
    table = Table("configuration", "trainable parameters", title=title)
    variant = sweep.space.variant[0]
    for targets, rank in product(sweep.space.target_modules, sweep.space.rank):
        config = TrialConfig(variant, rank, float(rank), 0.0, targets, 1e-3, 0)
        table.add_row(f"{targets} r={rank}", f"{checks.parameters(sweep, task, config):,}")
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
        say(console, line)
