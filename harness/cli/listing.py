"""`harness list`: the sweeps, tasks, variants and studies there are. Loads none of them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import yaml

from harness.cli import tables
from harness.config import catalog


class What(StrEnum):
    """What can be listed."""

    SWEEPS = "sweeps"
    TASKS = "tasks"
    VARIANTS = "variants"
    STUDIES = "studies"


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("list")(show)


def show(
    what: Annotated[
        What | None,
        typer.Argument(help="Only these; all but the variants if left out.", show_default=False),
    ] = None,
    results: Annotated[Path, typer.Option(help="Folder of the studies.")] = Path("results"),
) -> None:
    """List the sweeps, the tasks, the variants of LoRA and the studies there are.

    A name in the working folder's sweeps/ or tasks/ goes before a bundled one of the same name.
    """
    if what in (None, What.SWEEPS):
        tables.show("Sweeps", ("name", "task", "summary", "file"), sweep_rows())
    if what in (None, What.TASKS):
        tables.show("Tasks", ("name", "summary", "folder"), task_rows())
    if what is What.VARIANTS:
        tables.show("Variants", ("name", "summary", "source", "proofs"), variant_rows())
    if what in (None, What.STUDIES):
        columns = ("name", "trials", "complete", "stage", "folder")
        tables.show("Studies", columns, study_rows(results), empty=f"none under {results}")


def sweep_rows() -> list[tuple[str, str, str, str]]:
    """One row a sweep: name, task, what it is for, file."""
    rows = []
    for name, file in catalog.list_sweeps().items():
        text = file.read_text(encoding="utf-8")
        body = _mapping(text)
        summary = body.get("summary") or _first_comment(text)
        rows.append((name, str(body.get("task", "?")), str(summary), _near(file)))
    return rows


def task_rows() -> list[tuple[str, str, str]]:
    """One row a task: name, what it is for, folder."""
    rows = []
    for name, folder in catalog.list_tasks().items():
        text = (folder / "task.yaml").read_text(encoding="utf-8")
        body = _mapping(text)
        summary = str(body.get("summary") or body.get("description") or _first_comment(text))
        rows.append((name, " ".join(summary.split()), _near(folder)))
    return rows


def variant_rows() -> list[tuple[str, str, str, str]]:
    """One row a variant: name, what it changes, its source, what is checked on each trial."""
    from harness.config.variants import RELATED_METHODS, VARIANTS

    rows = [
        (
            name,
            each.summary,
            each.source,
            ", ".join(proof.replace("_", " ") for proof in each.proofs),
        )
        for name, each in VARIANTS
    ]
    return rows + [
        (name, told, source, proof) for name, (told, source, proof) in RELATED_METHODS.items()
    ]


def study_rows(results: Path) -> list[tuple[str, int, int, str, str]]:
    """One row a study: name, trials, those complete, the stage it has reached, folder."""
    if not results.is_dir():
        return []
    from harness.storage import records

    return [
        (study.name, study.trials, study.complete, study.stage, _near(study.path))
        for study in records.summaries(results)
    ]


def _mapping(text: str) -> dict[str, object]:
    """A YAML file's keys; none where it cannot be read (`harness check` tells why)."""
    try:
        body = yaml.safe_load(text)
    except yaml.YAMLError:
        return {"summary": "cannot be read; see `harness check`"}
    return body if isinstance(body, dict) else {}


def _first_comment(text: str) -> str:
    """The first comment of a YAML file that opens with one."""
    first = text.lstrip().partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def _near(path: Path) -> str:
    """A path as seen from the working folder, where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
