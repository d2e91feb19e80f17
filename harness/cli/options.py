"""Options that several verbs share, and the sweep that they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import UserError

if TYPE_CHECKING:
    from harness.config.sweep import Sweep

Name = Annotated[str, typer.Argument(help="a name in sweeps/, or the path of a YAML file")]
Study = Annotated[str, typer.Argument(help="name of a study, as `list studies` shows it")]
Model = Annotated[str | None, typer.Option(help="builtin:tiny, a folder, a .gguf file, a hub id")]
Trials = Annotated[int | None, typer.Option(help="configurations to search")]
Minutes = Annotated[float | None, typer.Option(help="bound on the whole study")]
Seeds = Annotated[
    int | None, typer.Option(help="seeds of the confirm stage: its only look is at so many")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="any key of the YAML, such as space.rank=[8,16]; repeatable"),
]
Workers = Annotated[int | None, typer.Option(help="local processes")]
Data = Annotated[Path | None, typer.Option(help="folder of your own rows, in place of the task's")]
Limit = Annotated[int | None, typer.Option(help="examples of each split at most")]
ExtendGrid = Annotated[
    bool, typer.Option("--extend-grid", help="try one learning rate beyond each grid's edge")
]
Claims = Annotated[
    bool,
    typer.Option("--claims", help="also train what common rules of thumb need to be tested"),
]
AddSeeds = Annotated[
    int,
    typer.Option("--add-seeds", help="more seeds for finalists; with --claims for claims", min=0),
]
AllowLeaks = Annotated[
    bool, typer.Option("--allow-leaks", help="go on though inputs stand in two splits")
]
Preset = Annotated[str | None, typer.Option(help="quick, standard or thorough")]
Results = Annotated[Path, typer.Option(help="folder of studies")]
Reports = Annotated[Path, typer.Option(help="folder of reports")]


def sweep_of(
    name: str,
    model: str | None,
    trials: int | None,
    minutes: float | None,
    seeds: int | None,
    overrides: list[str] | None,
    workers: int | None,
    data: Path | None,
    limit: int | None,
    preset: str | None,
    allow_leaks: bool,
    or_task: bool = False,
) -> Sweep:
    """The sweep of that name (or of that task), with what the options change."""
    from harness.config.sweep import load_sweep

    if data is not None and not data.is_dir():
        raise UserError(f"--data {data}: no such folder")
    return load_sweep(
        name,
        overrides or (),
        preset,
        or_task,
        model__name=model,
        search__trials=trials,
        minutes=minutes,
        confirmation__looks=None if seeds is None else [seeds],
        workers=workers,
        data__folder=None if data is None else str(data.resolve()),
        data__limit=limit,
        data__allow_leaks=allow_leaks or None,
    )


def study_name(name: str, study: str | None) -> str:
    """The study's name: as given, else the sweep's."""
    chosen = study or Path(name).stem
    if not chosen or chosen in {".", ".."} or any(sign in chosen for sign in "/\\\0"):
        raise UserError(f"--study {chosen}: a study's name is a folder's name, without slashes")
    return chosen
