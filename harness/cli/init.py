"""`init`: a task and a sweep of your own from your data, without writing YAML first."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("init")(init)


def init(
    name: Annotated[str, typer.Argument(help="what to call the task")],
    data: Annotated[
        Path, typer.Option(help="a file, or a folder with train and perhaps validation and test")
    ],
    kind: Annotated[str | None, typer.Option(help="entities, pairs, choice or text")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="jsonl, csv, brat, ... (see docs/data.md)")
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(help="a column by what it is, such as input=question; repeatable"),
    ] = None,
    force: Annotated[bool, typer.Option(help="write over files that are there")] = False,
) -> None:
    """Make a task and a sweep from your own data.

    Looks at the data, guesses what they are for, says why, and writes tasks/NAME/task.yaml and
    sweeps/NAME.yaml into the working folder. The rows stay where they are.
    """
    from harness.tasks.scaffold import create_task

    made = create_task(name, data, kind, format_, _fields(field or []), force)
    for line in made.reasons:
        print(line)
    for file in made.files:
        print(f"wrote {file}")
    print("next:")
    print(f"  python -m harness check {name}")
    print(f"  python -m harness sweep {name} --preset quick --limit 64")


def _fields(given: list[str]) -> dict[str, str]:
    """Columns by task.yaml's names for them.

    Raises:
        UserError: one is written otherwise or stands twice.
    """
    from harness.errors import UserError, did_you_mean

    names = ("id", "text", "entities", "tokens", "tags", "input", "output", "instruction")
    found: dict[str, str] = {}
    for text in given:
        key, sign, column = text.partition("=")
        if not sign or not column:
            raise UserError(f"--field {text}: write it as input=COLUMN")
        if key not in names:
            raise UserError(f"--field {text}: unknown field '{key}'; {did_you_mean(key, names)}")
        if key in found:
            raise UserError(f"--field {text}: {key} is {found[key]} already")
        found[key] = column
    return found
