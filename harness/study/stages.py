"""Search -> ablate -> confirm: which trials a study still owes. Decides, runs nothing.

A stage is a set of slots. What a stage has decided (the incumbent, the cells, the finalists) is
written down once, so that a study that is stopped and taken up again goes the same way.
"""

from dataclasses import asdict
from typing import Any, Final, NamedTuple

from harness.analysis import importance, recommendation
from harness.analysis.ablation import tuned_rate
from harness.analysis.claims import seed_additions
from harness.config.sweep import Sweep
from harness.results import StudyResults
from harness.storage.records import Decide, setter_for_round
from harness.storage.study import PlannedTrial
from harness.study import ablation, claims, confirmation
from harness.study.ablation import (
    AblationCell,
    cell_record,
    learning_rate_grid,
    plan_cells,
    with_extended_grids,
)
from harness.study.planning import ABLATE_SHARE, CONFIRM_FACTOR, TimeBudget, trial_seconds
from harness.study.search import initial_configs
from harness.trial import Stage, TrialConfig

#: Seeds of one study lie in its own thousand, those of a stage in its own hundred.
_SEEDS: Final = {Stage.SEARCH: 0, Stage.TUNE: 100, Stage.ABLATE: 200, Stage.CONFIRM: 300}


class PendingTrials(NamedTuple):
    """What is to be done next: the slots of one stage; none at all once the study is over."""

    stage: str
    slots: tuple[PlannedTrial, ...]


def seed_of(sweep: Sweep, stage: Stage, index: int = 0) -> int:
    """The seed of the index-th run of a stage; equal for all its configurations."""
    return 1000 * sweep.seed + _SEEDS[stage] + index


def search_slots(sweep: Sweep, duplicates: int = 0) -> tuple[PlannedTrial, ...]:
    """The search's slots; each duplicate adds one, until as many were met as trials are wanted."""
    count, seed = sweep.search.trials, seed_of(sweep, Stage.SEARCH)
    count += min(duplicates, count)
    first = dict(enumerate(config.replace(seed=seed) for config in initial_configs(sweep)))
    return tuple(
        PlannedTrial(f"search/{i}", Stage.SEARCH, seed, first.get(i)) for i in range(count)
    )


def next_trials(
    results: StudyResults, done: set[str], sweep: Sweep, decide: Decide, clock: TimeBudget
) -> PendingTrials:
    """The first stage with slots that are not done, and those slots.

    Args:
        results: the study so far.
        done: names of slots whose trial has ended (and was not lost).
        sweep: what the study runs.
        decide: writes a decision unless there is one, and returns the one that holds.
        clock: what `--minutes` leaves.
    """
    decide = setter_for_round(decide, results.attributes)
    duplicates = int(results.trials["duplicate_of"].notna().sum())
    if missing := _missing(search_slots(sweep, duplicates), done):
        return PendingTrials("search", missing)
    incumbent = _incumbent(results, sweep, decide)
    if incumbent is None:
        return PendingTrials("done", ())
    cells = with_extended_grids(results, _cells(results, sweep, incumbent, decide, clock))
    whole = with_extended_grids(
        results, ablation.plan_full_finetuning(results, sweep, incumbent, decide, clock)
    )
    if missing := _missing(_tune_slots([*cells, *whole], sweep), done):
        return PendingTrials("tune", missing)
    tuned = _tuned(results, cells, decide)
    if missing := _missing(_ablate_slots(tuned, sweep), done):
        return PendingTrials("ablate", missing)
    whole_slots = tuple(
        _slot(Stage.FULL, config, seed_of(sweep, Stage.ABLATE, i))
        for config in ablation.tuned(results, whole, decide)
        for i in range(sweep.ablation.seeds)
    )
    if missing := _missing(whole_slots, done):
        return PendingTrials("full", missing)
    for slots in _confirm_slots(results, sweep, decide, clock):
        if missing := _missing(slots, done):
            return PendingTrials("confirm", missing)
    more = claims.plan_claim_cells(results, sweep, incumbent, decide)
    tunable = [cell for cell in more if len(cell.rates) > 1]
    if missing := _missing(_tune_slots(tunable, sweep), done):
        return PendingTrials("tune", missing)
    if missing := _missing(_claim_slots(results, more, sweep, decide), done):
        return PendingTrials("claim", missing)
    return PendingTrials("done", ())


def _incumbent(results: StudyResults, sweep: Sweep, decide: Decide) -> TrialConfig | None:
    """What the ablation is around: the search's best, or the centre that the sweep names."""
    centre = sweep.ablation.centre
    if centre is not None:
        body = centre.model_dump()
        config = TrialConfig(alpha=body.pop("alpha_ratio") * body["rank"], seed=0, **body)
        return TrialConfig(**decide("incumbent", asdict(config)))
    best = recommendation.incumbent(results)
    if best is None:
        decide(
            "dropped.search", ["every search trial failed or was pruned: nothing to go on with"]
        )
        return None
    row = {str(name): value for name, value in best.items()}
    return TrialConfig(**decide("incumbent", asdict(TrialConfig.from_row(row))))


def _missing(slots: tuple[PlannedTrial, ...], done: set[str]) -> tuple[PlannedTrial, ...]:
    return tuple(slot for slot in slots if slot.name not in done)


def _cells(
    results: StudyResults, sweep: Sweep, incumbent: TrialConfig, decide: Decide, clock: TimeBudget
) -> list[AblationCell]:
    """The ablation's cells, decided once; fewer where the time does not allow all."""
    if "plan" not in results.attributes:
        settings = sweep.ablation
        correlation = importance.rung_correlation(results, settings.tuning_budget)
        trusted = (-1.0 if correlation is None else correlation) >= settings.min_correlation
        share = settings.tuning_budget if trusted else 1.0
        runs = settings.rates * share + settings.seeds
        room = clock.trials_that_fit(ABLATE_SHARE, trial_seconds(results)) / runs
        limit = settings.max_cells if room == float("inf") else min(settings.max_cells, int(room))
        planned = plan_cells(sweep, incumbent, limit)
        dropped = list(planned.dropped) if settings.max_cells else []  # 0: nobody asked for it
        kept = planned.cells
        if settings.max_cells and limit < 2:
            kept = ()
            dropped = [f"ablation: --minutes leaves room for {max(0, limit)} of 2 cells at least"]
        rates = {
            variant: learning_rate_grid(sweep, incumbent, variant)
            for variant in {cell.config.variant for cell in kept}
        }
        decide("rung_correlation", correlation)
        decide("importance", importance.recordable_importances(results))
        decide("dropped.ablation", dropped)
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
                    for cell in kept
                ],
            },
        )
    plan = decide("plan", None)
    return [
        AblationCell(
            cell["factor"],
            cell["level"],
            TrialConfig(**{**cell["config"], "budget": plan["budget"]}),
            tuple(cell["rates"]),
        )
        for cell in plan["cells"]
    ]


def _tune_slots(cells: list[AblationCell], sweep: Sweep) -> tuple[PlannedTrial, ...]:
    seed = seed_of(sweep, Stage.TUNE)
    slots = {}
    for cell in cells:
        for rate in cell.rates:
            config = cell.config.replace(learning_rate=rate, seed=seed)
            name = f"tune/{config.key}"
            slots[name] = PlannedTrial(name, Stage.TUNE, seed, config, config.budget)
    return tuple(slots.values())


def _tuned(
    results: StudyResults, cells: list[AblationCell], decide: Decide
) -> list[dict[str, Any]]:
    """Each cell at the rate that was tuned for it; a cell whose runs all failed has none."""
    if "cells" in results.attributes:
        return list(results.attributes["cells"])
    tuned, dropped = [], []
    for cell in cells:
        keys = {rate: cell.config.replace(learning_rate=rate).key for rate in cell.rates}
        rate = tuned_rate(results, keys)
        if rate is None:
            dropped.append(f"ablation: {cell.factor}={cell.level} failed at every learning rate")
            continue
        tuned.append(cell_record(cell, rate, 1.0))
    if dropped:
        decide("dropped.tuning", dropped)
    return list(decide("cells", tuned))


def _claim_slots(
    results: StudyResults, planned: list[AblationCell], sweep: Sweep, decide: Decide
) -> tuple[PlannedTrial, ...]:
    # The ablation's seeds, for they are held against its cells; a stage of their own, for what
    # breaks down at a rate that some guide names is no measure of the noise of the others.
    slots = list(_ablate_slots(claims.tuned(results, planned, decide), sweep, Stage.CLAIM))
    for more in seed_additions(results.attributes):
        configs = [TrialConfig(**config) for config in more["configs"]]
        seeds = [seed_of(sweep, Stage.ABLATE, i) for i in range(more["from"], more["to"])]
        slots += [_slot(Stage.CLAIM, config, seed) for seed in seeds for config in configs]
    return tuple(slots)


def _ablate_slots(
    tuned: list[dict[str, Any]], sweep: Sweep, stage: Stage = Stage.ABLATE
) -> tuple[PlannedTrial, ...]:
    configs = {cell["key"]: TrialConfig(**cell["config"]) for cell in tuned}
    return tuple(
        _slot(stage, config, seed_of(sweep, Stage.ABLATE, i))
        for i in range(sweep.ablation.seeds)
        for config in configs.values()
    )


def _confirm_slots(
    results: StudyResults, sweep: Sweep, decide: Decide, clock: TimeBudget
) -> list[tuple[PlannedTrial, ...]]:
    """The slots of each look; a later look is planned once the earlier one is done."""
    finalists = _finalists(results, sweep, decide, clock)
    configs = {config.key: config for config in finalists}
    keys = list(configs)
    # Where rates were widened after a verdict, earlier finalists are contenders all the same.
    rows = results.trials[results.trials["stage"] == Stage.CONFIRM.value].to_dict("records")
    configs = {TrialConfig.from_row(row).key: TrialConfig.from_row(row) for row in rows} | configs
    groups: list[tuple[PlannedTrial, ...]] = []
    reached = 0
    for look in sweep.confirmation.looks:
        if reached:
            keys = _contenders(results, sweep, decide, clock, look, look - reached)
        groups.append(
            tuple(
                _slot(Stage.CONFIRM, configs[key], seed_of(sweep, Stage.CONFIRM, i))
                for i in range(reached, look)
                for key in keys
            )
        )
        if not keys or _seeds_done(results, keys) < look:
            break
        reached = look
    for more in confirmation.seed_additions(results.attributes):
        seeds = range(more["from"], more["to"])
        pairs = [(i, configs[key]) for i in seeds for key in more["keys"] if key in configs]
        groups.append(
            tuple(_slot(Stage.CONFIRM, c, seed_of(sweep, Stage.CONFIRM, i)) for i, c in pairs)
        )
    return groups


def _seeds_done(results: StudyResults, keys: list[str]) -> int:
    rows = results.trials[
        (results.trials["stage"] == Stage.CONFIRM.value)
        & results.trials["state"].isin(["complete", "failed"])
    ]
    return min(int((rows["key"] == key).sum()) for key in keys)


def _finalists(
    results: StudyResults, sweep: Sweep, decide: Decide, clock: TimeBudget
) -> list[TrialConfig]:
    if "finalists" not in results.attributes:
        limit = sweep.confirmation.max_configurations
        seconds = trial_seconds(results) * CONFIRM_FACTOR
        room = clock.trials_that_fit(1.0, seconds) / sweep.confirmation.looks[0]
        if limit and room < limit:
            limit = int(room)
            decide(
                "dropped.confirmation",
                [f"confirmation: --minutes leaves room for {limit} finalist{'s' * (limit != 1)}"],
            )
        chosen = recommendation.finalists(results, limit) if limit else []
        configs = [TrialConfig.from_row(row) for row in chosen]
        decide("finalist_configs", [asdict(config) for config in configs])
        decide("finalists", [config.key for config in configs])
    noted = decide("finalist_configs", None) or []
    return [TrialConfig(**config) for config in noted]


def _contenders(
    results: StudyResults, sweep: Sweep, decide: Decide, clock: TimeBudget, look: int, more: int
) -> list[str]:
    name = f"contenders.{look}"
    if name not in results.attributes:
        keys = list(recommendation.contenders(results, sweep.confirmation.alpha))
        seconds = trial_seconds(results) * CONFIRM_FACTOR
        if len(keys) * more > clock.trials_that_fit(1.0, seconds):
            decide(
                f"dropped.look{look}",
                [f"confirmation: --minutes leaves no room for the look at {look} seeds"],
            )
            keys = []
        decide(name, keys)
        decide("contenders", keys)
    return list(decide(name, None) or [])


def _slot(stage: Stage, config: TrialConfig, seed: int) -> PlannedTrial:
    return PlannedTrial(
        f"{stage.value}/{config.key}/{seed}", stage, seed, config.replace(seed=seed)
    )
