"""Ablation tables, interactions of two factors, and the learning rate of each cell.

Scores are on validation and on fresh seeds only: rates were tuned on another seed. The variance
over seeds is pooled over all cells of the stage; bounds and p-values are corrected over the levels
of one factor.

A pair such as `rank@target_modules=qv` varies the rank once around the incumbent and once with the
target modules fixed at `qv`. The interaction of a level is the difference of its two differences
to the reference level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from harness.analysis.bootstrap import contrasts, influence, scores
from harness.analysis.estimates import (
    CONFIDENCE,
    PairwiseComparison,
    compare_all_pairs,
    compare_to_reference,
    estimates,
    estimates_of,
    finite,
)
from harness.analysis.multiple_comparisons import (
    Pairs,
    against_best,
    holm,
    joint_intervals,
    p_values,
)
from harness.analysis.scores import (
    baselines,
    cached_per_study,
    complete,
    configurations,
    metric_function,
    score_array,
    score_from_rows,
    shots,
)
from harness.trial import TrialConfig

if TYPE_CHECKING:
    from harness.results import StudyResults


FACTORS: Final = ("rank", "alpha_ratio", "target_modules", "dropout", "variant")
COLUMNS: Final = (
    *("level", "key", "reference", "value", "low", "high"),
    *("difference", "difference_low", "difference_high", "p_holm"),
    *("learning_rate", "rate_at_edge", "scale"),
    *("parameters", "train_seconds", "peak_memory", "seeds"),
    *("near_best", "gain", "percent_of_full", "percent_of_gain", "proofs"),
)
_STAGE: Final = "ablate"
_SPLIT: Final = "validation"


def cells_of(results: StudyResults, factor: str) -> list[Mapping[str, Any]]:
    """The cells of a factor that have a complete trial, in the order they were planned."""
    scored = set(complete(results, _STAGE)["key"])
    cells = results.attributes.get("cells") or ()
    return [cell for cell in cells if cell["factor"] == factor and cell["key"] in scored]


@cached_per_study
def all_cells(results: StudyResults) -> PairwiseComparison | None:
    """All cells of the ablation compared with each other; None if there is none."""
    try:
        return compare_all_pairs(score_array(results, _STAGE, _SPLIT), results.objective)
    except ValueError:
        return None


def subset(comparison: PairwiseComparison, keys: Sequence[str]) -> Pairs:
    """The part of a comparison that concerns some keys, in their order."""
    indices = [comparison.array.keys.index(key) for key in keys]
    grid = np.ix_(indices, indices)
    pairs = comparison.pairs
    return Pairs(pairs.difference[grid], pairs.error[grid], pairs.draws[grid])


@cached_per_study
def ablation_table(results: StudyResults, factor: str) -> pd.DataFrame:
    """One row for each level of a factor, everything else as the incumbent has it.

    Args:
        results: the study.
        factor: one of `FACTORS`, or a pair such as `rank@target_modules=qv`.

    Returns:
        `COLUMNS`. Scores and differences (level minus reference) are in the metric's own unit;
        `low` and `high` hold on their own, `difference_low` and `difference_high` together over
        the levels; `scale` is alpha/rank, or alpha/sqrt(rank) for rsLoRA; `near_best` says that
        the level is shown to be no worse than the best one by more than the margin; `gain` is the
        score less the base model's, better being more; `percent_of_full` is the score in percent
        of full fine-tuning's, `percent_of_gain` the gain in percent of full fine-tuning's: one
        of them is known at most, see `percent_of_full`; `proofs` names what was checked on all its
        trials. Empty, with these columns, when the study has no such rows.
    """
    cells = cells_of(results, factor)
    comparison = all_cells(results) if cells else None
    if comparison is None:
        return pd.DataFrame(columns=list(COLUMNS))
    cells = [cell for cell in cells if cell["key"] in comparison.array.keys]
    frame = pd.DataFrame(
        {
            "level": [cell["level"] for cell in cells],
            "key": [str(cell["key"]) for cell in cells],
            "learning_rate": [float(cell["rate"]) for cell in cells],
            "rate_at_edge": [at_edge(cell) for cell in cells],
            "scale": [_scale(cell) for cell in cells],
        }
    )
    keys = tuple(frame["key"])
    reference = _reference_key(results, factor, cells)
    frame["reference"] = frame["key"] == reference
    values = estimates_of(comparison.array, results.objective)
    values = values[["key", "value", "low", "high", "seeds"]]
    costs = configurations(results, _STAGE)
    costs = costs[["key", "parameters", "train_seconds", "peak_memory"]]
    frame = frame.merge(values, on="key", how="left").merge(costs, on="key", how="left")
    names = {"low": "difference_low", "high": "difference_high"}
    if reference is not None and reference in keys:
        rows = compare_to_reference(comparison, results.objective, reference, keys).rename(
            columns=names
        )
        columns = ["key", "difference", *names.values(), "p_holm"]
        frame = frame.merge(rows[columns], on="key", how="left")
        frame.loc[frame["reference"], "difference"] = 0.0
    else:
        frame[["difference", *names.values(), "p_holm"]] = math.nan
    bounds = against_best(subset(comparison, keys), CONFIDENCE)
    frame["near_best"] = (bounds.low >= -results.objective.margin) & (len(keys) > 1)
    scores = frame["value"].astype(float)
    frame["gain"] = results.objective.sign * (scores - base_score(results))
    frame["percent_of_full"], frame["percent_of_gain"] = percent_of_full(results, scores)
    frame["proofs"] = [_proofs(results, key) for key in keys]
    return frame[list(COLUMNS)]


def base_score(results: StudyResults) -> float:
    """The base model's score on validation, with the fewest worked examples; NaN if unknown."""
    rows = results.baselines
    first = next(iter(baselines(results, _SPLIT)), "")  # the base with the fewest, if there is one
    if shots(first) is None:
        return math.nan
    rows = rows[(rows["split"] == _SPLIT) & (rows["name"] == first)]
    return float(score_from_rows(rows, results.objective))


def full_score(results: StudyResults) -> float:
    """Full fine-tuning's score on validation, mean over seeds; NaN if it was not run."""
    return float(complete(results, "full")["value"].astype(float).mean())


def percent_of_full(results: StudyResults, scores: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Scores in percent of full fine-tuning's score, or of its gain over the base model.

    A share of a score is meaningful where more is better and 0 is the worst score, as with F1. A
    perplexity has no worst value: there the share of the gain is returned, if full fine-tuning
    gains more than the margin. Scores are on validation.

    Returns:
        Both, all NaN where they are not meaningful or full fine-tuning was not run.
    """
    sign, full, unknown = results.objective.sign, full_score(results), scores * math.nan
    if sign > 0 and full > 0 and bool((scores.dropna() >= 0).all()):
        return 100 * scores / full, unknown
    base = base_score(results)
    if sign * (full - base) > results.objective.margin:
        return unknown, 100 * (scores - base) / (full - base)
    return unknown, unknown


def _proofs(results: StudyResults, key: str) -> str:
    """Proofs that passed on every trial of a cell, in the order of the first one."""
    rows = complete(results, _STAGE)
    by_trial = [str(names).split() for names in rows.loc[rows["key"] == key, "proofs"].dropna()]
    first = by_trial[0] if by_trial else []
    return " ".join(name for name in first if all(name in names for names in by_trial))


def at_edge(cell: Mapping[str, Any]) -> bool:
    """Whether the learning rate of a cell is the lowest or the highest one that was tried."""
    rates = [float(rate) for rate in cell["rates"]]
    return len(rates) > 1 and float(cell["rate"]) in {min(rates), max(rates)}


def _reference_key(
    results: StudyResults, factor: str, cells: Sequence[Mapping[str, Any]]
) -> str | None:
    level = incumbent_level(results, factor.partition("@")[0])
    return next((str(cell["key"]) for cell in cells if _same(cell["level"], level)), None)


def incumbent_level(results: StudyResults, factor: str) -> Any:
    """The incumbent's level of a factor, extra settings included; None without an incumbent."""
    recorded = results.attributes.get("incumbent")
    return TrialConfig.from_row(recorded).level(factor) if recorded else None


def _same(level: Any, other: Any) -> bool:
    # An alpha ratio is a quotient, and so not the level of the sweep to the last bit.
    numeric = all(isinstance(value, int | float) for value in (level, other))
    return math.isclose(level, other) if numeric else str(level) == str(other)


def _scale(cell: Mapping[str, Any]) -> float:
    if "scale" in cell:
        return float(cell["scale"])
    config = cell["config"]
    # LoRA, section 4.1: alpha/r; rsLoRA (arXiv 2312.03732), eq. 4: alpha/sqrt(r).
    rank = float(config["rank"])
    return float(config["alpha"]) / (math.sqrt(rank) if config["variant"] == "rslora" else rank)


INTERACTION_COLUMNS: Final = (
    *("level", "reference", "difference", "difference_held"),
    *("interaction", "low", "high", "p_holm"),
)


def pairs_of(results: StudyResults) -> tuple[str, ...]:
    """The pairs that the study has cells of, in the order they were planned."""
    cells = results.attributes.get("cells") or ()
    names = dict.fromkeys(str(cell["factor"]) for cell in cells)
    return tuple(name for name in names if "@" in name)


@cached_per_study
def interaction_table(results: StudyResults, pair: str) -> pd.DataFrame:
    """One row for each level that a pair has with and without its fixed factor, but the reference.

    The reference is the incumbent's own level, or the first that both have.

    Args:
        results: the study.
        pair: such as `rank@target_modules=qv`.

    Returns:
        `INTERACTION_COLUMNS`: the level less the reference as the incumbent has the other factor,
        the same with it held, and the second less the first, in the metric's own unit; bounds hold
        together over the rows (max-T), p-values are corrected over them. Empty where fewer than
        two levels have both.
    """
    empty, factor = pd.DataFrame(columns=list(INTERACTION_COLUMNS)), pair.partition("@")[0]
    free, held = _cell_keys(results, factor), _cell_keys(results, pair)
    # A cell that is the same with and without the fixed factor has no interaction.
    levels = [level for level in free if level in held and free[level] != held[level]]
    if len(levels) < 2:
        return empty
    reference = _reference_level(results, factor, levels)
    compared = [level for level in levels if level != reference]
    keys = dict.fromkeys(by_level[level] for by_level in (free, held) for level in levels)
    try:
        array = score_array(results, _STAGE, _SPLIT, tuple(keys))
    except ValueError:
        return empty
    unit = dict(zip(array.keys, np.eye(len(array.keys)), strict=True))
    at_incumbent, at_pair = (
        np.array([unit[by_level[level]] - unit[by_level[reference]] for level in compared])
        for by_level in (free, held)
    )
    rows, count = np.vstack([at_incumbent, at_pair, at_pair - at_incumbent]), len(compared)
    all_rows = contrasts(array.statistics, metric_function(results.objective), rows)
    interactions = all_rows.part(slice(2 * count, None))
    bounds = joint_intervals(interactions, CONFIDENCE)
    return pd.DataFrame(
        {
            "level": compared,
            "reference": reference,
            "difference": all_rows.estimate[:count],
            "difference_held": all_rows.estimate[count : 2 * count],
            "interaction": interactions.estimate,
            "low": finite(bounds.low),
            "high": finite(bounds.high),
            "p_holm": holm(p_values(interactions)),
        }
    )


def crossed_scores(results: StudyResults, pair: str) -> pd.DataFrame:
    """Scores of both ways of a pair such as `rank@target_modules=qv`, on validation.

    Returns:
        level, held (False as the incumbent has the other factor, True where it is held), value
        (mean over seeds, NaN where it was not trained) and seeds; levels in the order planned.
    """
    free, held = _cell_keys(results, pair.partition("@")[0]), _cell_keys(results, pair)
    scored = {row["key"]: row for row in estimates(results, _STAGE, _SPLIT).to_dict("records")}
    rows = []
    for level in {**free, **held}:
        for is_held, keys in ((False, free), (True, held)):
            row = scored.get(keys.get(level, ""), {"value": np.nan, "seeds": 0})
            rows.append((level, is_held, float(row["value"]), int(row["seeds"])))
    return pd.DataFrame(rows, columns=["level", "held", "value", "seeds"])


def _cell_keys(results: StudyResults, factor: str) -> dict[Any, str]:
    return {cell["level"]: str(cell["key"]) for cell in cells_of(results, factor)}


def _reference_level(results: StudyResults, factor: str, levels: list[Any]) -> Any:
    recorded = incumbent_level(results, factor)
    return next((level for level in levels if _same(level, recorded)), levels[0])


_TUNE_STAGE: Final = "tune"
#: Standard normal quantile of a one-sided 95 % bound.
_ONE_SIDED_95: Final = 1.645


def tuned_rate(results: StudyResults, keys: Mapping[float, str]) -> float | None:
    """The lowest learning rate that is not shown to be worse than the best one.

    The rates of a cell are run on one seed, and noise of that seed is no reason for a higher rate:
    high rates increase the variance over seeds, and a run on fewer steps favours them. So the
    best score decides only where its lead over a lower rate is more than examples explain: above
    1.645 standard errors of the difference, paired by example (jackknife). It is the
    one-standard-error rule of Breiman, Friedman, Olshen and Stone 1984 (section 3.4.3), with a
    one-sided 95 % bound in place of one standard error.

    Args:
        results: the study, its tune stage complete.
        keys: the configuration that was run at each learning rate.

    Returns:
        One of the rates; None if every run failed.
    """
    rates = {key: rate for rate, key in keys.items()}
    try:
        array = score_array(results, _TUNE_STAGE, _SPLIT, tuple(rates))
    except ValueError:
        return None
    statistics, value = array.statistics, metric_function(results.objective)
    values = results.objective.sign * np.nanmean(scores(statistics, value), axis=1)
    effects = results.objective.sign * np.nanmean(influence(statistics, value), axis=1)
    best = int(np.argmax(values))
    lead = effects[best] - effects
    examples = lead.shape[1]
    error = lead.std(axis=1, ddof=1) / np.sqrt(examples) if examples > 1 else np.zeros(len(lead))
    close = values[best] - values <= _ONE_SIDED_95 * error
    return min(rates[key] for key, is_close in zip(array.keys, close, strict=True) if is_close)
