"""Rows of the database -> the frames of `StudyResults`."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from harness.results import COST_COLUMNS, METRIC_COLUMNS, TRIAL_COLUMNS, Objective
from harness.storage.studies import config_of, drawn, is_lost

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
        if trial.state == TrialState.WAITING or not drawn(trial):
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
