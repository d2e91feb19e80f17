"""`sweep`: search, ablate, confirm, report and recommend, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options as opt

if TYPE_CHECKING:
    from harness.progress import Progress
    from harness.results import StudyResults


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("sweep", help="Run a sweep: search, ablate, confirm, report, recommend.")(sweep)


def sweep(
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
    allow_leaks: opt.AllowLeaks = False,
    study: Annotated[str | None, typer.Option(help="the study's name, else the sweep's")] = None,
    extend_grid: Annotated[
        bool,
        typer.Option("--extend-grid", help="try one learning rate beyond each grid's edge"),
    ] = False,
    results: opt.Results = Path("results"),
    reports: opt.Reports = Path("reports"),
) -> None:
    """Runs the whole study; the same command goes on where an earlier one was stopped."""
    from rich.console import Console

    from harness import checks, session
    from harness.cli.live import View
    from harness.cli.outcome import print_outcome

    console = Console()
    plan = opt.sweep_of(
        name, model, trials, minutes, seeds, overrides, workers, data, limit, preset, allow_leaks
    )
    chosen = opt.study_name(name, study)
    if not session.exists(results, chosen):  # what goes on was checked when it began
        for note in checks.check(plan):
            console.print(f"note: {note}", highlight=False, soft_wrap=True)
    crew = session.crew_of(plan, chosen, results)
    if crew.why:
        console.print(f"note: {crew.why}", highlight=False, soft_wrap=True)
    opened = session.open_study(plan, chosen, results, crew)
    crew = opened.crew
    told = f"study {chosen}: {plan.task} on {plan.model.name}, {crew}, in {opened.folder}"
    console.print(told, highlight=False, soft_wrap=True)
    stage = ""

    def tick(progress: Progress) -> None:
        nonlocal stage
        view.tick(progress)
        if stage and progress.stage != stage:
            _report(opened.records.read(), reports)
        stage = progress.stage

    view = View(plan, opened.task.objective, console, crew.workers)
    try:
        with view:
            session.run(opened, plan, tick, extend_grid)
    finally:
        # What is there is worth a page, also after Ctrl-C.
        path = _report(opened.records.read(), reports)
    print_outcome(opened.records.read(), console)
    console.print(f"report: {path}", highlight=False, soft_wrap=True)


def _report(results: StudyResults, reports: Path) -> Path:
    from harness.report.page import write

    return write(results, reports / f"{results.name}.html")
