"""The studies of a folder, and how far each is: for `list`, the live view and the index page."""

import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from optuna.trial import FrozenTrial, TrialState

from harness.errors import UserError
from harness.results import StudyResults
from harness.storage.records import read_study
from harness.storage.study import (
    StudyStore,
    config_of,
    has_full_config,
    is_cancelled,
    is_lost,
    study_url,
)


@dataclass(frozen=True)
class Progress:
    """How far a study is.

    Attributes:
        stage: the stage of the newest trial, or `start`.
        completed: trials that have ended, by stage.
        remaining: trials of that stage that wait or run.
        outcomes: how trials ended: `complete`, `pruned`, `fail`.
        best: best objective value of the search so far (where there is none, of the ablation),
            or None.
        best_label: the configuration behind it.
        running: labels of the running trials.
    """

    stage: str
    completed: dict[str, int]
    remaining: int
    outcomes: dict[str, int]
    best: float | None
    best_label: str
    running: tuple[str, ...]


def study_progress(studies: StudyStore) -> Progress:
    """Reads the progress of a study."""
    slots: set[str] = set()
    trials: list[FrozenTrial] = []
    for trial in studies.trials():
        if is_lost(trial) or is_cancelled(trial):
            continue
        # Two workers may plan a trial at the same time; it is run once all the same.
        if trial.user_attrs["slot"] not in slots:
            slots.add(trial.user_attrs["slot"])
            trials.append(trial)
    ended = [trial for trial in trials if trial.state.is_finished()]
    complete = [trial for trial in ended if trial.state == TrialState.COMPLETE]
    searched, ablated = (
        [trial for trial in complete if trial.user_attrs["stage"] == stage]
        for stage in ("search", "ablate")
    )
    sign = 1 if studies.study.direction.name == "MAXIMIZE" else -1
    best = max(searched or ablated, key=lambda trial: sign * trial.values[0], default=None)
    return Progress(
        stage=str(trials[-1].user_attrs["stage"]) if trials else "start",
        completed=dict(Counter(str(trial.user_attrs["stage"]) for trial in ended)),
        remaining=len(trials) - len(ended),
        outcomes=dict(Counter(trial.state.name.lower() for trial in ended)),
        best=best.values[0] if best else None,
        best_label=_label(best) if best else "",
        running=tuple(
            f"#{trial.number} {_label(trial)}"
            for trial in trials
            if trial.state == TrialState.RUNNING
        ),
    )


def _label(trial: FrozenTrial) -> str:
    if not has_full_config(trial):
        return "being sampled"
    config = config_of(trial)
    if config.variant == "full":
        return f"full fine-tuning lr={config.learning_rate:.2g}"
    return (
        f"{config.variant} r={config.rank} {config.target_modules} "
        f"alpha={config.alpha_ratio:g}r dropout={config.dropout:g} lr={config.learning_rate:.2g}"
    )


@dataclass(frozen=True)
class Summary:
    """A study in a line.

    Attributes:
        name: its folder's name.
        trials: trials that have ended, lost ones left out.
        complete: those of them that are complete.
        stage: the stage of the newest trial, or `-`.
        path: its folder.
    """

    name: str
    trials: int
    complete: int
    stage: str
    path: Path


def summaries(results: Path) -> list[Summary]:
    """All studies in a folder, by name."""
    studies = []
    for file in sorted(results.glob("*/study.db")):
        folder = file.parent
        with closing(StudyStore(study_url(folder), folder.name)) as store:
            trials = store.trials()
        ended = [trial for trial in trials if trial.state.is_finished() and not is_lost(trial)]
        complete = sum(trial.state == TrialState.COMPLETE for trial in ended)
        stage = str(trials[-1].user_attrs["stage"]) if trials else "-"
        studies.append(Summary(folder.name, len(ended), complete, stage, folder))
    return studies


class FoundStudy(NamedTuple):
    """A study of a folder, not read yet.

    Attributes:
        name: its name, which is its folder's.
        stamp: changes whenever its database has been written to.
        read: reads its tables; raises UserError where it cannot be read.
    """

    name: str
    stamp: str
    read: Callable[[], StudyResults]


def find_studies(results: Path) -> Iterator[FoundStudy]:
    """The studies of a folder, which may be missing, by name."""
    for file in sorted(results.glob("*/study.db")):
        folder = file.parent
        yield FoundStudy(folder.name, _stamp(file), functools.partial(_read, folder))


def _read(folder: Path) -> StudyResults:
    try:
        return read_study(folder.name, folder.parent)
    except UserError as error:
        # The index page may be passed on: it must not show paths of this machine.
        raise UserError(str(error).removeprefix(f"{study_url(folder)}: ")) from None


def _stamp(file: Path) -> str:
    parts = [str(file.resolve())]
    for part in (file, file.with_name(f"{file.name}-wal")):
        # A reader leaves an empty write-ahead log: that is no change.
        if part.is_file() and part.stat().st_size:
            parts.append(f"{part.stat().st_size}:{part.stat().st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
