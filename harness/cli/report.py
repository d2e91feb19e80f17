"""`report`: writes a study's HTML page anew, without training and without torch."""

from pathlib import Path

import typer

from harness.cli import options as opt


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("report", help="Write a study's report as one HTML file.")(report)


def report(
    study: opt.Study,
    results: opt.Results = Path("results"),
    reports: opt.Reports = Path("reports"),
) -> None:
    """Writes the page and prints its path."""
    from harness.report.page import write
    from harness.storage.records import read_study

    print(write(read_study(study, results), reports / f"{study}.html"))
