"""Cells that the claims (`harness.analysis.claims`) compare and a study lacks.

They are planned at the end of a study, if the user requested them with `--claims`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from harness.analysis.ablation import tuned_rate
from harness.analysis.claim_tests import evaluate_claims, missing_arms
from harness.analysis.claims import (
    BASE,
    FULL,
    SEED_ADDITION,
    Arm,
    arm_cell,
    arm_config,
    seed_additions,
)
from harness.config.sweep import Sweep
from harness.config.variants import resolve_variant, why_untrainable
from harness.errors import UserError
from harness.results import StudyResults
from harness.storage.records import CLAIMS_REQUESTED, Decide
from harness.storage.study import PlannedTrial
from harness.study.ablation import AblationCell, cell_trials, learning_rate_grid, tuned_cells
from harness.study.planning import PlanningContext, planned_trial, seed_of
from harness.trial import Stage, TrialConfig

#: At most so many rates are added beyond the edges of a cell's grid.
_MAX_ADDED_RATES: Final = 4


def decide_claim_cells(context: PlanningContext, incumbent: TrialConfig) -> list[AblationCell]:
    """The cells around the ablation's centre, decided once; none unless claims were requested.

    A cell's budget is that of its trials on fresh seeds; its rates are tuned with the share of it
    that the ablation's are.
    """
    results, sweep, decide, _ = context
    if CLAIMS_REQUESTED not in results.attributes:
        return []
    if "claims_plan" not in results.attributes:
        planned, dropped = [], []
        for arm in missing_arms(results):
            if arm in (FULL, BASE):
                continue  # full fine-tuning has a stage of its own; the base is not trained
            cell = _cell_of_arm(sweep, incumbent, arm)
            if isinstance(cell, AblationCell):
                planned.append({**cell._asdict(), "config": asdict(cell.config)})
            else:
                dropped.append(f"claims: {cell}")
        if dropped:
            decide("dropped.claims", dropped)
        decide("claims_plan", planned)
    share = float(decide("plan", None)["budget"])
    cells = []
    for entry in decide("claims_plan", None):
        config = TrialConfig(**entry["config"])
        tuning = config.replace(budget=config.budget * share)
        cell = AblationCell(entry["factor"], entry["level"], tuning, tuple(entry["rates"]))
        rates = _extended_rates(results, cell, sweep.ablation.rate_step)
        cells.append(cell._replace(rates=rates))
    return cells


def _cell_of_arm(sweep: Sweep, incumbent: TrialConfig, arm: Arm) -> AblationCell | str:
    """The cell of an arm of a claim, or the reason why it cannot be trained."""
    levels = arm or {"variant": incumbent.variant}  # the empty arm is the incumbent itself
    # The rank last: where an arm changes it, it is the factor that the cell is named after.
    *fixed, (factor, level) = sorted(levels.items(), key=lambda item: item[0] == "rank")
    values: dict[str, Any] = arm_config(asdict(incumbent), arm)
    values["rank"] = int(values["rank"])
    config = TrialConfig(**{**values, "seed": 0})
    try:
        variant = resolve_variant(config.variant)
        reason = why_untrainable(variant, (config.rank,), sweep.model.quantization)
    except UserError as error:
        reason = str(error)
    if reason is not None:
        return f"{config.label()}: {reason}"
    if factor == "learning_rate":
        return AblationCell("learning_rate", level, config, (float(level),))
    name = "@".join([factor, *(f"{key}={value}" for key, value in fixed)])
    rates = learning_rate_grid(sweep, incumbent, config.variant)
    return AblationCell(name, level, config, tuple(rates))


def _extended_rates(results: StudyResults, cell: AblationCell, step: float) -> tuple[float, ...]:
    """The cell's rates, with one more beyond the edge wherever the best so far lies there.

    A claim on a configuration that needs another rate than the incumbent's neighbours would
    otherwise be judged at a rate that does not suit it.
    """
    rows = results.trials[results.trials["stage"] == Stage.TUNE.value]
    tried = set(rows.loc[rows["state"].isin(["complete", "failed"]), "key"])
    rates = sorted(cell.rates)
    while 1 < len(rates) < len(cell.rates) + _MAX_ADDED_RATES:
        keys = {rate: cell.config.replace(learning_rate=rate).key for rate in rates}
        best = tuned_rate(results, keys) if set(keys.values()) <= tried else None
        if best == rates[0]:
            rates.insert(0, float(f"{best / step:.3g}"))
        elif best is not None and best == rates[-1]:
            rates.append(float(f"{best * step:.3g}"))
        else:
            break
    return tuple(rates)


def claim_trials(
    context: PlanningContext, cells: Sequence[AblationCell]
) -> tuple[PlannedTrial, ...]:
    """The trials of the cells, whose rates are tuned, and of seeds that were added."""
    sweep, trials = context.sweep, list[PlannedTrial]()
    # On the ablation's seeds, because they are compared with its cells. In a stage of their own:
    # a configuration that diverges at a rate some guide names must not widen the seed noise that
    # is estimated from the ablation.
    if cells:
        budgets = [e["config"]["budget"] for e in context.decide("claims_plan", None)]
        records = tuned_cells(context, cells, [float(budget) for budget in budgets])
        trials += cell_trials(records, sweep, Stage.CLAIM)
    for addition in seed_additions(context.results.attributes):
        configs = [TrialConfig(**config) for config in addition["configs"]]
        seeds = [
            seed_of(sweep, Stage.ABLATE, index)
            for index in range(addition["from"], addition["to"])
        ]
        trials += [planned_trial(Stage.CLAIM, c, seed) for seed in seeds for c in configs]
    return tuple(trials)


def add_seeds(results: StudyResults, sweep: Sweep, count: int, decide: Decide) -> int:
    """Adds seeds to all cells that an undecided claim compares.

    They count for claims alone: the ablation's tables keep the seeds that they were planned with.
    A verdict on added seeds is exploratory, because they were added after a look at the results.

    Returns:
        For how many cells; 0 leaves the study as it is.
    """
    arms = [
        arm
        for finding in evaluate_claims(results)
        if finding.verdict == "not decided"
        for contrast in finding.comparisons
        for arm in contrast.comparison[:2]
    ]
    cells = [arm_cell(results, arm) for arm in arms if arm not in (FULL, BASE)]
    configs = {str(cell["key"]): dict(cell["config"]) for cell in cells if cell is not None}
    if configs:
        additions = seed_additions(results.attributes)
        first = int(additions[-1]["to"]) if additions else sweep.ablation.seeds
        addition = {"configs": [*configs.values()], "from": first, "to": first + count}
        decide(f"{SEED_ADDITION}{len(additions) + 1}", addition)
    return len(configs)
