"""Options that several verbs share, the sweep that they make, and tables for the terminal."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, get_type_hints

import typer

from harness.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from harness.config.sweep import Sweep

Name = Annotated[str, typer.Argument(help="a name in sweeps/, or the path of a YAML file")]
Study = Annotated[str, typer.Argument(help="name of a study, as `list studies` shows it")]
Results = Annotated[Path, typer.Option(help="folder of studies")]
Reports = Annotated[Path, typer.Option(help="folder of reports")]


@dataclass(frozen=True)
class SweepOptions:
    """The options that change a sweep; `with_sweep_options` adds one to a command per field."""

    model: Annotated[
        str | None, typer.Option(help="builtin:tiny, a folder, a .gguf file, a hub id")
    ] = None
    trials: Annotated[int | None, typer.Option(help="number of search trials")] = None
    minutes: Annotated[float | None, typer.Option(help="time limit of the whole study")] = None
    seeds: Annotated[
        int | None,
        typer.Option(help="number of confirmation seeds (replaces the planned interim looks)"),
    ] = None
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="any key of the YAML, such as space.rank=[8,16]; repeatable"),
    ] = None
    workers: Annotated[int | None, typer.Option(help="number of local processes")] = None
    data: Annotated[
        Path | None, typer.Option(help="folder with your own data instead of the task's")
    ] = None
    limit: Annotated[int | None, typer.Option(help="maximum examples of each split")] = None
    preset: Annotated[str | None, typer.Option(help="quick, standard or thorough")] = None
    allow_leaks: Annotated[
        bool,
        typer.Option(
            "--allow-leaks", help="run although inputs occur in two splits; the report states it"
        ),
    ] = False

    def sweep(self, name: str, or_task: bool = False) -> Sweep:
        """The sweep of that name with what the options change.

        Args:
            name: a name in sweeps/, or the path of a YAML file.
            or_task: also accept a task's name, and run it with the default sweep.

        Raises:
            UserError: there is no such sweep, or an option does not fit it.
        """
        from harness.config.sweep import load_sweep

        if self.data is not None and not self.data.is_dir():
            raise UserError(f"--data {self.data}: no such folder")
        return load_sweep(
            name,
            self.overrides or (),
            self.preset,
            or_task,
            model__name=self.model,
            search__trials=self.trials,
            minutes=self.minutes,
            confirmation__looks=None if self.seeds is None else [self.seeds],
            workers=self.workers,
            data__folder=None if self.data is None else str(self.data.resolve()),
            data__limit=self.limit,
            data__allow_leaks=self.allow_leaks or None,
        )


def with_sweep_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replaces a command's parameter `options` by one option for each field of `SweepOptions`.

    typer reads a command's options from its signature, so the decorated function has one that
    lists them in the place of `options`.
    """
    hints = get_type_hints(SweepOptions, include_extras=True)
    fields = {field.name: field.default for field in dataclasses.fields(SweepOptions)}
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name == "options":
            parameters += [
                parameter.replace(name=field, annotation=hints[field], default=default)
                for field, default in fields.items()
            ]
        else:
            parameters.append(parameter)

    @wraps(command)
    def wrapper(**values: Any) -> None:
        options = SweepOptions(**{field: values.pop(field) for field in fields})
        command(options=options, **values)

    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return wrapper


def study_name(sweep: str, study: str | None) -> str:
    """The study's name: as `--study` says, else the sweep's.

    Raises:
        UserError: it cannot be the name of a folder.
    """
    name = study or Path(sweep).stem
    if not name or name in {".", ".."} or any(sign in name for sign in "/\\\0"):
        raise UserError(f"--study {name}: must be a plain folder name, without slashes")
    return name


def hourly_price(text: str | None) -> float | None:
    """The price an hour in `1.29/h` or `1.29`.

    Raises:
        UserError: it is written otherwise.
    """
    import re

    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/h)?", text.strip())
    if not match:
        raise UserError(f"--price {text}: write it as 1.29/h")
    return float(match.group(1))


def say(console: Console, text: str) -> None:
    """Prints a text as it is: not wrapped, highlighted or read as markup."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    empty: str = "none",
    to: TextIO | None = None,
) -> None:
    """Prints a table: drawn by rich on a terminal, else as plain aligned columns.

    Columns of numbers are right-aligned; `empty` follows the title if there is no row.
    """
    stream = sys.stdout if to is None else to
    cells = [[_cell(cell) for cell in row] for row in rows]
    numeric = [
        bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        for i in range(len(columns))
    ]
    if not rows:
        print(f"{title}: {empty}", file=stream)
    elif stream.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=title, title_justify="left", title_style="bold")
        for column, right in zip(columns, numeric, strict=True):
            table.add_column(column, justify="right" if right else "left", overflow="fold")
        for row in cells:
            table.add_row(*map(escape, row))
        Console(file=stream).print(table)
    else:
        print("\n".join([title, *_aligned(columns, cells, numeric)]), file=stream)


def _cell(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _aligned(
    columns: Sequence[str], cells: Sequence[Sequence[str]], numeric: Sequence[bool]
) -> list[str]:
    """The lines of a table, its columns two blanks apart."""
    grid = [list(columns), *cells]
    widths = [max(len(row[i]) for row in grid) for i in range(len(columns))]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in grid
    ]
