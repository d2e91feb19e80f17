"""`list`: the sweeps, tasks, variants and studies there are; loads none of them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import yaml

from harness.cli.options import Results, print_table
from harness.config import catalog


class What(StrEnum):
    """What can be listed."""

    SWEEPS = "sweeps"
    TASKS = "tasks"
    VARIANTS = "variants"
    STUDIES = "studies"


def list_entries(
    what: Annotated[
        What | None,
        typer.Argument(help="what to list (default: sweeps, tasks, studies)", show_default=False),
    ] = None,
    results: Results = Path("results"),
) -> None:
    """List sweeps, tasks, LoRA variants and studies.

    A name in the working folder's sweeps/ or tasks/ takes precedence over a bundled one.
    """
    if what in (None, What.SWEEPS):
        print_table("Sweeps", ("name", "task", "summary", "file"), sweep_rows())
    if what in (None, What.TASKS):
        print_table("Tasks", ("name", "summary", "folder"), task_rows())
    if what is What.VARIANTS:
        print_table("Variants", ("name", "summary", "source", "proofs"), variant_rows())
    if what in (None, What.STUDIES):
        columns = ("name", "trials", "complete", "stage", "folder")
        print_table("Studies", columns, study_rows(results), empty=f"no studies in {results}")


def sweep_rows() -> list[tuple[str, str, str, str]]:
    """One row a sweep: name, task, summary, file."""
    rows = []
    for name, file in catalog.list_sweeps().items():
        text = file.read_text(encoding="utf-8")
        body = _mapping(text)
        summary = body.get("summary") or _first_comment(text)
        rows.append((name, str(body.get("task", "?")), str(summary), _relative(file)))
    return rows


def task_rows() -> list[tuple[str, str, str]]:
    """One row a task: name, summary, folder."""
    rows = []
    for name, folder in catalog.list_tasks().items():
        text = (folder / "task.yaml").read_text(encoding="utf-8")
        body = _mapping(text)
        summary = str(body.get("summary") or body.get("description") or _first_comment(text))
        rows.append((name, " ".join(summary.split()), _relative(folder)))
    return rows


def variant_rows() -> list[tuple[str, str, str, str]]:
    """One row a variant: name, what it changes, its source, what is checked on each trial."""
    from harness.config.variants import RELATED_METHODS, VARIANTS

    rows = [
        (name, variant.summary, variant.source, ", ".join(variant.proofs).replace("_", " "))
        for name, variant in VARIANTS
    ]
    return rows + [(name, *columns) for name, columns in RELATED_METHODS.items()]


def study_rows(results: Path) -> list[tuple[str, int, int, str, str]]:
    """One row a study: name, trials, complete trials, the stage it has reached, folder."""
    if not results.is_dir():
        return []
    from harness.storage import overview

    return [
        (study.name, study.trials, study.complete, study.stage, _relative(study.path))
        for study in overview.summaries(results)
    ]


def _mapping(text: str) -> dict[str, object]:
    """A YAML file's keys; none where it cannot be read (`harness check` says why)."""
    try:
        body = yaml.safe_load(text)
    except yaml.YAMLError:
        return {"summary": "cannot be read; see `harness check`"}
    return body if isinstance(body, dict) else {}


def _first_comment(text: str) -> str:
    """The first comment of a YAML file that opens with one."""
    first = text.lstrip().partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def _relative(path: Path) -> str:
    """A path relative to the working folder, where it lies below it."""
    folder = Path.cwd()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
