"""The ablation's cells: the incumbent and its one-factor neighbours, at most so many of them.

Widens grids of learning rates whose best rate lies at their edge. Decides, runs nothing.

The comparison of a level is open while a rate beyond the grid may be better. One more rate beyond
the edge is tried at such levels; the stages then owe its tuning, and all that follows from it.

Full fine-tuning as a baseline: whether a study runs it, and at which learning rates.

Decides, runs nothing; `harness.adapters.methods.full` trains.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import chain
from typing import Any, Final, NamedTuple

from harness.analysis.ablation import at_edge, tuned_rate
from harness.config.sweep import Sweep
from harness.config.variants import FULL, resolve_variant
from harness.results import StudyResults
from harness.storage.records import WIDENED, Decide, round_number
from harness.study.planning import ABLATE_SHARE, TimeBudget, trial_seconds
from harness.trial import TrialConfig

#: The decision that rules of thumb are to be tested, with cells of their own where it takes them.
ASKED: Final = "claims"


class AblationCell(NamedTuple):
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


class PlannedCells(NamedTuple):
    """The cells that fit, and in plain words those that do not."""

    cells: tuple[AblationCell, ...]
    dropped: tuple[str, ...]


def plan_cells(sweep: Sweep, incumbent: TrialConfig, limit: int) -> PlannedCells:
    """The cells around an incumbent.

    Each factor's first other level comes first, so that every factor has a comparison; then all
    levels in the order of the sweep, a pair right behind the factor that it varies.

    Args:
        sweep: names factors, levels and pairs.
        incumbent: the centre.
        limit: distinct configurations at most, the incumbent's included.
    """
    wanted = sweep.space.available_levels(sweep.ablation.factors)
    own = incumbent.replace(seed=0)
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
    return PlannedCells(tuple(found) if limit else (), tuple(dict.fromkeys(dropped)))


def learning_rate_grid(sweep: Sweep, incumbent: TrialConfig, variant: str) -> list[float]:
    """Rates around the incumbent's, at the same place of the variant's own range."""
    centre = sweep.space.transfer_rate(incumbent.learning_rate, incumbent.variant, variant)
    settings = sweep.ablation
    return list(sweep.space.rate_grid(centre, settings.rates, settings.rate_step, variant))


def cell_record(cell: AblationCell, rate: float, budget: float) -> dict[str, Any]:
    """A cell at the rate that was tuned for it, as it is written down.

    Args:
        cell: with the rates that were tried.
        rate: one of them.
        budget: share of the steps that it is run with.
    """
    config = cell.config.replace(learning_rate=rate, budget=budget, seed=0)
    return {
        "factor": cell.factor,
        "level": cell.level,
        "rates": list(cell.rates),
        "rate": rate,
        "key": config.key,
        "config": asdict(config),
        "scale": resolve_variant(config.variant).scale(config.rank, config.alpha),
    }


def _with_own(levels: tuple[Any, ...], own: TrialConfig, factor: str) -> list[Any]:
    mine = own.level(factor)
    return [*levels] if mine in levels else [*levels, mine]


def _cell(own: TrialConfig, factor: str, level: Any) -> AblationCell:
    return AblationCell(factor, level, own.with_level(factor, level))


def _in_order(
    sweep: Sweep, own: TrialConfig, others: dict[str, list[AblationCell]]
) -> Iterator[AblationCell]:
    pairs = list(sweep.ablation.pairs)
    for factor, cells in others.items():
        yield from cells
        for pair in [pair for pair in pairs if pair.vary == factor]:
            held, level = next(iter(pair.at.items()))
            if level not in sweep.space.levels(held):
                continue
            centre = own.with_level(held, level)
            for cell in sorted(
                [*cells, AblationCell(factor, own.level(factor), own)],
                key=lambda cell: _place(sweep, cell),
            ):
                yield AblationCell(pair.name, cell.level, centre.with_level(factor, cell.level))


def _place(sweep: Sweep, cell: AblationCell) -> int:
    levels = list(sweep.space.levels(cell.factor.partition("@")[0]))
    return levels.index(cell.level) if cell.level in levels else len(levels)


def extend_rate_grids(results: StudyResults, sweep: Sweep, decide: Decide) -> int:
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
        decide(f"{WIDENED}{round_number(results.attributes) + 1}", more)
    return len(more)


def with_extended_grids(results: StudyResults, cells: list[AblationCell]) -> list[AblationCell]:
    """The cells with the rates that were added since they were planned."""
    rounds = [added for name, added in results.attributes.items() if str(name).startswith(WIDENED)]
    found = []
    for cell in cells:
        added = [float(each[cell_name(cell)]) for each in rounds if cell_name(cell) in each]
        found.append(cell._replace(rates=tuple(sorted({*cell.rates, *added}))))
    return found


def cell_name(cell: AblationCell) -> str:
    """What a cell is called among the widened ones."""
    return f"{cell.factor}={cell.level}"


def _name(cell: Mapping[str, Any]) -> str:
    # Full fine-tuning is noted without factor and level.
    return f"{cell.get('factor', 'full')}={cell.get('level', 'all weights')}"


#: Its best rate lies about so much below LoRA's (Schulman et al. 2025, "LoRA Without Regret").
_BELOW: Final = 10.0


def plan_full_finetuning(
    results: StudyResults, sweep: Sweep, incumbent: TrialConfig, decide: Decide, clock: TimeBudget
) -> list[AblationCell]:
    """The one cell of full fine-tuning, its rates to be tuned; none where it is left out.

    The ablation's cells have to be decided.

    Args:
        results: the study so far; a worker notes `full_impossible`, a reason or an empty text.
        sweep: what the study runs.
        incumbent: whose learning rate the grid follows.
        decide: writes a decision unless there is one, and returns the one that holds.
        clock: what `--minutes` leaves.
    """
    if not sweep.baselines.full and ASKED not in results.attributes:
        return []
    if "full_plan" not in results.attributes:
        settings = sweep.ablation
        budget = float(decide("plan", None)["budget"])  # as the cells' rates are tuned
        reason = str(results.attributes.get("full_impossible") or "")
        runs = settings.rates * budget + settings.seeds
        if not reason and clock.trials_that_fit(ABLATE_SHARE, trial_seconds(results)) < runs:
            reason = "--minutes leaves no room for it"
        rates = sweep.baselines.full_rates or _grid(sweep, incumbent.learning_rate / _BELOW)
        if reason:
            decide("dropped.full", [f"full fine-tuning: {reason}"])
        decide("full_plan", {"rates": [] if reason else list(rates), "budget": budget})
    plan = decide("full_plan", None)
    if not plan["rates"]:
        return []
    config = TrialConfig(FULL.name, 1, 1.0, 0.0, "all_linear", plan["rates"][0], 0, plan["budget"])
    return [AblationCell(FULL.name, "all weights", config, tuple(plan["rates"]))]


def tuned(results: StudyResults, cells: list[AblationCell], decide: Decide) -> list[TrialConfig]:
    """The cell's configuration at its tuned rate, decided once; none if every run failed."""
    if not cells:
        return []
    if "full" not in results.attributes:
        (only,) = cells
        keys = {rate: only.config.replace(learning_rate=rate).key for rate in only.rates}
        rate = tuned_rate(results, keys)
        if rate is None:
            decide("dropped.full", ["full fine-tuning: it failed at every learning rate"])
            decide("full", [])
            return []
        config = only.config.replace(learning_rate=rate, budget=1.0)
        noted = {"rates": list(only.rates), "rate": rate, "key": config.key}
        decide("full", [{**noted, "config": asdict(config)}])
    return [TrialConfig(**each["config"]) for each in decide("full", None)]


def _grid(sweep: Sweep, centre: float) -> tuple[float, ...]:
    count, step = sweep.ablation.rates, sweep.ablation.rate_step
    places = (i - (count - 1) / 2 for i in range(count))
    return tuple(float(f"{centre * step**place:.3g}") for place in places)
