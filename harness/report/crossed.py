"""A planned pair of factors as a heat map: the levels of one, with the other as it is and held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from markupsafe import Markup

from harness.analysis.ablation import crossed_scores
from harness.report import formatting
from harness.report.charts.along import along
from harness.report.charts.slices import Cell, heat_map

if TYPE_CHECKING:
    from harness.results import StudyResults


def crossed_map(results: StudyResults, pair: str, titles: Mapping[str, str]) -> Markup:
    """The map; empty unless two levels were trained both ways.

    Args:
        results: the study.
        pair: such as `rank@target_modules=qv`.
        titles: of factors.
    """
    frame = crossed_scores(results, pair)
    both = frame.dropna(subset=["value"]).groupby("level", sort=False)["held"].nunique()
    if (both == 2).sum() < 2:
        return Markup("")
    factor, _, held = pair.partition("@")
    other, _, level = held.partition("=")
    own = formatting.short((results.attributes.get("incumbent") or {}).get(other, "incumbent's"))
    levels = list(dict.fromkeys(frame["level"]))
    # The longer side stands upright, for texts fit better there.
    across = along([False, True], titles.get(other, other), lambda way: level if way else own)
    up = along(levels, titles.get(factor, factor), formatting.short)
    values = [results.objective.sign * float(each) for each in frame["value"].dropna()]
    worst, best = min(values), max(values)
    scale = formatting.scale(results.objective)
    cells = [
        Cell(
            int(row["held"]),
            levels.index(row["level"]),
            _depth(results.objective.sign * float(row["value"]), worst, best),
            scale.show(row["value"]),
            f"{formatting.count(row['seeds'])} seeds",
        )
        for row in frame.dropna(subset=["value"]).to_dict("records")
    ]
    title = (
        f"Score on validation, {scale.unit}, by {up.name.lower()} and {across.name.lower()}; each "
        "cell at its own learning rate. The better, the stronger the fill."
    )
    return heat_map(cells, across, up, title=title)


def _depth(value: float, worst: float, best: float) -> float:
    return (value - worst) / (best - worst) if best > worst else 1.0
