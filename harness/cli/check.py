"""`check`: everything about a sweep that can be known before training."""

from pathlib import Path

import typer

from harness.cli import options as opt


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("check", help="Check a sweep, its task, data and model before anything runs.")(
        check
    )


def check(
    name: opt.Name,
    model: opt.Model = None,
    trials: opt.Trials = None,
    minutes: opt.Minutes = None,
    seeds: opt.Seeds = None,
    overrides: opt.Set = None,
    workers: opt.Workers = None,
    data: opt.Data = None,
    limit: opt.Limit = None,
    preset: opt.Preset = None,
    results: opt.Results = Path("results"),
) -> None:
    """Says what was found; exit code 2 at the first fault."""
    from harness import checks

    plan = opt.sweep_of(
        name, model, trials, minutes, seeds, overrides, workers, data, limit, preset
    )
    checks.check_folder(results)
    for note in checks.check(plan):
        print(f"note: {note}")
    for line in checks.facts(plan):
        print(line)
    print(f"{name}: fine")
