"""The ablation: which cells, at which learning rates, and full fine-tuning to compare with.

A cell is one level of one factor, all else as the incumbent has it. Its learning rate is tuned
first, then the cell is run on several seeds. A comparison of levels is open while a rate beyond
the grid may be better: grids whose best rate lies at their edge can be extended by one more rate,
and the stages then run its tuning and all that follows from it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any, Final, NamedTuple

from harness.analysis import importance
from harness.analysis.ablation import at_edge, tuned_rate
from harness.config.sweep import Sweep
from harness.config.variants import FULL, resolve_variant
from harness.results import StudyResults
from harness.storage.records import CLAIMS_REQUESTED, GRID_EXTENSION, Decide, round_number
from harness.storage.study import PlannedTrial
from harness.study.planning import (
    ABLATE_SHARE,
    PlanningContext,
    planned_trial,
    seed_of,
    trial_seconds,
    tuning_trial,
)
from harness.trial import Stage, TrialConfig


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


def plan_cells(
    sweep: Sweep, incumbent: TrialConfig, limit: int
) -> tuple[tuple[AblationCell, ...], tuple[str, ...]]:
    """The cells around an incumbent that fit, and for each that does not a line that says so.

    The first level of each factor that is not the incumbent's is chosen first, so that every
    factor has a comparison; then all levels in the order of the sweep, a pair right after the
    factor that it varies.

    Args:
        sweep: names factors, levels and pairs.
        incumbent: the centre.
        limit: distinct configurations at most, the incumbent's included.
    """
    available = sweep.space.available_levels(sweep.ablation.factors)
    centre = incumbent.replace(seed=0)
    by_factor = {
        factor: [
            AblationCell(factor, level, centre.with_level(factor, level))
            for level in dict.fromkeys([*levels, centre.level(factor)])
        ]
        for factor, levels in available.items()
        if levels
    }
    neighbours = {
        factor: [cell for cell in cells if cell.config != centre]
        for factor, cells in by_factor.items()
    }
    firsts = [cells[0] for cells in neighbours.values() if cells]
    selected, configs, dropped = [], {centre}, []
    for cell in chain(firsts, _in_sweep_order(sweep, centre, neighbours)):
        if cell in selected:
            continue
        if cell.config not in configs and len(configs) >= limit:
            dropped.append(f"ablation: no room for {cell.factor}={cell.level} (max_cells {limit})")
            continue
        configs.add(cell.config)
        selected.append(cell)
    # The incumbent is a level of every factor, at no further cost.
    references = [cell for cells in by_factor.values() for cell in cells if cell.config == centre]
    factor_order = {factor: index for index, factor in enumerate(by_factor)}
    cells = sorted(
        chain(references, selected),
        key=lambda cell: (
            factor_order.get(cell.factor, len(factor_order)),
            _level_index(sweep, cell),
        ),
    )
    return tuple(cells) if limit else (), tuple(dict.fromkeys(dropped))


def _in_sweep_order(
    sweep: Sweep, centre: TrialConfig, neighbours: Mapping[str, list[AblationCell]]
) -> Iterator[AblationCell]:
    for factor, cells in neighbours.items():
        yield from cells
        for pair in sweep.ablation.pairs:
            if pair.vary != factor:
                continue
            fixed, level = next(iter(pair.at.items()))
            if level not in sweep.space.levels(fixed):
                continue
            pair_centre = centre.with_level(fixed, level)
            incumbent = AblationCell(factor, centre.level(factor), centre)
            for cell in sorted([*cells, incumbent], key=lambda cell: _level_index(sweep, cell)):
                config = pair_centre.with_level(factor, cell.level)
                yield AblationCell(pair.name, cell.level, config)


def _level_index(sweep: Sweep, cell: AblationCell) -> int:
    levels = list(sweep.space.levels(cell.factor.partition("@")[0]))
    return levels.index(cell.level) if cell.level in levels else len(levels)


def learning_rate_grid(sweep: Sweep, incumbent: TrialConfig, variant: str) -> list[float]:
    """Rates around the incumbent's, at the same position in the variant's own range."""
    centre = sweep.space.transfer_rate(incumbent.learning_rate, incumbent.variant, variant)
    settings = sweep.ablation
    return list(sweep.space.rate_grid(centre, settings.rates, settings.rate_step, variant))


def decide_cells(context: PlanningContext, incumbent: TrialConfig) -> list[AblationCell]:
    """The ablation's cells, decided once; fewer where the time does not suffice for all."""
    if "plan" not in context.results.attributes:
        _write_plan(context, incumbent)
    plan = context.decide("plan", None)
    cells = [
        AblationCell(
            cell["factor"],
            cell["level"],
            TrialConfig(**{**cell["config"], "budget": plan["budget"]}),
            tuple(cell["rates"]),
        )
        for cell in plan["cells"]
    ]
    return _with_extended_grids(context.results, cells)


def _write_plan(context: PlanningContext, incumbent: TrialConfig) -> None:
    results, sweep, decide, budget = context
    settings = sweep.ablation
    # Rates are tuned on short runs only where the search's early readings ranked its trials as
    # their final scores did.
    correlation = importance.rung_correlation(results, settings.tuning_budget)
    short_runs = (-1.0 if correlation is None else correlation) >= settings.min_correlation
    share = settings.tuning_budget if short_runs else 1.0
    trials_a_cell = settings.rates * share + settings.seeds
    affordable = budget.trials_that_fit(ABLATE_SHARE, trial_seconds(results)) / trials_a_cell
    limit = int(min(settings.max_cells, affordable))
    cells, dropped = plan_cells(sweep, incumbent, limit)
    if not settings.max_cells:
        dropped = ()  # the sweep has no ablation: nothing was dropped from it
    elif limit < 2:
        cells = ()
        dropped = (f"ablation: --minutes leaves time for {max(0, limit)} of 2 cells at least",)
    rates = {
        variant: learning_rate_grid(sweep, incumbent, variant)
        for variant in {cell.config.variant for cell in cells}
    }
    decide("rung_correlation", correlation)
    decide("importance", importance.recordable_importances(results))
    decide("dropped.ablation", list(dropped))
    decide(
        "plan",
        {
            "rates": learning_rate_grid(sweep, incumbent, incumbent.variant),
            "budget": share,
            "cells": [
                {
                    **cell._asdict(),
                    "config": asdict(cell.config),
                    "rates": rates[cell.config.variant],
                }
                for cell in cells
            ],
        },
    )


def tuning_trials(cells: Sequence[AblationCell], sweep: Sweep) -> tuple[PlannedTrial, ...]:
    """One trial for each learning rate of each distinct configuration."""
    seed = seed_of(sweep, Stage.TUNE)
    trials = [
        tuning_trial(cell.config.replace(learning_rate=rate), seed)
        for cell in cells
        for rate in cell.rates
    ]
    return tuple({trial.name: trial for trial in trials}.values())


def _best_rate(results: StudyResults, cell: AblationCell) -> float | None:
    """The cell's rate with the best tuning trial; None if all of them failed."""
    keys = {rate: cell.config.replace(learning_rate=rate).key for rate in cell.rates}
    return tuned_rate(results, keys)


def tuned_cells(
    context: PlanningContext, cells: Sequence[AblationCell], budgets: Sequence[float] | None = None
) -> list[dict[str, Any]]:
    """Records of the cells at their tuned rates, decided once; cells that failed have none.

    Args:
        context: all tuning trials have ended.
        cells: of the ablation, or of claims.
        budgets: share of the steps that each cell of claims is run with; None for the ablation's.
    """
    stage, name, dropped_name = (
        ("ablation", "cells", "dropped.tuning")
        if budgets is None
        else ("claims", "claimed", "dropped.claims_tuning")
    )
    if name not in context.results.attributes:
        records, dropped = [], []
        for cell, budget in zip(cells, budgets or [1.0] * len(cells), strict=True):
            # A claim's cell with one rate was not tuned.
            fixed = budgets is not None and len(cell.rates) == 1
            rate = cell.rates[0] if fixed else _best_rate(context.results, cell)
            if rate is None:
                dropped.append(
                    f"{stage}: {cell.factor}={cell.level} failed at every learning rate"
                )
            else:
                records.append(_cell_record(cell, rate, budget))
        if dropped:
            context.decide(dropped_name, dropped)
        context.decide(name, records)
    return list(context.decide(name, None))


def _cell_record(cell: AblationCell, rate: float, budget: float) -> dict[str, Any]:
    """A cell at its tuned rate, as it is written to the database."""
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


def cell_trials(
    records: Sequence[Mapping[str, Any]], sweep: Sweep, stage: Stage = Stage.ABLATE
) -> tuple[PlannedTrial, ...]:
    """Each distinct configuration on all seeds of the ablation, seed by seed.

    Args:
        records: from `tuned_cells` or `tuned_full`.
        sweep: says how many seeds.
        stage: the stage that runs them; all that is compared with the ablation has its seeds.
    """
    configs = {record["key"]: TrialConfig(**record["config"]) for record in records}
    return tuple(
        planned_trial(stage, config, seed_of(sweep, Stage.ABLATE, index))
        for index in range(sweep.ablation.seeds)
        for config in configs.values()
    )


def extend_rate_grids(results: StudyResults, sweep: Sweep, decide: Decide) -> int:
    """Adds a rate beyond the edge to each grid whose tuned rate lies there.

    Returns:
        How many grids were extended; 0 leaves the study as it is.
    """
    records = [*(results.attributes.get("cells") or ()), *(results.attributes.get("full") or ())]
    step = sweep.ablation.rate_step
    added: dict[str, float] = {}
    for record in records:
        if at_edge(record):
            rate = float(record["rate"])
            lowest = rate == min(map(float, record["rates"]))
            added[_record_name(record)] = float(f"{rate / step if lowest else rate * step:.3g}")
    if added:
        decide(f"{GRID_EXTENSION}{round_number(results.attributes) + 1}", added)
    return len(added)


def _with_extended_grids(
    results: StudyResults, cells: Sequence[AblationCell]
) -> list[AblationCell]:
    """The cells with the rates that were added since they were planned."""
    rounds = [
        rates for name, rates in results.attributes.items() if str(name).startswith(GRID_EXTENSION)
    ]
    extended = []
    for cell in cells:
        name = f"{cell.factor}={cell.level}"
        added = [float(rates[name]) for rates in rounds if name in rates]
        extended.append(cell._replace(rates=tuple(sorted({*cell.rates, *added}))))
    return extended


def _record_name(record: Mapping[str, Any]) -> str:
    """What `_with_extended_grids` looks a cell up by."""
    # The record of full fine-tuning has neither factor nor level.
    return f"{record.get('factor', 'full')}={record.get('level', 'all weights')}"


#: The best rate of full fine-tuning lies about so many times below LoRA's (Schulman et al. 2025,
#: "LoRA Without Regret").
_RATE_RATIO: Final = 10.0


def decide_full_finetuning(context: PlanningContext, incumbent: TrialConfig) -> list[AblationCell]:
    """The one cell of full fine-tuning, its rates to be tuned; none where it is left out.

    Args:
        context: a worker has written the attribute `full_impossible`, a reason or no text, and the
            ablation's plan is decided.
        incumbent: whose learning rate the grid follows.
    """
    results, sweep, decide, budget = context
    if not sweep.baselines.full and CLAIMS_REQUESTED not in results.attributes:
        return []
    if "full_plan" not in results.attributes:
        settings = sweep.ablation
        share = float(decide("plan", None)["budget"])  # tuned as the cells are
        reason = str(results.attributes.get("full_impossible") or "")
        trials = settings.rates * share + settings.seeds
        if not reason and budget.trials_that_fit(ABLATE_SHARE, trial_seconds(results)) < trials:
            reason = "--minutes leaves no time for it"
        rates = sweep.baselines.full_rates or _full_grid(sweep, incumbent)
        if reason:
            decide("dropped.full", [f"full fine-tuning: {reason}"])
        decide("full_plan", {"rates": [] if reason else list(rates), "budget": share})
    plan = decide("full_plan", None)
    if not plan["rates"]:
        return []
    # Rank, alpha and dropout mean nothing here; a configuration has to have them.
    config = TrialConfig(FULL.name, 1, 1.0, 0.0, "all_linear", plan["rates"][0], 0, plan["budget"])
    cell = AblationCell(FULL.name, "all weights", config, tuple(plan["rates"]))
    return _with_extended_grids(results, [cell])


def _full_grid(sweep: Sweep, incumbent: TrialConfig) -> tuple[float, ...]:
    centre, settings = incumbent.learning_rate / _RATE_RATIO, sweep.ablation
    exponents = (i - (settings.rates - 1) / 2 for i in range(settings.rates))
    return tuple(float(f"{centre * settings.rate_step**exponent:.3g}") for exponent in exponents)


def tuned_full(context: PlanningContext, cells: Sequence[AblationCell]) -> list[dict[str, Any]]:
    """Full fine-tuning at its tuned rate, decided once; none if every trial failed."""
    if not cells:
        return []
    if "full" not in context.results.attributes:
        (cell,) = cells
        rate = _best_rate(context.results, cell)
        if rate is None:
            reason = "full fine-tuning: it failed at every learning rate"
            context.decide("dropped.full", [reason])
            context.decide("full", [])
            return []
        config = cell.config.replace(learning_rate=rate, budget=1.0)
        record = {"rates": list(cell.rates), "rate": rate, "key": config.key}
        context.decide("full", [{**record, "config": asdict(config)}])
    return list(context.decide("full", None))
