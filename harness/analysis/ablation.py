"""Ablation tables: what each level of a factor does around the incumbent.

Only rows of the ablate stage count: the learning rate was chosen on other ones. Scores are on
validation. The variance over seeds is pooled over all cells of the stage; bounds and p-values are
corrected over the levels of one factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from harness.analysis.comparison import (
    CONFIDENCE,
    AllPairs,
    against,
    compare,
    estimates_of,
)
from harness.analysis.memo import once
from harness.analysis.scores import (
    baselines,
    complete,
    configurations,
    panel,
    score_from_rows,
    shots,
)
from harness.analysis.simultaneous import Pairs, against_best

if TYPE_CHECKING:
    from harness.results import StudyResults

FACTORS: Final = ("rank", "alpha_ratio", "target_modules", "dropout", "variant")
COLUMNS: Final = (
    "level",
    "key",
    "reference",
    "value",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "p_holm",
    "learning_rate",
    "rate_at_edge",
    "scale",
    "parameters",
    "train_seconds",
    "peak_memory",
    "seeds",
    "near_best",
    "gain",
    "percent_of_full",
    "percent_of_gain",
    "proofs",
)
_STAGE: Final = "ablate"
_SPLIT: Final = "validation"


def cells_of(results: StudyResults, factor: str) -> list[Mapping[str, Any]]:
    """The cells of a factor that have a complete trial, in the order they were planned."""
    scored = set(complete(results, _STAGE)["key"])
    cells = results.attributes.get("cells") or ()
    return [cell for cell in cells if cell["factor"] == factor and cell["key"] in scored]


def all_cells(results: StudyResults) -> AllPairs | None:
    """All cells of the ablation compared with each other; None if there is none."""

    def make() -> AllPairs | None:
        try:
            return compare(panel(results, _STAGE, _SPLIT), results.objective)
        except ValueError:
            return None

    found: AllPairs | None = once(results, "all cells", make)
    return found


def among(whole: AllPairs, keys: Sequence[str]) -> Pairs:
    """The part of a comparison that concerns some keys, in their order."""
    place = [whole.cube.keys.index(key) for key in keys]
    grid = np.ix_(place, place)
    pairs = whole.pairs
    return Pairs(pairs.difference[grid], pairs.error[grid], pairs.draws[grid])


def ablation_table(
    results: StudyResults, factor: str, whole: AllPairs | None = None
) -> pd.DataFrame:
    """One row for each level of a factor, everything else as the incumbent has it.

    Args:
        results: the study.
        factor: one of `FACTORS`, or a pair such as `rank@target_modules=qv`.
        whole: `all_cells(results)`, if it is at hand.

    Returns:
        `COLUMNS`. Scores and differences (level minus reference) are in the metric's own unit;
        `low` and `high` hold on their own, `difference_low` and `difference_high` together over
        the levels; `scale` is alpha/rank, or alpha/sqrt(rank) for rsLoRA; `near_best` says that
        the level is shown to be no worse than the best one by more than the margin; `gain` is the
        score less the bare base's, better being more; `percent_of_full` is the score in percent
        of full fine-tuning's, `percent_of_gain` the gain in percent of full fine-tuning's: one
        of them is known at most, see `against_full`; `proofs` names what was checked on all its
        trials. Empty, with these columns, when the study has no such rows.
    """
    cells = cells_of(results, factor)
    whole = whole or (all_cells(results) if cells else None)
    if not cells or whole is None:
        return pd.DataFrame(columns=list(COLUMNS))
    cells = [cell for cell in cells if cell["key"] in whole.cube.keys]
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
    reference = _reference(results, factor, cells)
    frame["reference"] = frame["key"] == reference
    values = estimates_of(whole.cube, results.objective)
    values = values[["key", "value", "low", "high", "seeds"]]
    costs = configurations(results, _STAGE)
    costs = costs[["key", "parameters", "train_seconds", "peak_memory"]]
    frame = frame.merge(values, on="key", how="left").merge(costs, on="key", how="left")
    names = {"low": "difference_low", "high": "difference_high"}
    if reference is not None and reference in keys:
        rows = against(whole, results.objective, reference, keys).rename(columns=names)
        columns = ["key", "difference", *names.values(), "p_holm"]
        frame = frame.merge(rows[columns], on="key", how="left")
        frame.loc[frame["reference"], "difference"] = 0.0
    else:
        frame[["difference", *names.values(), "p_holm"]] = math.nan
    bounds = against_best(among(whole, keys), CONFIDENCE)
    frame["near_best"] = (bounds.low >= -results.objective.margin) & (len(keys) > 1)
    scores = frame["value"].astype(float)
    frame["gain"] = results.objective.sign * (scores - base_score(results))
    frame["percent_of_full"], frame["percent_of_gain"] = against_full(results, scores)
    frame["proofs"] = [_proofs(results, key) for key in keys]
    return frame[list(COLUMNS)]


def base_score(results: StudyResults) -> float:
    """What the bare base scores on validation, with the fewest examples given; NaN if unknown."""
    rows = results.baselines
    first = next(iter(baselines(results, _SPLIT)), "")  # the base with the fewest, if there is one
    if shots(first) is None:
        return math.nan
    rows = rows[(rows["split"] == _SPLIT) & (rows["name"] == first)]
    return float(score_from_rows(rows, results.objective))


def full_score(results: StudyResults) -> float:
    """What full fine-tuning scores on validation, mean over seeds; NaN if it was not run."""
    return float(complete(results, "full")["value"].astype(float).mean())


def against_full(results: StudyResults, scores: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Scores beside full fine-tuning's, in percent: of its score, of its gain over the base.

    A share of a score says something where more is better and nought is the worst there is, as
    with F1. Of a perplexity, whose best is 1 and worst nothing, it says nothing: there the share
    of the gain is given, if full fine-tuning gains more than the margin.

    Args:
        results: the study.
        scores: on validation.

    Returns:
        Both, all NaN where they say nothing or full fine-tuning was not run.
    """
    sign, full, none = results.objective.sign, full_score(results), scores * math.nan
    if sign > 0 and full > 0 and bool((scores.dropna() >= 0).all()):
        return 100 * scores / full, none
    base = base_score(results)
    if sign * (full - base) > results.objective.margin:
        return none, 100 * (scores - base) / (full - base)
    return none, none


def _proofs(results: StudyResults, key: str) -> str:
    rows = complete(results, _STAGE)
    found = [str(proofs).split() for proofs in rows.loc[rows["key"] == key, "proofs"].dropna()]
    held = [proof for proof in found[0] if all(proof in each for each in found)] if found else []
    return " ".join(held)


def at_edge(cell: Mapping[str, Any]) -> bool:
    """Whether the learning rate of a cell is the lowest or the highest one that was tried."""
    rates = [float(rate) for rate in cell["rates"]]
    return len(rates) > 1 and float(cell["rate"]) in {min(rates), max(rates)}


def _reference(
    results: StudyResults, factor: str, cells: Sequence[Mapping[str, Any]]
) -> str | None:
    incumbent = dict(results.attributes.get("incumbent") or {})
    if not incumbent:
        return None
    incumbent["alpha_ratio"] = incumbent["alpha"] / incumbent["rank"]
    level = incumbent[factor.partition("@")[0]]
    for cell in cells:
        mine = cell["level"]
        same = math.isclose(mine, level) if isinstance(mine, int | float) else mine == level
        if same:
            return str(cell["key"])
    return None


def _scale(cell: Mapping[str, Any]) -> float:
    if "scale" in cell:
        return float(cell["scale"])
    config = cell["config"]
    # LoRA, section 4.1: alpha/r; rsLoRA (arXiv 2312.03732), eq. 4: alpha/sqrt(r).
    rank = float(config["rank"])
    return float(config["alpha"]) / (math.sqrt(rank) if config["variant"] == "rslora" else rank)
