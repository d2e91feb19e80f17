"""A session of a study: creates or reopens it, and writes what a resumed one is to run.

A session is one call of `sweep` or `run_sweep`. Versions, machine and commit are read once, when
the study is created, and stored with it. `harness.study.launcher` runs the session's workers.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from harness.config.sweep import Sweep
from harness.errors import UserError
from harness.storage.records import CLAIMS_REQUESTED, Records
from harness.storage.study import StudyStore, study_url
from harness.study import ablation, checks, claims, confirmation
from harness.tasks.task import SPLITS, Task

_PACKAGES: Final = (
    "harness", "torch", "transformers", "peft", "optuna", "bitsandbytes", "datasets", "evaluate",
    "scikit-learn", "pandas", "numpy", "scipy", "tokenizers", "safetensors",
)  # fmt: skip


def collect_provenance(extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Versions, machine, commit and command, read before the first trial.

    Args:
        extra: digests and settings to add.

    Returns:
        Plain values: `started` (UTC, ISO 8601), `python`, `platform`, `processor`, `cores`,
        `packages`, `commit`, `dirty`, `command`, and what `extra` holds.
    """
    commit, dirty = _commit()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "commit": commit,
        "dirty": dirty,
        "command": f"python -m harness {shlex.join(sys.argv[1:])}",
        **(extra or {}),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> tuple[str | None, bool | None]:
    """The commit of the checkout that runs, or (None, None) for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None, None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head.strip(), bool(_git(root, "status", "--porcelain").strip())
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(root: Path, *words: str) -> str:
    process = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10
    )
    return process.stdout


#: Free bytes that a study needs to begin: database, logs and a few adapters.
_FREE_BYTES: Final = 200 * 2**20


@dataclass(frozen=True)
class Parallelism:
    """How many workers a study has, with how many torch threads each.

    Attributes:
        workers: processes.
        threads: of each.
        why: what was measured to choose them, if anything was.
    """

    workers: int
    threads: int
    why: str = ""

    def __str__(self) -> str:
        """As in `2 workers with 1 thread each`."""
        workers = f"{self.workers} worker{'s' * (self.workers > 1)}"
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{workers} with {threads}{' each' * (self.workers > 1)}"


@dataclass(frozen=True)
class OpenStudy:
    """A study that exists and may be run."""

    studies: StudyStore
    records: Records
    task: Task
    folder: Path
    parallelism: Parallelism


def exists(results: Path, name: str) -> bool:
    """Whether a study of that name was begun."""
    return (results / name / "study.db").is_file()


def stored_provenance(results: Path, name: str) -> dict[str, Any] | None:
    """The provenance of a study that was begun; None for a new one."""
    if not exists(results, name):
        return None
    try:
        with closing(StudyStore(study_url(results / name), name)) as studies:
            return Records(studies).provenance()
    except UserError:
        return None  # `open_study` says what is wrong, or begins it anew


def open_study(
    sweep: Sweep, task: Task, name: str, results: Path, parallelism: Parallelism
) -> OpenStudy:
    """Creates the study's folder, database and frozen sweep, or reopens them.

    A study keeps the number of threads that it began with.

    Raises:
        UserError: no space, or the study was made by another sweep or task.
    """
    folder = results / name
    _make_folder(folder)
    direction: Literal["maximize", "minimize"] = (
        "maximize" if task.objective.sign > 0 else "minimize"
    )
    studies = StudyStore(study_url(folder), name, sweep, direction, create=True)
    records = Records(studies)
    provenance = collect_provenance(
        {
            "workers": parallelism.workers,
            "threads": parallelism.threads,
            **({"crew": parallelism.why} if parallelism.why else {}),
            "sweep_digest": sweep.digest(),
            "task_digest": task.digest,
            "task_notes": list(task.notes),
            "leaks": checks.count_leaks(task),
            "examples": {split: len(task.examples(split)) for split in SPLITS},
        }
    )
    records.register(sweep, task.digest, task.objective, provenance)
    # What a report needs to format a metric's values.
    names = ("name", "form", "direction", "scale", "unit")
    metrics = [{name: getattr(metric, name) for name in names} for metric in task.metrics]
    records.set_once("metrics", metrics)
    frozen = folder / "sweep.yaml"
    if not frozen.exists():
        # Written elsewhere and renamed: an interruption leaves no half of a file.
        draft = frozen.with_suffix(".part")
        draft.write_text(yaml.safe_dump(sweep.to_dict(), sort_keys=False), encoding="utf-8")
        os.replace(draft, frozen)  # noqa: PTH105
    # The number of threads can change the last bits of a sum: a study keeps the one it began with.
    threads = int(records.provenance()["threads"])
    return OpenStudy(studies, records, task, folder, Parallelism(parallelism.workers, threads))


def _make_folder(folder: Path) -> None:
    existing = checks.check_folder(folder)
    free = shutil.disk_usage(existing).free
    if free < _FREE_BYTES:
        raise UserError(
            f"{folder}: only {free // 2**20} MB are free, a study needs {_FREE_BYTES // 2**20}; "
            "free some, or give another folder with --results"
        )
    folder.mkdir(parents=True, exist_ok=True)


def request_additions(
    opened: OpenStudy, sweep: Sweep, extend_grid: bool, claims_too: bool, add_seeds: int
) -> None:
    """Writes down what the user requests beyond the sweep; `stages.next_trials` then plans it.

    The arguments are those of `launcher.run_study`.

    Raises:
        UserError: there is nothing to extend or to add seeds to.
    """
    if not (extend_grid or claims_too or add_seeds):
        return
    results, decide = opened.records.read(), opened.records.set_once
    study = f"study '{opened.studies.study.study_name}'"
    if extend_grid:
        if "cells" not in results.attributes:
            reason = "has no tuned learning rates yet; run it without first"
            raise UserError(f"--extend-grid: {study} {reason}")
        if not ablation.extend_rate_grids(results, sweep, decide):
            reason = f"no tuned learning rate of {study} lies at the edge of its grid"
            raise UserError(f"--extend-grid: {reason}")
    if claims_too:
        decide(CLAIMS_REQUESTED, True)
    if extend_grid or claims_too:
        results = opened.records.read()
    if add_seeds and claims_too:
        if not claims.add_seeds(results, sweep, add_seeds, decide):
            reason = "has no undecided claim; run it with --claims first"
            raise UserError(f"--claims --add-seeds: {study} {reason}")
    elif add_seeds:
        if not confirmation.planned_looks_done(results, sweep):
            reason = "has planned looks left; run it without --add-seeds first"
            raise UserError(f"--add-seeds: {study} {reason}")
        if not confirmation.add_seeds(results, add_seeds, decide):
            raise UserError(f"--add-seeds: {study} has no two finalists to compare")
