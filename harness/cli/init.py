"""`init`: a task and a sweep of your own from your data, without writing YAML first."""

from pathlib import Path
from typing import Annotated

import typer


def init(
    name: Annotated[str, typer.Argument(help="name of the new task")],
    data: Annotated[
        Path, typer.Option(help="a file, or a folder with train and perhaps validation and test")
    ],
    kind: Annotated[str | None, typer.Option(help="entities, pairs, choice or text")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="jsonl, csv, brat, ... (see docs/data.md)")
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(help="which column is what, such as input=question; repeatable"),
    ] = None,
    force: Annotated[bool, typer.Option(help="overwrite existing files")] = False,
) -> None:
    """Make a task and a sweep from your own data.

    Infers the task type and the columns from the data, prints its reasons, and writes
    tasks/NAME/task.yaml and sweeps/NAME.yaml into the working folder. The rows stay where they
    are.
    """
    from harness.tasks.scaffold import create_task

    files, reasons = create_task(name, data, kind, format_, _parse_fields(field or []), force)
    for line in (*reasons, *(f"wrote {file}" for file in files)):
        print(line)
    print("next:")
    print(f"  python -m harness check {name}")
    print(f"  python -m harness sweep {name} --preset quick --limit 64")


def _parse_fields(texts: list[str]) -> dict[str, str]:
    """Columns by task.yaml's names for them.

    Raises:
        UserError: one is not written as name=column, is unknown or occurs twice.
    """
    from harness.errors import UserError, did_you_mean

    names = ("id", "text", "entities", "tokens", "tags", "input", "output", "instruction")
    columns: dict[str, str] = {}
    for text in texts:
        key, sign, column = text.partition("=")
        if not sign or not column:
            raise UserError(f"--field {text}: write it as input=COLUMN")
        if key not in names:
            raise UserError(f"--field {text}: unknown field '{key}'; {did_you_mean(key, names)}")
        if key in columns:
            raise UserError(f"--field {text}: {key} is {columns[key]} already")
        columns[key] = column
    return columns
