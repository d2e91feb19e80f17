"""A random forest on the search's trials: what it rests on, how its answer moves with a factor.

Each resample of the trials has a forest of its own; importance is measured on the trials that it
did not see, and the spread over resamples gives the intervals. Takes tables, knows no study.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.aggregates import Array

_FITS: Final = 30
_TREES: Final = 30
_SHUFFLES: Final = 5
_SEED: Final = 20_260_105
_TAIL: Final = 2.5


class Forest(NamedTuple):
    """What the forests say; values in the unit of the scores.

    Attributes:
        importance: columns factor, value, low, high: by how much the mean squared error over
            unseen trials grows if the factor is shuffled, as a share of the scores' variance.
        dependence: columns factor, level, value, low, high: the mean score that is expected with
            the factor at that level and all else as the trials have it (Friedman 2001).
    """

    importance: pd.DataFrame
    dependence: pd.DataFrame


def fit(
    trials: pd.DataFrame, values: Array, grids: Mapping[str, Sequence[Any]], fits: int = _FITS
) -> Forest:
    """Fits forests on resamples of the trials.

    Args:
        trials: one column a factor; columns of words are classes, others numbers.
        values: scores, one a trial.
        grids: levels of each factor at which the dependence is told.
        fits: number of resamples.
    """
    from sklearn.ensemble import RandomForestRegressor  # takes a second, which few commands need

    encoded = _Encoded(trials)
    rng = np.random.default_rng(_SEED)
    every = np.arange(len(values))
    whole = float(np.var(values)) or 1.0
    places = [(factor, level) for factor, levels in grids.items() for level in levels]
    asked = np.concatenate([encoded.at(trials, factor, level) for factor, level in places])
    errors, means = [], []
    for number in range(fits):
        drawn = rng.choice(every, len(every))
        unseen = np.setdiff1d(every, drawn)
        if len(unseen) < 2:
            continue
        forest = RandomForestRegressor(_TREES, random_state=number)
        forest.fit(encoded.rows(trials.iloc[drawn]), values[drawn])
        shuffled = [trials.iloc[unseen]]
        for factor in grids:
            for _ in range(_SHUFFLES):
                moved = trials.iloc[unseen].copy()
                moved[factor] = moved[factor].to_numpy()[rng.permutation(len(unseen))]
                shuffled.append(moved)
        # One call for all: a forest's own overhead is far above what a few rows cost.
        rows = np.concatenate([*(encoded.rows(frame) for frame in shuffled), asked])
        told = forest.predict(rows)
        count = len(shuffled) * len(unseen)
        squares = (told[:count].reshape(-1, len(unseen)) - values[unseen]) ** 2
        loss = squares.mean(axis=1)
        errors.append((loss[1:].reshape(-1, _SHUFFLES).mean(axis=1) - loss[0]) / whole)
        means.append(told[count:].reshape(len(places), len(trials)).mean(axis=1))
    importance = _told(np.array(errors), {"factor": [*grids]})
    dependence = _told(
        np.array(means),
        {"factor": [factor for factor, _ in places], "level": [level for _, level in places]},
    )
    return Forest(importance, dependence)


def _told(found: Array, names: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    low, high = np.percentile(found, [_TAIL, 100 - _TAIL], axis=0)
    return pd.DataFrame({**names, "value": found.mean(axis=0), "low": low, "high": high})


class _Encoded:
    """Numbers as they are, words as one column a class."""

    def __init__(self, trials: pd.DataFrame) -> None:
        self._classes = {
            name: None
            if pd.api.types.is_numeric_dtype(trials[name])
            else sorted(set(trials[name]))
            for name in trials.columns
        }

    def rows(self, trials: pd.DataFrame) -> Array:
        columns = []
        for name, classes in self._classes.items():
            own = trials[name].to_numpy()
            if classes is None:
                columns.append(own.astype(float))
            else:
                columns += [(own == each).astype(float) for each in classes]
        return np.column_stack(columns)

    def at(self, trials: pd.DataFrame, factor: str, level: object) -> Array:
        return self.rows(trials.assign(**{factor: np.full(len(trials), level)}))
