"""Two-way tables: whether what a factor does depends on another one's level.

A pair such as `rank@target_modules=qv` varies the rank once around the incumbent and once with the
target modules held at `qv`. The interaction of a level is the difference of its two differences to
the reference level. On validation, fresh seeds, each cell at its own tuned learning rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from harness.analysis.ablation import cells_of
from harness.analysis.bootstrap import contrasts
from harness.analysis.comparison import CONFIDENCE, estimates, finite
from harness.analysis.scores import panel, value_of
from harness.analysis.simultaneous import holm, joint_intervals, p_values

if TYPE_CHECKING:
    from harness.results import StudyResults

COLUMNS: Final = (
    "level",
    "reference",
    "difference",
    "difference_held",
    "interaction",
    "low",
    "high",
    "p_holm",
)
_STAGE: Final = "ablate"
_SPLIT: Final = "validation"


def pairs_of(results: StudyResults) -> tuple[str, ...]:
    """The pairs that the study has cells of, in the order they were planned."""
    cells = results.attributes.get("cells") or ()
    names = dict.fromkeys(str(cell["factor"]) for cell in cells)
    return tuple(name for name in names if "@" in name)


def interaction_table(results: StudyResults, pair: str) -> pd.DataFrame:
    """One row for each level that both ways of a pair have, but the reference.

    The reference is the incumbent's own level, or the first that both have.

    Args:
        results: the study.
        pair: such as `rank@target_modules=qv`.

    Returns:
        `COLUMNS`: the level less the reference as the incumbent has the other factor, the same
        with it held, and the second less the first, in the metric's own unit; bounds hold
        together over the rows (max-T), p-values are corrected over them. Empty where fewer than
        two levels have both.
    """
    none = pd.DataFrame(columns=list(COLUMNS))
    own = _keys(results, pair.partition("@")[0])
    held = _keys(results, pair)
    # A cell that is the same both ways tells nothing of the other factor.
    levels = [level for level in own if level in held and own[level] != held[level]]
    if len(levels) < 2:
        return none
    reference = _reference(results, pair.partition("@")[0], levels)
    others = [level for level in levels if level != reference]
    keys = tuple(dict.fromkeys([*(own[x] for x in levels), *(held[x] for x in levels)]))
    try:
        cube = panel(results, _STAGE, _SPLIT, keys)
    except ValueError:
        return none
    place = {key: at for at, key in enumerate(cube.keys)}
    rows = np.zeros((3 * len(others), len(cube.keys)))
    for at, level in enumerate(others):
        for way, (kept, sign) in enumerate(((own, -1.0), (held, 1.0))):
            row = rows[way * len(others) + at]
            row[place[kept[level]]] += 1
            row[place[kept[reference]]] -= 1
            rows[2 * len(others) + at] += sign * row
    found = contrasts(cube.statistics, value_of(results.objective), rows)
    last = type(found)(*(array[2 * len(others) :] for array in found))
    bounds, estimate = joint_intervals(last, CONFIDENCE), found.estimate
    return pd.DataFrame(
        {
            "level": others,
            "reference": reference,
            "difference": estimate[: len(others)],
            "difference_held": estimate[len(others) : 2 * len(others)],
            "interaction": last.estimate,
            "low": finite(bounds.low),
            "high": finite(bounds.high),
            "p_holm": holm(p_values(last)),
        }
    )[list(COLUMNS)]


def crossed_scores(results: StudyResults, pair: str) -> pd.DataFrame:
    """Scores of both ways of a pair, on validation.

    Args:
        results: the study.
        pair: such as `rank@target_modules=qv`.

    Returns:
        level, held (False as the incumbent has the other factor, True where it is held), value
        (mean over seeds, NaN where it was not trained) and seeds; levels in the order planned.
    """
    ways = ((False, _keys(results, pair.partition("@")[0])), (True, _keys(results, pair)))
    scored = {row["key"]: row for row in estimates(results, _STAGE, _SPLIT).to_dict("records")}
    rows = []
    for level in dict.fromkeys(level for _, keys in ways for level in keys):
        for held, keys in ways:
            found = scored.get(keys.get(level, ""), {"value": np.nan, "seeds": 0})
            rows.append((level, held, float(found["value"]), int(found["seeds"])))
    return pd.DataFrame(rows, columns=["level", "held", "value", "seeds"])


def _keys(results: StudyResults, factor: str) -> dict[Any, str]:
    return {cell["level"]: str(cell["key"]) for cell in cells_of(results, factor)}


def _reference(results: StudyResults, factor: str, levels: list[Any]) -> Any:
    incumbent = dict(results.attributes.get("incumbent") or {})
    if factor == "alpha_ratio" and incumbent:
        incumbent[factor] = incumbent["alpha"] / incumbent["rank"]
    mine = incumbent.get(factor)
    return mine if mine in levels else levels[0]
