"""What an ablation says by itself, where nothing was searched and nothing confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.analysis.ablation import all_cells
from harness.analysis.candidates import own_cell
from harness.analysis.comparison import CONFIDENCE
from harness.analysis.naming import labels_of
from harness.analysis.scores import configurations
from harness.analysis.simultaneous import against_best, all_pairs
from harness.analysis.wording import Ablated, ablated_only

if TYPE_CHECKING:
    import pandas as pd

    from harness.results import StudyResults


class Found(NamedTuple):
    """The best cell of an ablation.

    Attributes:
        row: of `configurations`, the one with the best mean score on validation.
        evidence: one sentence with the figures.
        seeds: seeds of the cell that has most.
        examples: examples of the validation split.
    """

    row: pd.Series
    evidence: str
    seeds: int
    examples: int


def best_cell(results: StudyResults) -> Found | None:
    """The best of all cells against the reference and the others, by joint bounds of all pairs.

    Args:
        results: the study.

    Returns:
        None unless two cells or more are complete.
    """
    whole = all_cells(results)
    if whole is None or len(whole.values) < 2:
        return None
    table = configurations(results, "ablate").set_index("key", drop=False)
    table = table.loc[list(whole.cube.keys)].reset_index(drop=True)
    names, values = labels_of(table), results.objective.sign * whole.values
    best = int(np.argmax(values))
    own = own_cell(results, whole.cube.keys)
    reference = None if own is None else whole.cube.keys.index(own)
    bounds = all_pairs(whole.pairs, CONFIDENCE)
    good = against_best(whole.pairs, CONFIDENCE).low >= -results.objective.margin
    seeds, examples = int(table["seeds"].max()), len(whole.cube.examples)
    difference = None
    if reference is not None and reference != best:
        sign = results.objective.sign
        low, high = sorted(
            (sign * float(bounds.low[best, reference]), sign * float(bounds.high[best, reference]))
        )
        difference = (float(whole.values[best] - whole.values[reference]), low, high)
    found = Ablated(
        names[best],
        float(whole.values[best]),
        len(names),
        seeds,
        examples,
        None if reference is None else names[reference],
        difference,
        int(good.sum()),
        (results.sweep.get("confirmation") or {}).get("max_configurations") == 0,
    )
    return Found(table.iloc[best], ablated_only(found, results.objective), seeds, examples)
