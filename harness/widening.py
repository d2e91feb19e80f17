"""Widens grids of learning rates whose best rate lies at their edge. Decides, runs nothing.

The comparison of a level is open while a rate beyond the grid may be better. One more rate beyond
the edge is tried at such levels; the stages then owe its tuning, and all that follows from it.
"""

from collections.abc import Mapping
from typing import Any

from harness.analysis.ablation import at_edge
from harness.cells import Cell
from harness.results import StudyResults
from harness.storage.rounds import WIDENED, Decide, number
from harness.sweep import Sweep


def widen(results: StudyResults, sweep: Sweep, decide: Decide) -> int:
    """Adds a rate beyond the edge to each grid whose tuned rate lies there.

    Args:
        results: the study, its rates tuned.
        sweep: names the factor between rates.
        decide: writes a decision.

    Returns:
        How many grids were widened; 0 leaves the study as it is.
    """
    tuned = [*(results.attributes.get("cells") or ()), *(results.attributes.get("full") or ())]
    step = sweep.ablation.rate_step
    more: dict[str, float] = {}
    for cell in tuned:
        if at_edge(cell):
            rate = float(cell["rate"])
            low = rate == min(map(float, cell["rates"]))
            more[_name(cell)] = float(f"{rate / step if low else rate * step:.3g}")
    if more:
        decide(f"{WIDENED}{number(results.attributes) + 1}", more)
    return len(more)


def widened(results: StudyResults, cells: list[Cell]) -> list[Cell]:
    """The cells with the rates that were added since they were planned."""
    rounds = [added for name, added in results.attributes.items() if str(name).startswith(WIDENED)]
    found = []
    for cell in cells:
        added = [float(each[cell_name(cell)]) for each in rounds if cell_name(cell) in each]
        found.append(cell._replace(rates=tuple(sorted({*cell.rates, *added}))))
    return found


def cell_name(cell: Cell) -> str:
    """What a cell is called among the widened ones."""
    return f"{cell.factor}={cell.level}"


def _name(cell: Mapping[str, Any]) -> str:
    # Full fine-tuning is noted without factor and level.
    return f"{cell.get('factor', 'full')}={cell.get('level', 'all weights')}"
