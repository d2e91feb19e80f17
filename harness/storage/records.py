"""Stores what Optuna cannot, and reads all of a study back as `StudyResults`. Imports no torch.

Rows of the database -> the frames of `StudyResults`.

Decisions that are made anew when a study's learning rates are widened.

What was decided after the rates were tuned holds for one round. A later round writes its own under
the name and its number (`cells@1`); readers see those of the last round alone.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
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

#: What a row of scores has for each of its examples, beside the statistics.
_FOR_EACH: Final = ("examples", "predictions", "unparsed")


def trial_frame(trials: list[FrozenTrial], scores: Any, objective: Objective) -> pd.DataFrame:
    """`StudyResults.trials`, without waiting and superseded trials."""
    tests = {row.trial: row.metrics.get(objective.name) for row in scores if row.split == "test"}
    rows = []
    for trial in trials:
        lost = is_lost(trial)
        if trial.state == TrialState.WAITING or not has_full_config(trial):
            continue
        if lost and str(trial.user_attrs["error"]).startswith("superseded"):
            continue
        rows.append(_trial(trial, "lost" if lost else _STATES[trial.state], tests))
    return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS))


def _trial(trial: FrozenTrial, state: str, tests: Mapping[int, float | None]) -> dict[str, Any]:
    noted, config = trial.user_attrs, config_of(trial)
    complete = trial.state == TrialState.COMPLETE
    test = tests.get(trial.number)
    return {
        **asdict(config),
        "number": trial.number,
        "stage": str(noted["stage"]),
        "state": state,
        "alpha_ratio": float(trial.params.get("alpha_ratio", config.alpha_ratio)),
        "key": config.key,
        "value": float(trial.values[0]) if complete and trial.values else float("nan"),
        "test": float(test) if complete and test is not None else float("nan"),
        "duplicate_of": noted.get("duplicate_of", pd.NA),
        "error": noted.get("error"),
        "proofs": " ".join(noted.get("proofs", ())),
        "worker": noted.get("worker"),
        "started": trial.datetime_start,
        "finished": trial.datetime_complete,
    }


def plain_frame(rows: Any, columns: tuple[str, ...], known: set[int]) -> pd.DataFrame:
    """Rows of a table of ours, of known trials, as a frame."""
    chosen = [[getattr(row, name) for name in columns] for row in rows if row.trial in known]
    return pd.DataFrame(chosen, columns=list(columns)).sort_values(
        list(columns[:2]), ignore_index=True
    )


def cost_frame(rows: Any, trials: list[FrozenTrial], known: set[int]) -> pd.DataFrame:
    """`StudyResults.costs`; NaN for memory of studies that were begun before it was noted."""
    frame = plain_frame(rows, COST_COLUMNS[:-1], known)
    noted = {trial.number: trial.user_attrs.get(COST_COLUMNS[-1]) for trial in trials}
    frame[COST_COLUMNS[-1]] = pd.to_numeric(frame["trial"].map(noted)).astype(float)
    return frame


def example_frame(rows: Any, columns: tuple[str, ...], objective: Objective) -> pd.DataFrame:
    """Scores of many examples as one row each."""
    rows = list(rows)
    if not rows:
        return pd.DataFrame(columns=[*columns, *objective.columns])
    # One frame for all: a small one for each row, joined in the end, takes ten times as long.
    shape = (-1, len(objective.columns))
    numbers = np.concatenate([np.asarray(row.statistics, float).reshape(shape) for row in rows])
    frame = pd.DataFrame(numbers, columns=list(objective.columns))
    who = "trial" if columns[0] == "trial" else "baseline"
    given = (
        [getattr(row, who) for row in rows for _ in row.examples],
        [row.split for row in rows for _ in row.examples],
        *([one for row in rows for one in getattr(row, name)] for name in _FOR_EACH),
    )
    for place, (name, values) in enumerate(zip(columns, given, strict=True)):
        frame.insert(place, name, values)
    return frame


def metric_frame(rows: Any, known: set[int]) -> pd.DataFrame:
    """`StudyResults.metrics`: of known trials and of all baselines."""
    chosen = [
        (row.trial, row.baseline, row.split, metric, float("nan") if value is None else value)
        for row in rows
        if row.trial in known or row.trial == -1
        for metric, value in row.metrics.items()
    ]
    return pd.DataFrame(chosen, columns=list(METRIC_COLUMNS))


Decide = Callable[[str, Any], Any]

#: Each widening is written down under this and its number, from 1.
WIDENED: Final = "widened."
_LATE: Final = ("cells", "finalists", "finalist_configs", "full", "contenders")


def round_number(attributes: Mapping[str, Any]) -> int:
    """How often the study's rates were widened."""
    return sum(name.startswith(WIDENED) for name in attributes)


def is_late(name: str) -> bool:
    """Whether a decision depends on tuned rates."""
    return name in _LATE or name.startswith("contenders.")


def current_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes as the last round has them."""
    last = round_number(attributes)
    if last == 0:
        return dict(attributes)
    found = {n: value for n, value in attributes.items() if "@" not in n and not is_late(n)}
    ending = f"@{last}"
    late = {n: value for n, value in attributes.items() if n.endswith(ending)}
    return found | {name.removesuffix(ending): value for name, value in late.items()}


def setter_for_round(decide: Decide, attributes: Mapping[str, Any]) -> Decide:
    """Writes late decisions under the name of the last round."""
    last = round_number(attributes)

    def under(name: str, value: Any) -> Any:
        return decide(f"{name}@{last}" if last and is_late(name) else name, value)

    return under


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

    def __init__(self, studies: StudyStore) -> None:
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
            old = self._row()
        another = "choose another name with --study NAME, or another folder with --results DIR"
        # A study that was begun before a key came has it as the key is by default.
        if sweep.digest() not in (old.sweep_digest, _digest(old.sweep)):
            keys = ", ".join(_differences(old.sweep, sweep.to_dict())[:3])
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

    def set_once(self, name: str, value: Any) -> Any:
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
        return current_attributes({**found, "dropped": [line for part in parts for line in part]})

    def add_result(self, result: TrialResult) -> None:
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
    studies = StudyStore(study_url(study_folder(name, Path(results))), name)
    try:
        return Records(studies).read()
    finally:
        studies.close()


def summaries(results: Path) -> list[Summary]:
    """All studies in a folder, by name."""
    found = []
    for folder in _folders(results):
        studies = StudyStore(study_url(folder), folder.name)
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
        return sweeps.parse_sweep(frozen, "").digest()
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
