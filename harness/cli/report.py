"""`report`: writes pages, tables and figures of studies anew, without training or torch."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from harness.cli import options

if TYPE_CHECKING:
    from harness.results import StudyResults

#: What several studies are compared in.
_SEVERAL: Final = ("html", "csv", "json")


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    told = "Write a study's page, tables or figures; of several a comparison, of none the index."
    app.command("report", help=told)(report)


def report(
    studies: Annotated[
        list[str] | None,
        typer.Argument(help="a study, as `list studies` shows it, several, or none for the index"),
    ] = None,
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
    watch: Annotated[
        bool, typer.Option("--watch", help="write the page anew while the sweep runs")
    ] = False,
    results: options.Results = Path("results"),
    reports: options.Reports = Path("reports"),
) -> None:
    """Writes what was asked for and prints the paths."""
    with nullcontext() if watch else _uncollected():
        _write(studies or [], form, price, show_text, watch, results, reports)


def _write(
    studies: Sequence[str],
    form: str,
    price: str | None,
    show_text: bool,
    watch: bool,
    results: Path,
    reports: Path,
) -> None:
    from harness.cli.plan import price_of
    from harness.cli.watching import follow
    from harness.errors import UserError
    from harness.report import page
    from harness.report.exports import write

    asked, hourly = _formats(form), price_of(price)
    if not studies:
        if asked != ["html"] or watch:
            raise UserError("without a study `report` writes the index of all, as html")
        print(_index(results, reports))
        return
    if watch and (len(studies) > 1 or asked != ["html"]):
        raise UserError("--watch: writes the page of one study, as html")
    if len(studies) > 1:
        for path in _compare(studies, asked, results, reports):
            print(path)
        return
    (name,) = studies
    if watch:
        path = reports / f"{name}.html"

        def again(refresh: int | None) -> Path:
            return page.write(_read(name, results, hourly, show_text), path, refresh)

        follow(name, results, again)
        return
    found = _read(name, results, hourly, show_text)
    for each in asked:
        print(write(found, each, reports))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leaves garbage lie: the process is over soon, and looking for it takes a sixth of it."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _formats(text: str) -> list[str]:
    from harness.errors import UserError, did_you_mean
    from harness.report.exports import FORMATS

    asked = [*dict.fromkeys(name.strip() for name in text.split(","))]
    for name in asked:
        if name not in FORMATS:
            raise UserError(f"--format {name}: {did_you_mean(name, FORMATS)}")
    return asked


def _read(name: str, results: Path, hourly: float | None, show_text: bool) -> "StudyResults":
    """A study with all that was asked for beside its tables."""
    from dataclasses import replace

    from harness.storage.records import read_study
    from harness.study.outputs import attach_outputs

    found = read_study(name, results)
    if hourly is not None:
        found = replace(found, attributes={**found.attributes, "asked": {"price": hourly}})
    return attach_outputs(found, show_text)


def _index(results: Path, reports: Path) -> Path:
    from harness.report import index
    from harness.storage import overview

    return index.write(overview.find_studies(results), reports)


def _compare(
    names: Sequence[str], asked: Sequence[str], results: Path, reports: Path
) -> list[Path]:
    """Writes a comparison in the formats that it has."""
    from harness.errors import UserError
    from harness.report import compare
    from harness.report.page import write_text
    from harness.storage.records import read_study

    for name in asked:
        if name not in _SEVERAL:
            raise UserError(f"--format {name}: several studies are compared as html, csv or json")
    studies = [read_study(name, results) for name in names]
    page = compare.render(studies)
    tables = compare.tables(studies)
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
