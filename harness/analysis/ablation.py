"""Ablation tables: what each level of a factor does around the incumbent, and scores by class.

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
    estimates,
)
from harness.analysis.scores import complete, configurations, panel, score_from_rows
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
    "proofs",
)
_STAGE: Final = "ablate"
_SPLIT: Final = "validation"
_BASELINES: Final = ("base_0_shot", "base_5_shot", "dictionary")


def cells_of(results: StudyResults, factor: str) -> list[Mapping[str, Any]]:
    """The cells of a factor that have a complete trial, in the order they were planned."""
    scored = set(complete(results, _STAGE)["key"])
    cells = results.attributes.get("cells") or ()
    return [cell for cell in cells if cell["factor"] == factor and cell["key"] in scored]


def all_cells(results: StudyResults) -> AllPairs | None:
    """All cells of the ablation compared with each other; None if there is none."""
    try:
        return compare(panel(results, _STAGE, _SPLIT), results.objective)
    except ValueError:
        return None


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
        of full fine-tuning's (the other way round where less is better); `proofs` names what was
        checked on all its trials. Empty, with these columns, when the study has no such rows.
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
    values = estimates(results, _STAGE, _SPLIT)[["key", "value", "low", "high", "seeds"]]
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
    scores, sign = frame["value"].astype(float), results.objective.sign
    frame["gain"] = sign * (scores - base_score(results))
    shares = scores / full_score(results)
    frame["percent_of_full"] = 100 * (shares if sign > 0 else 1 / shares)
    frame["proofs"] = [_proofs(results, key) for key in keys]
    return frame[list(COLUMNS)]


def base_score(results: StudyResults) -> float:
    """What the bare base scores on validation, with the fewest examples given; NaN if unknown."""
    rows = results.baselines
    rows = rows[(rows["split"] == _SPLIT) & rows["name"].str.startswith("base_")]
    if rows.empty:
        return math.nan
    fewest = min(rows["name"].unique(), key=lambda name: int(str(name).split("_")[1]))
    return float(score_from_rows(rows[rows["name"] == fewest], results.objective))


def full_score(results: StudyResults) -> float:
    """What full fine-tuning scores on validation, mean over seeds; NaN if it was not run."""
    return float(complete(results, "full")["value"].astype(float).mean())


def _proofs(results: StudyResults, key: str) -> str:
    rows = complete(results, _STAGE)
    found = [str(proofs).split() for proofs in rows.loc[rows["key"] == key, "proofs"].dropna()]
    held = [proof for proof in found[0] if all(proof in each for each in found)] if found else []
    return " ".join(held)


def at_edge(cell: Mapping[str, Any]) -> bool:
    """Whether the learning rate of a cell is the lowest or the highest one that was tried."""
    rates = [float(rate) for rate in cell["rates"]]
    return len(rates) > 1 and float(cell["rate"]) in {min(rates), max(rates)}


def class_table(
    results: StudyResults, target_modules: str | None = None, part: str = "f1"
) -> pd.DataFrame:
    """Scores by class: what needs no adapter, each rank of the ablation, the best cell.

    Args:
        results: the study.
        target_modules: None at the incumbent's other settings; `qv` for the cells of the pair
            `rank@target_modules=qv`.
        part: `f1`, `precision` or `recall`; for another form than F1 the metric itself is given.

    Returns:
        One row for each class, then `micro` and `macro`; columns class, the baselines that the
        task has, `r=4`, ... , `best` (the cell with the best score of the whole ablation) and
        support (entities of the class in the split; the sum in micro and macro). Validation,
        mean over seeds. Empty, with the columns class, best and support, when no rank was ablated.
    """
    factor = "rank" if target_modules is None else f"rank@target_modules={target_modules}"
    trials = complete(results, _STAGE)
    # The incumbent itself may be on these target modules; then its ranks are the view.
    incumbent = results.attributes.get("incumbent") or {}
    if target_modules is not None and incumbent.get("target_modules") == target_modules:
        factor = "rank"
    chosen = {f"r={cell['level']}": str(cell["key"]) for cell in cells_of(results, factor)}
    if not chosen:
        return pd.DataFrame(columns=["class", "best", "support"])
    names = [*results.objective.classes, "micro", "macro"]
    frame = pd.DataFrame({"class": names})
    for name in _BASELINES:
        rows = results.baselines
        rows = rows[(rows["name"] == name) & (rows["split"] == _SPLIT)]
        if len(rows):
            frame[name] = _by_class(results, rows, part)
    means = (trials.groupby("key")["value"].mean() * results.objective.sign).dropna()
    columns = dict(chosen)
    if len(means):
        columns["best"] = str(means.idxmax())
    examples = results.examples[results.examples["split"] == _SPLIT]
    for name, key in columns.items():
        numbers = trials.loc[trials["key"] == key, "number"]
        each = [
            _by_class(results, examples[examples["trial"] == number], part) for number in numbers
        ]
        frame[name] = np.mean(each, axis=0)
    first = trials.loc[trials["key"] == next(iter(chosen.values())), "number"].iloc[0]
    frame["support"] = _support(results, examples[examples["trial"] == first])
    return frame


def _by_class(results: StudyResults, rows: pd.DataFrame, part: str) -> list[float]:
    objective = results.objective
    sums = rows[list(objective.columns)].to_numpy(dtype=float).sum(axis=0)
    if objective.form != "f1" or part == "f1":
        values = objective.by_class(sums)
        return [*map(float, values), score_from_rows(rows, objective), float(values.mean())]
    if part not in {"precision", "recall"}:
        raise ValueError(f"unknown part {part!r}; known: f1, precision, recall")
    counts = sums.reshape(len(objective.classes), 3)
    counts = np.vstack([counts, counts.sum(axis=0)])
    total = counts[:, 0] + counts[:, 1 if part == "precision" else 2]
    # Nothing predicted (or nothing to find) makes no mistake of this kind.
    shares = np.where(total > 0, counts[:, 0] / np.where(total > 0, total, 1.0), 1.0)
    return [*map(float, shares), float(shares[:-1].mean())]


def _support(results: StudyResults, rows: pd.DataFrame) -> list[float]:
    sums = rows[list(results.objective.columns)].to_numpy(dtype=float).sum(axis=0)
    counts = sums.reshape(len(results.objective.classes), -1)
    found = counts[:, 0] + counts[:, 2] if results.objective.form == "f1" else counts[:, 1]
    return [*map(float, found), float(found.sum()), float(found.sum())]


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
