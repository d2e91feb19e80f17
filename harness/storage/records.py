"""Stores what Optuna cannot, and reads all of a study back as `StudyResults`. Imports no torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from harness import sweep as sweeps
from harness.errors import UserError, did_you_mean
from harness.results import (
    BASELINE_COLUMNS,
    EXAMPLE_COLUMNS,
    MEASUREMENT_COLUMNS,
    Objective,
    StudyResults,
)
from harness.storage.frames import (
    cost_frame,
    example_frame,
    metric_frame,
    plain_frame,
    trial_frame,
)
from harness.storage.rounds import visible
from harness.storage.studies import Studies, is_lost, url_of
from harness.storage.tables import (
    SCHEMA,
    AttributeRow,
    CostRow,
    MeasurementRow,
    ScoresRow,
    StudyRow,
)
from harness.sweep import FREE_KEYS, Sweep
from harness.trial import SplitScores, TrialResult


@dataclass(frozen=True)
class Summary:
    """A study in a line: its folder's name, trials that ended, complete ones, stage, folder."""

    name: str
    trials: int
    complete: int
    stage: str
    path: Path


class Records:
    """Our tables of one study.

    Args:
        studies: the open study.
    """

    def __init__(self, studies: Studies) -> None:
        """Reads nothing yet."""
        self.studies = studies
        self.name: str = studies.study.study_name
        self._engine = studies.engine

    def register(
        self, sweep: Sweep, task_digest: str, objective: Objective, provenance: Mapping[str, Any]
    ) -> None:
        """Writes the study's row, or compares with the one that is there.

        Raises:
            UserError: the study was made by another sweep, task or schema; names the difference.
        """
        row = StudyRow(
            name=self.name,
            schema_number=SCHEMA,
            sweep=sweep.plain(),
            sweep_digest=sweep.digest(),
            task_digest=task_digest,
            objective=asdict(objective),
            provenance=dict(provenance),
        )
        try:
            with Session(self._engine) as session, session.begin():
                session.add(row)
            return
        except IntegrityError:
            old = self._row()
        another = "choose another name with --study NAME, or another folder with --results DIR"
        # A study that was begun before a key came has it as the key is by default.
        if sweep.digest() not in (old.sweep_digest, _digest(old.sweep)):
            keys = ", ".join(_differences(old.sweep, sweep.plain())[:3])
            raise UserError(f"study '{self.name}' was made by another sweep ({keys}); {another}")
        if old.task_digest != task_digest:
            raise UserError(
                f"study '{self.name}' was made with another version of task '{sweep.task}' or "
                f"other data; {another}"
            )

    def sweep(self) -> dict[str, Any]:
        """The sweep as it was frozen, as plain values."""
        return dict(self._row().sweep)

    def seconds(self) -> float:
        """What all trials took, training and scoring."""
        taken = func.sum(CostRow.train_seconds + CostRow.score_seconds)
        with Session(self._engine) as session:
            return float(session.scalar(select(taken).where(CostRow.study == self.name)) or 0.0)

    def provenance(self) -> dict[str, Any]:
        """Where the study comes from, as noted when it was made."""
        return dict(self._row().provenance)

    def decide(self, name: str, value: Any) -> Any:
        """Writes an attribute unless it is written already; returns the one that holds."""
        try:
            with Session(self._engine) as session, session.begin():
                session.add(AttributeRow(study=self.name, name=name, value=value))
            return value
        except IntegrityError:
            return self._attribute(name)

    def _attribute(self, name: str) -> Any:
        with Session(self._engine) as session:
            row = session.get(AttributeRow, (self.name, name))
            return None if row is None else row.value

    def attributes(self) -> dict[str, Any]:
        """All attributes by name."""
        with Session(self._engine) as session:
            chosen = select(AttributeRow).where(AttributeRow.study == self.name)
            found = {row.name: row.value for row in session.scalars(chosen)}
        # What each stage dropped lies under a name of its own; readers want one list.
        parts = [value for name, value in sorted(found.items()) if name.startswith("dropped.")]
        return visible({**found, "dropped": [line for part in parts for line in part]})

    def add(self, result: TrialResult) -> None:
        """Stores one outcome, in one transaction; a second call replaces the first."""
        with Session(self._engine) as session, session.begin():
            for table in (CostRow, MeasurementRow, ScoresRow):
                session.execute(
                    delete(table).where(table.study == self.name, table.trial == result.number)
                )
            cost = asdict(result.cost)
            del cost["inference_memory"]  # stands with the trial: older tables have no such column
            session.add(
                CostRow(study=self.name, trial=result.number, adapter=result.adapter, **cost)
            )
            for reading in result.measurements:
                session.add(
                    MeasurementRow(study=self.name, trial=result.number, **asdict(reading))
                )
            for scores in result.scores.values():
                session.add(self._scores(result.number, "", scores))

    def add_baseline(self, name: str, scores: SplitScores) -> None:
        """Stores what a baseline scored on a split; a second call replaces the first."""
        with Session(self._engine) as session, session.begin():
            session.merge(self._scores(-1, name, scores))

    def statistics(self, trial: int, split: str) -> dict[str, list[float]]:
        """Statistics of what a trial scored, by example; nothing if it was not scored."""
        with Session(self._engine) as session:
            row = session.get(ScoresRow, (self.name, trial, "", split))
            return {} if row is None else dict(zip(row.examples, row.statistics, strict=True))

    def baselines(self) -> set[tuple[str, str]]:
        """Names and splits of the baselines that are there."""
        with Session(self._engine) as session:
            chosen = select(ScoresRow.baseline, ScoresRow.split).where(
                ScoresRow.study == self.name, ScoresRow.trial == -1
            )
            return {(name, split) for name, split in session.execute(chosen)}

    def read(self) -> StudyResults:
        """All that the study has left behind so far."""
        row = self._row()
        objective = Objective(**{**row.objective, "classes": tuple(row.objective["classes"])})
        with Session(self._engine) as session:
            scores = session.scalars(select(ScoresRow).where(ScoresRow.study == self.name)).all()
            costs = session.scalars(select(CostRow).where(CostRow.study == self.name)).all()
            readings = session.scalars(
                select(MeasurementRow).where(MeasurementRow.study == self.name)
            ).all()
        frozen = self.studies.trials()
        trials = trial_frame(frozen, scores, objective)
        known = set(trials["number"])
        return StudyResults(
            name=self.name,
            objective=objective,
            trials=trials,
            measurements=plain_frame(readings, MEASUREMENT_COLUMNS, known),
            examples=example_frame(
                [s for s in scores if s.trial in known], ("trial", *EXAMPLE_COLUMNS[1:]), objective
            ),
            baselines=example_frame(
                [s for s in scores if s.trial == -1], ("name", *BASELINE_COLUMNS[1:]), objective
            ),
            costs=cost_frame(costs, frozen, known),
            sweep=row.sweep,
            attributes=self.attributes(),
            provenance=row.provenance,
            metrics=metric_frame(scores, known),
        )

    def _row(self) -> StudyRow:
        with Session(self._engine) as session:
            row = session.get(StudyRow, self.name)
        if row is None:
            raise UserError(f"study '{self.name}' has no record of its sweep in this database")
        if row.schema_number != SCHEMA:
            raise UserError(
                f"study '{self.name}' was written with schema {row.schema_number}, this version "
                f"reads schema {SCHEMA}; use the version of harness that made it"
            )
        return row

    def _scores(self, trial: int, baseline: str, scores: SplitScores) -> ScoresRow:
        return ScoresRow(
            study=self.name,
            trial=trial,
            baseline=baseline,
            split=scores.split,
            examples=list(scores.ids),
            predictions=list(scores.predictions),
            unparsed=list(scores.unparsed),
            statistics=[list(row) for row in scores.statistics],
            metrics=dict(scores.values),
        )


def study_folder(name: str, results: Path) -> Path:
    """The folder of a study that exists.

    Raises:
        UserError: there is none; says which there are.
    """
    folder = results / name
    if not (folder / "study.db").is_file():
        known = [entry.name for entry in _folders(results)]
        raise UserError(f"no study '{name}' in {results}; {did_you_mean(name, known)}")
    return folder


def read_study(name: str, results: Path | str = "results") -> StudyResults:
    """Reads a study by name, without importing torch.

    Args:
        name: the study's name, as `harness list studies` shows it.
        results: folder of studies.

    Raises:
        UserError: there is no such study.
    """
    studies = Studies(url_of(study_folder(name, Path(results))), name)
    try:
        return Records(studies).read()
    finally:
        studies.close()


def summaries(results: Path) -> list[Summary]:
    """All studies in a folder, by name."""
    found = []
    for folder in _folders(results):
        studies = Studies(url_of(folder), folder.name)
        trials = studies.trials()
        ended = [trial for trial in trials if trial.state.is_finished() and not is_lost(trial)]
        complete = sum(trial.state == TrialState.COMPLETE for trial in ended)
        stage = str(trials[-1].user_attrs["stage"]) if trials else "-"
        found.append(Summary(folder.name, len(ended), complete, stage, folder))
        studies.close()
    return found


def _folders(results: Path) -> list[Path]:
    return sorted(file.parent for file in results.glob("*/study.db"))


def _digest(frozen: Mapping[str, Any]) -> str | None:
    """The digest of a sweep that an earlier version froze; None if it cannot be read any more."""
    try:
        return sweeps.parse(frozen, "").digest()
    except UserError:
        return None


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> list[str]:
    found: list[str] = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if before == after or (not path and key in FREE_KEYS):
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _differences(before, after, f"{path}{key}.")
        else:
            found.append(f"{path}{key} was {json.dumps(before)}, is {json.dumps(after)}")
    return found
