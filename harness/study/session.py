"""One session of a study: makes or reopens it, runs its workers, until it owes nothing.

The same call goes on where an earlier one was stopped. Writes no report: whoever calls does.

Where a study comes from: versions, machine, commit. Read once, stored with the study.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from harness.config.sweep import Sweep
from harness.errors import UserError
from harness.metrics.metric import Metric
from harness.models import shared_weights
from harness.results import StudyResults
from harness.storage import overview
from harness.storage.heartbeat import fail_dead_workers
from harness.storage.overview import Progress
from harness.storage.records import Records
from harness.storage.study import StudyStore, study_url
from harness.study import ablation, checks, confirmation, launcher, stages
from harness.study import claims as claimed
from harness.study.ablation import ASKED
from harness.study.launcher import WorkerSpec
from harness.tasks.task import Task, load_task_for

_PACKAGES: Final = (
    "harness", "torch", "transformers", "peft", "optuna", "bitsandbytes", "datasets", "evaluate",
    "scikit-learn", "pandas", "numpy", "scipy", "tokenizers", "safetensors",
)  # fmt: skip


def collect(extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What is known before the first trial.

    Args:
        extra: digests and settings to keep beside it.

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
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout


#: Free bytes that a study is not started without: database, logs and a few adapters.
_FREE_BYTES: Final = 200 * 2**20


@dataclass(frozen=True)
class OpenStudy:
    """A study that is there and may be run."""

    studies: StudyStore
    records: Records
    task: Task
    folder: Path
    crew: launcher.Parallelism


def exists(results: Path, name: str) -> bool:
    """Whether a study of that name was begun."""
    return (results / name / "study.db").is_file()


def parallelism_of(sweep: Sweep, name: str, results: Path) -> launcher.Parallelism:
    """The workers of a study; may time a few steps if it is new."""
    return launcher.choose_parallelism(sweep, checks.cuda, _provenance(results, name))


def _provenance(results: Path, name: str) -> dict[str, Any] | None:
    if not exists(results, name):
        return None
    try:
        studies = StudyStore(study_url(results / name), name)
        try:
            return Records(studies).provenance()
        finally:
            studies.close()
    except UserError:
        return None  # whoever opens it says what is wrong, or begins it anew


def open_study(sweep: Sweep, name: str, results: Path, crew: launcher.Parallelism) -> OpenStudy:
    """Makes the study's folder, database and frozen sweep, or reopens them.

    Raises:
        UserError: no space, or the study was made by another sweep or task.
    """
    task = load_task_for(sweep)
    folder = results / name
    _make(folder)
    direction: Literal["maximize", "minimize"] = (
        "maximize" if task.objective.sign > 0 else "minimize"
    )
    studies = StudyStore(study_url(folder), name, sweep, direction, create=True)
    records = Records(studies)
    noted = collect(
        {
            "workers": crew.workers,
            "threads": crew.threads,
            **({"crew": crew.why} if crew.why else {}),
            "sweep_digest": sweep.digest(),
            "task_digest": task.digest,
            "task_notes": list(task.notes),
            "leaks": checks.leaked(task),
            "examples": {
                split: len(task.examples(split)) for split in ("train", "validation", "test")
            },
        }
    )
    records.register(sweep, task.digest, task.objective, noted)
    records.set_once("metrics", [_noted(metric) for metric in task.metrics])
    frozen = folder / "sweep.yaml"
    if not frozen.exists():
        draft = frozen.with_suffix(".part")
        draft.write_text(yaml.safe_dump(sweep.to_dict(), sort_keys=False), encoding="utf-8")
        os.replace(draft, frozen)  # noqa: PTH105
    # The number of threads can change the last bits of a sum: it is chosen once for a study.
    threads = int(records.provenance()["threads"])
    return OpenStudy(studies, records, task, folder, launcher.Parallelism(crew.workers, threads))


def _noted(metric: Metric) -> dict[str, Any]:
    """What a report needs to show a metric's values."""
    names = ("name", "form", "direction", "scale", "unit")
    return {name: getattr(metric, name) for name in names}


def _make(folder: Path) -> None:
    there = checks.check_folder(folder)
    free = shutil.disk_usage(there).free
    if free < _FREE_BYTES:
        raise UserError(
            f"{folder}: only {free // 2**20} MB are free, a study needs {_FREE_BYTES // 2**20}; "
            "free some, or give another folder with --results"
        )
    folder.mkdir(parents=True, exist_ok=True)


def run(
    opened: OpenStudy,
    sweep: Sweep,
    tick: Callable[[Progress], None],
    extend_grid: bool = False,
    claims: bool = False,
    add_seeds: int = 0,
) -> None:
    """Runs workers until the study owes nothing, or `minutes` is over.

    Args:
        opened: the study.
        sweep: what it runs.
        tick: shown the progress about once a second.
        extend_grid: first widen the grids of learning rates whose best rate lies at their edge.
        claims: at last train what the claims (`harness.analysis.claims`) lack, too.
        add_seeds: more seeds for the confirm stage than its looks laid down; with `claims`, for
            what claims compare that are not decided.

    Raises:
        UserError: a mistake of the user's that only a worker could see, or nothing to widen.
        RuntimeError: workers failed again and again.
        KeyboardInterrupt: the user stopped it.
    """
    studies, crew = opened.studies, opened.crew
    fail_dead_workers(studies)
    if extend_grid:
        _widen(opened, sweep)
    if claims:
        opened.records.set_once(ASKED, True)
    if add_seeds and claims:
        _add_claim_seeds(opened, sweep, add_seeds)
    elif add_seeds:
        _add_seeds(opened, sweep, add_seeds)
    if not studies.trials():
        studies.enqueue(stages.search_slots(sweep))
    # Earlier sessions count: the bound is on the study.
    spent, began = opened.records.seconds() / crew.workers, time.time()
    url = study_url(opened.folder)
    assignments = [
        WorkerSpec(
            url,
            studies.study.study_name,
            i,
            crew.workers,
            crew.threads,
            sweep.minutes,
            spent,
            began,
        )
        for i in range(crew.workers)
    ]
    try:
        launcher.run_workers(
            assignments, opened.folder / "logs", lambda: tick(overview.study_progress(studies))
        )
    finally:
        shared_weights.remove_shared_weights(opened.folder)
    tick(overview.study_progress(studies))


def _add_seeds(opened: OpenStudy, sweep: Sweep, count: int) -> None:
    results, name = opened.records.read(), opened.studies.study.study_name
    if not confirmation.planned_looks_done(results, sweep):
        raise UserError(
            f"--add-seeds: study '{name}' has looks left that it laid down; run it without first"
        )
    if not confirmation.add_seeds(results, count, opened.records.set_once):
        raise UserError(f"--add-seeds: study '{name}' has no two finalists to compare")


def _add_claim_seeds(opened: OpenStudy, sweep: Sweep, count: int) -> None:
    results, name = opened.records.read(), opened.studies.study.study_name
    if not claimed.add_seeds(results, sweep, count, opened.records.set_once):
        raise UserError(
            f"--claims --add-seeds: study '{name}' has no claim that is not decided; run it with "
            "--claims first"
        )


def _widen(opened: OpenStudy, sweep: Sweep) -> None:
    results = opened.records.read()
    name = opened.studies.study.study_name
    if "cells" not in results.attributes:
        raise UserError(
            f"--extend-grid: study '{name}' has no tuned learning rates yet; run it without first"
        )
    if not ablation.extend_rate_grids(results, sweep, opened.records.set_once):
        raise UserError(
            f"--extend-grid: no tuned learning rate of study '{name}' lies at the edge of its grid"
        )


def run_sweep(sweep: Sweep, name: str, results: Path | str = "results") -> StudyResults:
    """Runs a whole sweep from Python; the same call goes on where an earlier one stopped.

    Args:
        sweep: what to run, from `harness.load_sweep`.
        name: the study's name, a folder under `results`.
        results: folder of studies.

    Returns:
        All tables of the study.

    Raises:
        UserError: a mistake in sweep, task, data or model.
    """
    if not exists(Path(results), name):
        checks.check_sweep(sweep)
    crew = parallelism_of(sweep, name, Path(results))
    opened = open_study(sweep, name, Path(results), crew)
    try:
        run(opened, sweep, lambda _: None)
        return opened.records.read()
    finally:
        opened.studies.close()
