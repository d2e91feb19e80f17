"""`check`: everything about a sweep, or a task, that can be known before training."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("check", help="Check a sweep, its task, data and model before anything runs.")(
        check
    )


def check(
    name: Annotated[
        str, typer.Argument(help="a sweep, as for `sweep`, or else a task or its folder")
    ],
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
    results: options.Results = Path("results"),
) -> None:
    """Prints the data card, then what else was found; exit code 2 at the first fault."""
    from harness.cli.card import print_card
    from harness.study import checks, data_checks

    plan = options.sweep_of(
        name,
        model,
        trials,
        minutes,
        seeds,
        overrides,
        workers,
        data,
        limit,
        preset,
        allow_leaks,
        or_task=True,
    )
    checks.check_folder(results)
    print_card(data_checks.data_card_of(plan))
    for note in checks.check_sweep(plan):
        print(f"note: {note}")
    for line in checks.summary_lines(plan):
        print(line)
    print(f"{name}: fine")
