"""Hyperparameter importance of a search, and whether early evaluations rank its trials.

PED-ANOVA and fANOVA (by Optuna), and permutation importance and partial dependence of a random
forest. Search trials lie where a sampler looked, so nothing here is an ablation.

Each resample of the trials has a forest of its own; its importance is measured on the trials that
it was not fitted on, and the spread over resamples gives the intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from harness.analysis.scores import complete

if TYPE_CHECKING:
    from harness.aggregates import Array
    from harness.results import StudyResults


_FITS: Final = 30
_TREES: Final = 30
_SHUFFLES: Final = 5
_SEED: Final = 20_260_105
_TAIL: Final = 2.5


def fit_forests(
    trials: pd.DataFrame, values: Array, grids: Mapping[str, Sequence[Any]], fits: int = _FITS
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fits forests on resamples of the trials.

    Args:
        trials: one column a factor; columns of words are classes, others numbers.
        values: scores, one a trial.
        grids: levels of each factor at which the dependence is computed.
        fits: number of resamples.

    Returns:
        Importance (factor, value, low, high): by how much the mean squared error over unseen
        trials grows if the factor is shuffled, as a share of the scores' variance; and dependence
        (factor, level, value, low, high): the mean score that is expected with the factor at that
        level and all else as the trials have it (Friedman 2001).
    """
    from sklearn.ensemble import RandomForestRegressor  # takes a second, which few commands need

    encoded = _Encoded(trials)
    rng = np.random.default_rng(_SEED)
    indices = np.arange(len(values))
    variance = float(np.var(values)) or 1.0
    grid_points = [(factor, level) for factor, levels in grids.items() for level in levels]
    grid_rows = np.concatenate([encoded.at(trials, *point) for point in grid_points])
    errors, means = [], []
    for number in range(fits):
        resample = rng.choice(indices, len(indices))
        unseen = np.setdiff1d(indices, resample)
        if len(unseen) < 2:
            continue
        forest = RandomForestRegressor(_TREES, random_state=number)
        forest.fit(encoded.rows(trials.iloc[resample]), values[resample])
        shuffled = [trials.iloc[unseen]]
        for factor in grids:
            for _ in range(_SHUFFLES):
                permuted = trials.iloc[unseen].copy()
                permuted[factor] = permuted[factor].to_numpy()[rng.permutation(len(unseen))]
                shuffled.append(permuted)
        # One call for all rows: the overhead of a call is far above the cost of a few rows.
        rows = np.concatenate([*(encoded.rows(frame) for frame in shuffled), grid_rows])
        predictions = forest.predict(rows)
        count = len(shuffled) * len(unseen)
        squares = (predictions[:count].reshape(-1, len(unseen)) - values[unseen]) ** 2
        loss = squares.mean(axis=1)
        errors.append((loss[1:].reshape(-1, _SHUFFLES).mean(axis=1) - loss[0]) / variance)
        means.append(predictions[count:].reshape(len(grid_points), len(trials)).mean(axis=1))
    names, levels = zip(*grid_points, strict=True)
    dependence = _summary(np.array(means), {"factor": names, "level": levels})
    return _summary(np.array(errors), {"factor": [*grids]}), dependence


def _summary(fits: Array, names: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    low, high = np.percentile(fits, [_TAIL, 100 - _TAIL], axis=0)
    return pd.DataFrame({**names, "value": fits.mean(axis=0), "low": low, "high": high})


class _Encoded:
    """Numbers as they are, words as one column a class."""

    def __init__(self, trials: pd.DataFrame) -> None:
        numeric = pd.api.types.is_numeric_dtype
        self._classes = {
            name: None if numeric(column) else sorted(set(column))
            for name, column in trials.items()
        }

    def rows(self, trials: pd.DataFrame) -> Array:
        columns = []
        for name, classes in self._classes.items():
            values = trials[name].to_numpy()
            if classes is None:
                columns.append(values.astype(float))
            else:
                columns += [(values == name_of_class).astype(float) for name_of_class in classes]
        return np.column_stack(columns)

    def at(self, trials: pd.DataFrame, factor: str, level: object) -> Array:
        return self.rows(trials.assign(**{factor: np.full(len(trials), level)}))


#: Fewer trials than this support no rank correlation and no importance.
ENOUGH: Final = 8
_FACTORS: Final = ("variant", "rank", "alpha_ratio", "target_modules", "dropout", "learning_rate")
_BY_RATIO: Final = ("rank", "alpha_ratio", "learning_rate")
_WORDS: Final = ("variant", "target_modules")
#: Columns of `importances`.
COLUMNS: Final = ("factor", "ped_anova", "fanova", "forest", "low", "high")
#: Columns of partial dependences.
DEPENDENCE: Final = ("factor", "level", "value", "low", "high")
#: The share of best trials that PED-ANOVA compares with the others, as in its paper.
_BEST_SHARE: Final = 0.1


def rung_correlation(results: StudyResults, share: float) -> float | None:
    """Spearman correlation of the evaluation at a share of the steps with the final score.

    Args:
        results: the study; its complete search trials are used.
        share: of a trial's steps, in (0, 1]; the last reading up to there counts, or the first
            one after it where there is none.

    Returns:
        The correlation, or None with fewer than 8 trials or without any spread.
    """
    from scipy.stats import spearmanr  # takes a third of a second, which a report does not need

    trials = complete(results, "search").dropna(subset=["value"])
    by_trial = {number: rows for number, rows in results.measurements.groupby("trial")}
    early, final = [], []
    for number, value in zip(trials["number"], trials["value"], strict=True):
        rows = by_trial.get(number)
        readings = None if rows is None else rows.dropna(subset=["value"]).sort_values("step")
        if rows is None or readings is None or readings.empty:
            continue
        steps = rows["step"]
        until_share = readings[readings["step"] <= share * float(steps.max()) * (1 + 1e-9)]
        reading = until_share.iloc[-1] if len(until_share) else readings.iloc[0]
        if float(reading["step"]) < float(steps.max()) or share >= 1:
            early.append(float(reading["value"]))
            final.append(float(value))
    if len(early) < ENOUGH or np.ptp(early) == 0 or np.ptp(final) == 0:
        return None
    return float(spearmanr(early, final).statistic)


def factors(results: StudyResults) -> dict[str, Sequence[Any]]:
    """Factors that the search varied, with the levels its space offers; for a range, a grid."""
    space = dict(results.sweep.get("space") or {})
    levels_by_factor: dict[str, Sequence[Any]] = {}
    for name in _FACTORS:
        levels = space.get(name)
        if isinstance(levels, Mapping) and "low" in levels:
            levels_by_factor[name] = np.geomspace(levels["low"], levels["high"], 7).tolist()
        elif isinstance(levels, list | tuple) and len(levels) > 1:
            levels_by_factor[name] = list(levels)
    return levels_by_factor


def importances(results: StudyResults) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Importance of each factor for the scores of search trials; this is no ablation.

    Three methods, since they can disagree widely: PED-ANOVA (Watanabe and others 2023,
    arXiv:2304.10255; which factor tells the best tenth of the trials from the others), fANOVA
    (Hutter and others 2014; shares of the variance that a forest explains by one factor alone),
    both as Optuna computes them, and permutation importance of a random forest with intervals.

    Returns:
        Importances (`COLUMNS`, one row a factor, the highest by the forest first) and partial
        dependences (factor, level, value, low, high); both empty with fewer than 8 complete
        trials or equal scores.
    """
    trials = complete(results, "search").dropna(subset=["value"])
    grids = factors(results)
    if len(trials) < ENOUGH or not grids or np.ptp(trials["value"].astype(float)) == 0:
        return pd.DataFrame(columns=list(COLUMNS)), pd.DataFrame(columns=list(DEPENDENCE))
    encoded = pd.DataFrame({name: _scaled(name, trials[name]) for name in grids})
    scaled = {name: list(_scaled(name, pd.Series([*levels]))) for name, levels in grids.items()}
    values = trials["value"].to_numpy(dtype=float)
    importance, dependence = fit_forests(encoded, values, scaled)
    dependence["level"] = [level for levels in grids.values() for level in levels]
    ped, fanova = _by_optuna(results, trials, grids)
    frame = importance.rename(columns={"value": "forest"})
    for column, shares in (("ped_anova", ped), ("fanova", fanova)):
        frame[column] = [shares.get(name, math.nan) for name in frame["factor"]]
    frame = frame.sort_values("forest", ascending=False, kind="stable", ignore_index=True)
    return frame[list(COLUMNS)], dependence


def recordable_importances(results: StudyResults) -> dict[str, list[dict[str, Any]]]:
    """`importances` as plain values to record: `factors` and `dependence`, None for NaN."""
    return {
        name: [
            {str(k): None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
            for row in frame.to_dict("records")
        ]
        for name, frame in zip(("factors", "dependence"), importances(results), strict=True)
    }


def _scaled(name: str, levels: pd.Series) -> pd.Series:
    """Levels that a forest can order: those that matter by ratio as logarithms."""
    if name in _BY_RATIO:
        return pd.Series(np.log2(levels.to_numpy(dtype=float)), index=levels.index)
    return levels if name in _WORDS else levels.astype(float)


def _by_optuna(
    results: StudyResults, trials: pd.DataFrame, grids: Mapping[str, Sequence[Any]]
) -> tuple[dict[str, float], dict[str, float]]:
    """PED-ANOVA and fANOVA; empty where Optuna finds nothing to compare."""
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    distributions: dict[str, BaseDistribution] = {}
    for name, levels in grids.items():
        if name == "learning_rate":
            rates = trials[name].astype(float)
            low, high = min(*rates, *map(float, levels)), max(*rates, *map(float, levels))
            distributions[name] = FloatDistribution(low, high, log=True)
        else:
            choices = dict.fromkeys([*levels, *trials[name]])
            distributions[name] = CategoricalDistribution(_plain([*choices]))
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        directions = optuna.study.StudyDirection
        direction = directions.MAXIMIZE if results.objective.sign > 0 else directions.MINIMIZE
        study = optuna.create_study(direction=direction)
        for row in trials.to_dict("records"):
            params, value = {name: _plain([row[name]])[0] for name in grids}, float(row["value"])
            trial = optuna.trial.create_trial(
                params=params, distributions=distributions, value=value
            )
            study.add_trial(trial)
        by_evaluator: list[dict[str, float]] = []
        for evaluator in (
            optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_BEST_SHARE),
            optuna.importance.FanovaImportanceEvaluator(seed=0),
        ):
            shares: dict[str, float] = {}
            with suppress(ValueError, RuntimeError):
                shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
            by_evaluator.append(shares)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return by_evaluator[0], by_evaluator[1]


def _plain(levels: Sequence[object]) -> list[Any]:
    """As Optuna takes them."""
    return [level.item() if isinstance(level, np.generic) else level for level in levels]
