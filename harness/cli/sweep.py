"""`sweep`: search, ablate, confirm, report and recommend, in one command."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from harness.config.sweep import Sweep
    from harness.results import StudyResults
    from harness.storage.overview import Progress
    from harness.study.session import OpenStudy


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("sweep", help="Run a sweep: search, ablate, confirm, report, recommend.")(sweep)


def sweep(
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
    study: Annotated[str | None, typer.Option(help="the study's name, else the sweep's")] = None,
    extend_grid: options.ExtendGrid = False,
    claims: options.Claims = False,
    add_seeds: options.AddSeeds = 0,
    results: options.Results = Path("results"),
    reports: options.Reports = Path("reports"),
) -> None:
    """Runs the whole study; the same command goes on where an earlier one was stopped."""
    from rich.console import Console

    from harness.cli.live import View
    from harness.cli.outcome import print_claims, print_outcome
    from harness.study import session

    console = Console()
    plan = options.sweep_of(
        name, model, trials, minutes, seeds, overrides, workers, data, limit, preset, allow_leaks
    )
    chosen = options.study_name(name, study)
    opened = _opened(plan, chosen, results, console)
    stage = ""

    def tick(progress: Progress) -> None:
        nonlocal stage
        view.tick(progress)
        if stage and progress.stage != stage:
            _report(opened.records.read(), reports)
        stage = progress.stage

    view = View(plan, opened.task.objective, console, opened.crew.workers)
    try:
        with view:
            session.run(opened, plan, tick, extend_grid, claims, add_seeds)
    finally:
        # What is there is worth a page, also after Ctrl-C.
        found = opened.records.read()
        path = _report(found, reports)
    _index(results, reports)
    print_outcome(found, console)
    if claims:
        print_claims(found, console)
    console.print(f"report: {path}", highlight=False, soft_wrap=True)


def _opened(plan: Sweep, name: str, results: Path, console: Console) -> OpenStudy:
    from harness.study import checks, session

    if not session.exists(results, name):  # what goes on was checked when it began
        for note in checks.check_sweep(plan):
            console.print(f"note: {note}", highlight=False, soft_wrap=True)
    crew = session.parallelism_of(plan, name, results)
    if crew.why:
        console.print(f"note: {crew.why}", highlight=False, soft_wrap=True)
    opened = session.open_study(plan, name, results, crew)
    told = f"study {name}: {plan.task} on {plan.model.name}, {opened.crew}, in {opened.folder}"
    console.print(told, highlight=False, soft_wrap=True)
    return opened


def _index(results: Path, reports: Path) -> None:
    """Brings the index up to date; no verdict is lost where that cannot be done."""
    from harness.errors import UserError
    from harness.report import index
    from harness.storage import overview

    with suppress(UserError):
        index.write(overview.find_studies(results), reports)


def _report(results: StudyResults, reports: Path) -> Path:
    from harness.report.page import write
    from harness.study.outputs import attach_outputs

    return write(attach_outputs(results), reports / f"{results.name}.html")
