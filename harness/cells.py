"""The ablation's cells: the incumbent and its one-factor neighbours, at most so many of them."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from typing import Any, Final, NamedTuple

from harness.sweep import Sweep
from harness.trial import TrialConfig
from harness.variants import resolve

#: The decision that rules of thumb are to be tested, with cells of their own where it takes them.
ASKED: Final = "claims"


class Cell(NamedTuple):
    """One level of one factor, everything else but the learning rate as the incumbent has it.

    Attributes:
        factor: a factor, or a pair such as `rank@target_modules=qv`.
        level: the factor's level here.
        config: the configuration; its learning rate is still to be tuned.
        rates: learning rates to try.
    """

    factor: str
    level: Any
    config: TrialConfig
    rates: tuple[float, ...] = ()


class Neighbours(NamedTuple):
    """The cells that fit, and in plain words those that do not."""

    cells: tuple[Cell, ...]
    dropped: tuple[str, ...]


def neighbours(sweep: Sweep, incumbent: TrialConfig, limit: int) -> Neighbours:
    """The cells around an incumbent.

    Each factor's first other level comes first, so that every factor has a comparison; then all
    levels in the order of the sweep, a pair right behind the factor that it varies.

    Args:
        sweep: names factors, levels and pairs.
        incumbent: the centre.
        limit: distinct configurations at most, the incumbent's included.
    """
    wanted = sweep.space.restrict(sweep.ablation.factors)
    own = incumbent.with_(seed=0)
    lists = {
        factor: [_cell(own, factor, level) for level in _with_own(levels, own, factor)]
        for factor, levels in wanted.items()
        if levels
    }
    others = {f: [c for c in cells if c.config != own] for f, cells in lists.items()}
    firsts = [cells[0] for cells in others.values() if cells]
    order = chain(firsts, _in_order(sweep, own, others))
    kept, configs, dropped = [], {own}, []
    for cell in order:
        if cell in kept:
            continue
        if cell.config not in configs and len(configs) >= limit:
            dropped.append(f"ablation: no room for {cell.factor}={cell.level} (max_cells {limit})")
            continue
        configs.add(cell.config)
        kept.append(cell)
    references = [cell for cells in lists.values() for cell in cells if cell.config == own]
    order_of = {factor: place for place, factor in enumerate(lists)}
    found = sorted(
        chain(references, kept),
        key=lambda cell: (order_of.get(cell.factor, len(order_of)), _place(sweep, cell)),
    )
    return Neighbours(tuple(found) if limit else (), tuple(dict.fromkeys(dropped)))


def rate_grid(sweep: Sweep, incumbent: TrialConfig, variant: str) -> list[float]:
    """Rates around the incumbent's, at the same place of the variant's own range."""
    centre = sweep.space.moved(incumbent.learning_rate, incumbent.variant, variant)
    settings = sweep.ablation
    return list(sweep.space.rate_grid(centre, settings.rates, settings.rate_step, variant))


def noted(cell: Cell, rate: float, budget: float) -> dict[str, Any]:
    """A cell at the rate that was tuned for it, as it is written down.

    Args:
        cell: with the rates that were tried.
        rate: one of them.
        budget: share of the steps that it is run with.
    """
    config = cell.config.with_(learning_rate=rate, budget=budget, seed=0)
    return {
        "factor": cell.factor,
        "level": cell.level,
        "rates": list(cell.rates),
        "rate": rate,
        "key": config.key,
        "config": asdict(config),
        "scale": resolve(config.variant).scale(config.rank, config.alpha),
    }


def _with_own(levels: tuple[Any, ...], own: TrialConfig, factor: str) -> list[Any]:
    mine = own.level(factor)
    return [*levels] if mine in levels else [*levels, mine]


def _cell(own: TrialConfig, factor: str, level: Any) -> Cell:
    return Cell(factor, level, own.at(factor, level))


def _in_order(sweep: Sweep, own: TrialConfig, others: dict[str, list[Cell]]) -> Iterator[Cell]:
    pairs = list(sweep.ablation.pairs)
    for factor, cells in others.items():
        yield from cells
        for pair in [pair for pair in pairs if pair.vary == factor]:
            held, level = next(iter(pair.at.items()))
            if level not in sweep.space.levels(held):
                continue
            centre = own.at(held, level)
            for cell in sorted(
                [*cells, Cell(factor, own.level(factor), own)],
                key=lambda cell: _place(sweep, cell),
            ):
                yield Cell(pair.name, cell.level, centre.at(factor, cell.level))


def _place(sweep: Sweep, cell: Cell) -> int:
    levels = list(sweep.space.levels(cell.factor.partition("@")[0]))
    return levels.index(cell.level) if cell.level in levels else len(levels)
