"""Stores what Optuna has no tables for, and reads a whole study as `StudyResults`.

Attributes of a study are decisions: the first worker to write one decides. When grids of learning
rates are extended, a new round begins. What depends on tuned rates is then decided again, under
its name and the number of the round (`cells@1`); readers see the last round alone.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from harness.config import sweep as sweeps
from harness.config.sweep import FREE_KEYS, Sweep
from harness.errors import UserError, did_you_mean
from harness.results import (
    BASELINE_COLUMNS,
    COST_COLUMNS,
    EXAMPLE_COLUMNS,
    MEASUREMENT_COLUMNS,
    METRIC_COLUMNS,
    TRIAL_COLUMNS,
    Objective,
    StudyResults,
)
from harness.storage.schema import (
    SCHEMA,
    AttributeRow,
    CostRow,
    MeasurementRow,
    ScoresRow,
    StudyRow,
)
from harness.storage.study import StudyStore, config_of, has_full_config, is_lost, study_url
from harness.trial import SplitScores, TrialResult

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}

#: Columns of `ScoresRow` with one entry for each example, besides the statistics.
_PER_EXAMPLE: Final = ("examples", "predictions", "unparsed")


def trial_frame(trials: list[FrozenTrial], scores: Any, objective: Objective) -> pd.DataFrame:
    """`StudyResults.trials`, without waiting and superseded trials."""
    tests = {row.trial: row.metrics.get(objective.name) for row in scores if row.split == "test"}
    rows = []
    for trial in trials:
        lost = is_lost(trial)
        superseded = lost and str(trial.user_attrs["error"]).startswith("superseded")
        if trial.state != TrialState.WAITING and has_full_config(trial) and not superseded:
            rows.append(_trial(trial, "lost" if lost else _STATES[trial.state], tests))
    return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS))


def _trial(trial: FrozenTrial, state: str, tests: Mapping[int, float | None]) -> dict[str, Any]:
    attributes, config = trial.user_attrs, config_of(trial)
    complete = trial.state == TrialState.COMPLETE
    test = tests.get(trial.number)
    return {
        **asdict(config),
        "number": trial.number,
        "stage": str(attributes["stage"]),
        "state": state,
        "alpha_ratio": float(trial.params.get("alpha_ratio", config.alpha_ratio)),
        "key": config.key,
        "value": float(trial.values[0]) if complete and trial.values else float("nan"),
        "test": float(test) if complete and test is not None else float("nan"),
        "duplicate_of": attributes.get("duplicate_of", pd.NA),
        "error": attributes.get("error"),
        "proofs": " ".join(attributes.get("proofs", ())),
        "worker": attributes.get("worker"),
        "started": trial.datetime_start,
        "finished": trial.datetime_complete,
    }


def plain_frame(rows: Any, columns: tuple[str, ...], known: set[int]) -> pd.DataFrame:
    """Rows of one of our tables, of known trials, as a frame."""
    values = [[getattr(row, name) for name in columns] for row in rows if row.trial in known]
    return pd.DataFrame(values, columns=list(columns)).sort_values(
        list(columns[:2]), ignore_index=True
    )


def cost_frame(rows: Any, trials: list[FrozenTrial], known: set[int]) -> pd.DataFrame:
    """`StudyResults.costs`; inference memory is NaN in studies older than its recording."""
    frame = plain_frame(rows, COST_COLUMNS[:-1], known)
    memory = {trial.number: trial.user_attrs.get(COST_COLUMNS[-1]) for trial in trials}
    frame[COST_COLUMNS[-1]] = pd.to_numeric(frame["trial"].map(memory)).astype(float)
    return frame


def example_frame(rows: Any, columns: tuple[str, ...], objective: Objective) -> pd.DataFrame:
    """Scores of many examples as one row each."""
    rows = list(rows)
    if not rows:
        return pd.DataFrame(columns=[*columns, *objective.columns])
    # One frame for all: concatenating a small frame for each row takes ten times as long.
    shape = (-1, len(objective.columns))
    numbers = np.concatenate([np.asarray(row.statistics, float).reshape(shape) for row in rows])
    frame = pd.DataFrame(numbers, columns=list(objective.columns))
    owner = "trial" if columns[0] == "trial" else "baseline"
    column_values = (
        *([getattr(row, name) for row in rows for _ in row.examples] for name in (owner, "split")),
        *([entry for row in rows for entry in getattr(row, name)] for name in _PER_EXAMPLE),
    )
    for index, (name, values) in enumerate(zip(columns, column_values, strict=True)):
        frame.insert(index, name, values)
    return frame


def metric_frame(rows: Any, known: set[int]) -> pd.DataFrame:
    """`StudyResults.metrics`: of known trials and of all baselines."""
    values = [
        (row.trial, row.baseline, row.split, metric, float("nan") if value is None else value)
        for row in rows
        if row.trial in known or row.trial == -1
        for metric, value in row.metrics.items()
    ]
    return pd.DataFrame(values, columns=list(METRIC_COLUMNS))


#: Writes an attribute unless there is one, and returns the one that holds (`Records.set_once`).
Decide = Callable[[str, Any], Any]

#: The attribute of a study whose rules of thumb are to be tested (`--claims`).
CLAIMS_REQUESTED: Final = "claims"
#: Each extension of rate grids is an attribute of this name and its number, from 1.
GRID_EXTENSION: Final = "widened."
#: Attributes that depend on tuned rates.
_PER_ROUND: Final = ("cells", "finalists", "finalist_configs", "full", "contenders")


def round_number(attributes: Mapping[str, Any]) -> int:
    """How often the study's rate grids were extended."""
    return sum(name.startswith(GRID_EXTENSION) for name in attributes)


def is_per_round(name: str) -> bool:
    """Whether a decision depends on tuned rates, and is made again in each round."""
    return name in _PER_ROUND or name.startswith("contenders.")


def current_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes as the last round has them."""
    number = round_number(attributes)
    if number == 0:
        return dict(attributes)
    suffix = f"@{number}"
    lasting = {n: value for n, value in attributes.items() if "@" not in n and not is_per_round(n)}
    current = {
        n.removesuffix(suffix): value for n, value in attributes.items() if n.endswith(suffix)
    }
    return lasting | current


def setter_for_round(decide: Decide, attributes: Mapping[str, Any]) -> Decide:
    """Writes decisions that depend on tuned rates under the name of the last round."""
    number = round_number(attributes)

    def decide_in_round(name: str, value: Any) -> Any:
        return decide(f"{name}@{number}" if number and is_per_round(name) else name, value)

    return decide_in_round


class Records:
    """Our tables of one study.

    Args:
        studies: the open study.
    """

    def __init__(self, studies: StudyStore) -> None:
        self.studies = studies
        self.name: str = studies.study.study_name
        self._engine = studies.engine

    def register(
        self, sweep: Sweep, task_digest: str, objective: Objective, provenance: Mapping[str, Any]
    ) -> None:
        """Writes the study's row, or compares with the existing one.

        Raises:
            UserError: the study was made by another sweep, task or schema; names the difference.
        """
        row = StudyRow(
            name=self.name,
            schema_number=SCHEMA,
            sweep=sweep.to_dict(),
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
            existing = self._row()
        another = "choose another name with --study NAME, or another folder with --results DIR"
        # A study that is older than a key of the sweep has the key's default.
        if sweep.digest() not in (existing.sweep_digest, _digest(existing.sweep)):
            keys = ", ".join(_differences(existing.sweep, sweep.to_dict())[:3])
            raise UserError(f"study '{self.name}' was made by another sweep ({keys}); {another}")
        if existing.task_digest != task_digest:
            raise UserError(
                f"study '{self.name}' was made with another version of task '{sweep.task}' or "
                f"other data; {another}"
            )

    def sweep(self) -> dict[str, Any]:
        """The sweep as it was frozen, as plain values."""
        return dict(self._row().sweep)

    def seconds(self) -> float:
        """Seconds of all trials, training and scoring."""
        total = func.sum(CostRow.train_seconds + CostRow.score_seconds)
        with Session(self._engine) as session:
            return float(session.scalar(select(total).where(CostRow.study == self.name)) or 0.0)

    def provenance(self) -> dict[str, Any]:
        """Versions, machine and command, as recorded when the study was created."""
        return dict(self._row().provenance)

    def set_once(self, name: str, value: Any) -> Any:
        """Writes an attribute unless there is one; returns the one that holds."""
        try:
            with Session(self._engine) as session, session.begin():
                session.add(AttributeRow(study=self.name, name=name, value=value))
            return value
        except IntegrityError:
            with Session(self._engine) as session:
                row = session.get(AttributeRow, (self.name, name))
                return None if row is None else row.value

    def attributes(self) -> dict[str, Any]:
        """All attributes by name."""
        with Session(self._engine) as session:
            query = select(AttributeRow).where(AttributeRow.study == self.name)
            attributes = {row.name: row.value for row in session.scalars(query)}
        # Each stage writes what it dropped under a name of its own; readers get one list.
        names = sorted(name for name in attributes if name.startswith("dropped."))
        dropped = [line for name in names for line in attributes[name]]
        return current_attributes({**attributes, "dropped": dropped})

    def add_result(self, result: TrialResult) -> None:
        """Stores one outcome, in one transaction; a second call replaces the first."""
        with Session(self._engine) as session, session.begin():
            for table in (CostRow, MeasurementRow, ScoresRow):
                session.execute(
                    delete(table).where(table.study == self.name, table.trial == result.number)
                )
            cost = asdict(result.cost)
            del cost["inference_memory"]  # a trial's attribute: older tables have no such column
            keys = {"study": self.name, "trial": result.number}
            session.add(CostRow(**keys, adapter=result.adapter, **cost))
            session.add_all(MeasurementRow(**keys, **asdict(m)) for m in result.measurements)
            session.add_all(self._scores(result.number, "", s) for s in result.scores.values())

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
        """Names and splits of the baselines that are stored."""
        query = select(ScoresRow.baseline, ScoresRow.split)
        query = query.where(ScoresRow.study == self.name, ScoresRow.trial == -1)
        with Session(self._engine) as session:
            return {(name, split) for name, split in session.execute(query)}

    def read(self) -> StudyResults:
        """All tables of the study as they are now."""
        row = self._row()
        objective = Objective(**{**row.objective, "classes": tuple(row.objective["classes"])})
        with Session(self._engine) as session:
            scores = session.scalars(select(ScoresRow).where(ScoresRow.study == self.name)).all()
            costs = session.scalars(select(CostRow).where(CostRow.study == self.name)).all()
            readings = session.scalars(
                select(MeasurementRow).where(MeasurementRow.study == self.name)
            ).all()
        optuna_trials = self.studies.trials()
        trials = trial_frame(optuna_trials, scores, objective)
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
            costs=cost_frame(costs, optuna_trials, known),
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
        UserError: there is none; the message names those that exist.
    """
    folder = results / name
    if not (folder / "study.db").is_file():
        known = sorted(file.parent.name for file in results.glob("*/study.db"))
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
    with closing(StudyStore(study_url(study_folder(name, Path(results))), name)) as studies:
        return Records(studies).read()


def _digest(frozen: Mapping[str, Any]) -> str | None:
    """The digest of a sweep that an earlier version froze; None if it cannot be read any more."""
    try:
        return sweeps.parse_sweep(frozen, "").digest()
    except UserError:
        return None


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> list[str]:
    """Keys that differ, each with both values, without those that a study may change."""
    differences: list[str] = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if before == after or (not path and key in FREE_KEYS):
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            differences += _differences(before, after, f"{path}{key}.")
        else:
            differences.append(f"{path}{key} was {json.dumps(before)}, is {json.dumps(after)}")
    return differences
