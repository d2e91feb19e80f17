"""`report`: writes pages, tables and figures of studies anew, without training or torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from harness.cli import options as opt

if TYPE_CHECKING:
    from harness.results import StudyResults

#: What several studies are compared in.
_SEVERAL: Final = ("html", "csv", "json")


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    told = "Write a study's page, its tables or its figures; of several studies a comparison."
    app.command("report", help=told)(report)


def report(
    studies: Annotated[
        list[str], typer.Argument(help="a study, as `list studies` shows it, or several")
    ],
    form: Annotated[
        str,
        typer.Option("--format", help="html, md, csv, latex, json, svg, png; several by commas"),
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

    asked = [*dict.fromkeys(name.strip() for name in form.split(","))]
    for name in asked:
        if name not in FORMATS:
            raise UserError(f"--format {name}: {did_you_mean(name, FORMATS)}")
    hourly = price_of(price)
    if len(studies) > 1:
        for path in _compare([read_study(name, results) for name in studies], asked, reports):
            print(path)
        return
    found = read_study(studies[0], results)
    if hourly is not None:
        found = replace(found, attributes={**found.attributes, "asked": {"price": hourly}})
    found = with_texts(found, show_text)
    for name in asked:
        print(write(found, name, reports))


def _compare(studies: "Sequence[StudyResults]", asked: Sequence[str], reports: Path) -> list[Path]:
    """Writes a comparison in the formats that it has."""
    from harness.errors import UserError
    from harness.report import comparing
    from harness.report.page import write_text

    for name in asked:
        if name not in _SEVERAL:
            raise UserError(f"--format {name}: several studies are compared as html, csv or json")
    page = comparing.render(studies)
    tables = comparing.tables(studies)
    stem = reports / "-and-".join(one.name for one in studies)[:120]
    written = []
    if "html" in asked:
        written.append(write_text(page, stem.with_name(f"{stem.name}.html")))
    if "json" in asked:
        bodies = [f'"{name}": {frame.to_json(orient="records")}' for name, frame in tables.items()]
        text = "{" + ",\n".join(bodies) + "}\n"
        written.append(write_text(text, stem.with_name(f"{stem.name}.json")))
    if "csv" in asked:
        for name, frame in tables.items():
            write_text(frame.to_csv(index=False, lineterminator="\n"), stem / f"{name}.csv")
        written.append(stem)
    return written
