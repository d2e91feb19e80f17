"""What a study could not have seen: small differences, rare classes, what was never scored."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import ndtri

from harness.analysis.scores import baselines, complete, shots
from harness.analysis.verdict import POWER, SPLIT, STAGE, Standing
from harness.analysis.wording import Figures

if TYPE_CHECKING:
    from harness.results import StudyResults

#: A class with fewer mentions or examples in a split says little about itself.
RARE: Final = 30
#: More classes than these are counted, not named.
_NAMED: Final = 4
_COUNTS: Final = ("tp", "fp", "fn")


def blind_spots(results: StudyResults, now: Standing | None) -> list[str]:
    """Sentences on differences, classes and baselines that the evidence says nothing of.

    Args:
        results: the study.
        now: what its confirm stage shows, or None.
    """
    return [
        *_detectable(results, now),
        *_rare(results),
        *_single_cells(results),
        *_without_baselines(results),
    ]


def detectable(now: Standing) -> float:
    """The smallest difference of two finalists that this look finds in 80 % of studies.

    Of the pair with the median error, by the joint bounds of all pairs: (q + z_0.8) se, in the
    metric's own unit; infinite where nothing can be told.
    """
    count = len(now.scores)
    errors = now.whole.pairs.error[np.triu_indices(count, 1)]
    largest = np.abs(now.whole.pairs.draws).max(axis=(0, 1))
    quantile = float(np.quantile(largest, 1 - now.look.alpha))
    return float((quantile + ndtri(POWER)) * np.median(errors))


def _detectable(results: StudyResults, now: Standing | None) -> list[str]:
    if now is None:
        return []
    size, show = detectable(now), Figures(results.objective)
    if not math.isfinite(size):
        return []
    return [
        f"Differences of less than about {show.plain(size)} {show.unit} between two finalists "
        f"would be missed in a fifth of studies or more, with {now.look.seeds} seeds and "
        f"{len(now.whole.cube.examples)} examples."
    ]


def _rare(results: StudyResults) -> list[str]:
    objective = results.objective
    if objective.parts != _COUNTS or len(objective.classes) < 2:
        return []
    stage, split = (STAGE, SPLIT) if len(complete(results, STAGE)) else ("ablate", "validation")
    trials = complete(results, stage)
    if trials.empty:
        return []
    rows = results.examples
    rows = rows[(rows["trial"] == int(trials.iloc[0]["number"])) & (rows["split"] == split)]
    if rows.empty:
        return []
    counts = {
        name: int(rows[f"{name}.tp"].sum() + rows[f"{name}.fn"].sum())
        for name in objective.classes
    }
    rare = [f"{name} ({count})" for name, count in counts.items() if count < RARE]
    if not rare:
        return []
    named = ", ".join(rare) if len(rare) <= _NAMED else f"{len(rare)} of {len(counts)} classes"
    verb = "has" if len(rare) == 1 else "have"
    return [
        f"{named} {verb} fewer than {RARE} mentions in the {split} split: scores of such a class "
        "say little."
    ]


def _single_cells(results: StudyResults) -> list[str]:
    cells = complete(results, "ablate")
    alone = int((cells.groupby("key")["seed"].nunique() == 1).sum()) if len(cells) else 0
    if not alone:
        return []
    many = "cell of the ablation has" if alone == 1 else "cells of the ablation have"
    return [f"{alone} {many} one complete seed: nothing is known of the spread there."]


def _without_baselines(results: StudyResults) -> list[str]:
    if complete(results, STAGE).empty:
        return []
    said = []
    if not any(shots(name) is not None for name in baselines(results, SPLIT)):
        said.append(
            "The base without an adapter was not scored on the test split: what adapters gain is "
            "not known."
        )
    wanted = (results.sweep.get("baselines") or {}).get("full")
    if wanted and complete(results, "full").empty:
        said.append(
            "Full fine-tuning has no complete training: how near adapters come to it is not known."
        )
    return said
