"""`sweep`: search, ablate, confirm, report and recommend, in one command."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Self

import typer

from harness.cli.options import (
    Name,
    Reports,
    Results,
    SweepOptions,
    say,
    study_name,
    with_sweep_options,
)

if TYPE_CHECKING:
    from rich.console import Console, Group

    from harness.config.sweep import Sweep
    from harness.results import Objective, StudyResults
    from harness.storage.overview import Progress
    from harness.study.session import OpenStudy
    from harness.tasks.task import Task


@with_sweep_options
def sweep(
    name: Name,
    options: SweepOptions,
    study: Annotated[
        str | None, typer.Option(help="name of the study (default: the sweep's)")
    ] = None,
    extend_grid: Annotated[
        bool,
        typer.Option(
            "--extend-grid",
            help="try one more learning rate where the best one is at the edge of its grid",
        ),
    ] = False,
    claims: Annotated[
        bool,
        typer.Option(
            "--claims", help="also test common rules of thumb, and train what that needs"
        ),
    ] = False,
    add_seeds: Annotated[
        int,
        typer.Option(
            min=0, help="additional seeds for the finalists (with --claims: for undecided claims)"
        ),
    ] = 0,
    results: Results = Path("results"),
    reports: Reports = Path("reports"),
) -> None:
    """Run a sweep: search, ablate, confirm, report, recommend.

    The same command resumes a study that was interrupted.
    """
    from rich.console import Console

    from harness.cli.pick import print_claims, print_recommendation
    from harness.study import launcher
    from harness.tasks.task import load_task_for

    console = Console()
    plan, study = options.sweep(name), study_name(name, study)
    task = load_task_for(plan)
    opened = _open(plan, task, study, results, console)
    stage = ""

    def tick(progress: Progress) -> None:
        nonlocal stage
        view.tick(progress)
        if stage and progress.stage != stage:
            _write_report(opened.records.read(), task, reports)
        stage = progress.stage

    view = ProgressView(plan, task.objective, console, opened.parallelism.workers)
    try:
        with view:
            launcher.run_study(opened, plan, tick, extend_grid, claims, add_seeds)
    finally:
        # Also after Ctrl-C: what is stored so far is worth a page.
        study_results = opened.records.read()
        path = _write_report(study_results, task, reports)
    _write_index(results, reports)
    print_recommendation(study_results, console)
    if claims:
        print_claims(study_results, console)
    say(console, f"report: {path}")


def _open(plan: Sweep, task: Task, name: str, results: Path, console: Console) -> OpenStudy:
    """Opens the study, a new one after all checks, and prints what it runs."""
    from harness.study import checks, launcher, session

    if not session.exists(results, name):  # a study that resumes was checked when it began
        for note in checks.check_sweep(plan, task):
            say(console, f"note: {note}")
    parallelism = launcher.parallelism_of(plan, name, results)
    if parallelism.why:
        say(console, f"note: {parallelism.why}")
    opened = session.open_study(plan, task, name, results, parallelism)
    model = plan.model.name
    say(console, f"study {name}: {plan.task} on {model}, {opened.parallelism}, in {opened.folder}")
    return opened


def _write_index(results: Path, reports: Path) -> None:
    """Updates the index of all studies; a study that cannot be read must not cost the verdict."""
    from harness.errors import UserError
    from harness.report import index
    from harness.storage import overview

    with suppress(UserError):
        index.write(overview.find_studies(results), reports)


def _write_report(results: StudyResults, task: Task, reports: Path) -> Path:
    from harness.report.page import write
    from harness.study.outputs import attach_outputs

    return write(attach_outputs(results, task=task), reports / f"{results.name}.html")


#: Seconds between plain lines while nothing changes.
_QUIET: Final = 60.0


class ProgressView:
    """Shows a running sweep: a live table on a terminal, plain lines elsewhere.

    Args:
        sweep: what runs.
        objective: unit and scale of the score.
        console: where to print.
        workers: number of workers.
    """

    def __init__(self, sweep: Sweep, objective: Objective, console: Console, workers: int) -> None:
        from rich.live import Live

        self._sweep, self._objective, self._console = sweep, objective, console
        self._workers = workers
        self._began = time.monotonic()
        self._stage, self._stage_began, self._stage_completed = "", time.monotonic(), 0
        self._last_line, self._last_printed = "", 0.0
        self._live = Live(console=console, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        """Starts the live table."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the live table."""
        if self._live:
            self._live.stop()

    def tick(self, progress: Progress) -> None:
        """Shows the progress at one moment."""
        completed = progress.completed.get(progress.stage, 0)
        if progress.stage != self._stage:
            self._stage, self._stage_began = progress.stage, time.monotonic()
            self._stage_completed = completed
        if self._live:
            self._live.update(self._table(progress))
            return
        line = self._line(progress)
        quiet = time.monotonic() - self._last_printed > _QUIET
        if line != self._last_line and (completed % 5 == 0 or quiet):
            say(self._console, f"{_clock(time.monotonic() - self._began)}  {line}")
            self._last_line, self._last_printed = line, time.monotonic()

    def remaining_seconds(self, progress: Progress) -> float | None:
        """Seconds until the stage ends, at the rate of this session; None before it is known."""
        completed = progress.completed.get(progress.stage, 0) - self._stage_completed
        if completed < self._workers:
            return None
        return (time.monotonic() - self._stage_began) / completed * progress.remaining

    def _best(self, progress: Progress) -> str:
        from harness.analysis.formatting import metric_format

        if progress.best is None:
            return ""
        return f"{metric_format(self._objective).show(progress.best)} ({progress.best_label})"

    def _line(self, progress: Progress) -> str:
        completed = progress.completed.get(progress.stage, 0)
        line = f"{progress.stage} {completed}/{completed + progress.remaining}"
        best = self._best(progress)
        return f"{line}, best {best}" if best else line

    def _table(self, progress: Progress) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        completed = progress.completed.get(progress.stage, 0)
        total = completed + progress.remaining
        seconds = self.remaining_seconds(progress)
        eta = "estimating…" if seconds is None else _clock(seconds)
        table = Table.grid(padding=(0, 2))
        table.add_row("stage", f"{progress.stage} {completed}/{total} · ETA {eta}")
        table.add_row(
            "trials", ", ".join(f"{count} {state}" for state, count in progress.outcomes.items())
        )
        if best := self._best(progress):
            table.add_row("best", f"{best} {self._objective.unit}, validation")
        table.add_row("elapsed", _clock(time.monotonic() - self._began))
        for label in progress.running:
            table.add_row("running", label)
        bar = ProgressBar(total=max(1, total), completed=completed, width=60)
        return Group(Text(f"{self._sweep.task} on {self._sweep.model.name}", "bold"), table, bar)


def _clock(seconds: float) -> str:
    """`4:05`, or `1:04:05` from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    clock = f"{minutes // 60}:{minutes % 60:02d}" if minutes >= 60 else f"{minutes}"
    return f"{clock}:{rest:02d}"
