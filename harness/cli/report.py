"""`report`: writes a study's page anew, or its tables, without training and without torch."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options as opt


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("report", help="Write a study's report: one HTML file, or its tables.")(report)


def report(
    study: opt.Study,
    form: Annotated[
        str, typer.Option("--format", help="html, md, csv, latex, json; several by commas")
    ] = "html",
    price: Annotated[
        str | None, typer.Option(help="of an hour of the machine, such as 1.29/h")
    ] = None,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="show texts of a task that is not public")
    ] = False,
    results: opt.Results = Path("results"),
    reports: opt.Reports = Path("reports"),
) -> None:
    """Writes what was asked for and prints the paths."""
    from dataclasses import replace

    from harness.cli.plan import price_of
    from harness.errors import UserError, did_you_mean
    from harness.report.exports import FORMATS, write
    from harness.showing import with_texts
    from harness.storage.records import read_study

    asked = [name.strip() for name in form.split(",")]
    for name in asked:
        if name not in FORMATS:
            raise UserError(f"--format {name}: {did_you_mean(name, FORMATS)}")
    hourly = price_of(price)
    found = read_study(study, results)
    if hourly is not None:
        found = replace(found, attributes={**found.attributes, "asked": {"price": hourly}})
    found = with_texts(found, show_text)
    for name in dict.fromkeys(asked):
        print(write(found, name, reports))
