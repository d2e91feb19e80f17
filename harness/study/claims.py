"""Cells that the claims want and a study lacks: planned once all else is done, if asked for.

Decides, runs nothing; what the claims are is `harness.analysis.claims`'.
"""

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
from harness.storage.records import Decide
from harness.study.ablation import ASKED, AblationCell, cell_record, learning_rate_grid
from harness.trial import Stage, TrialConfig

#: Rates beyond the edge of a cell's grid at most.
_MORE: Final = 4


def plan_claim_cells(
    results: StudyResults, sweep: Sweep, incumbent: TrialConfig, decide: Decide
) -> list[AblationCell]:
    """The cells, decided once; none unless somebody asked for them.

    A cell's budget is that of its runs on fresh seeds; its rates are tuned with the share of it
    that the ablation's are.

    Args:
        results: the study, all else done.
        sweep: what it runs.
        incumbent: what the ablation is around.
        decide: writes a decision unless there is one, and returns the one that holds.
    """
    if ASKED not in results.attributes:
        return []
    if "claims_plan" not in results.attributes:
        planned, dropped = [], []
        for arm in missing_arms(results):
            if arm in (FULL, BASE):
                continue  # a stage of its own, and no training at all
            cell = _cell(sweep, incumbent, arm)
            if isinstance(cell, AblationCell):
                planned.append({**cell._asdict(), "config": asdict(cell.config)})
            else:
                dropped.append(f"claims: {cell}")
        if dropped:
            decide("dropped.claims", dropped)
        decide("claims_plan", planned)
    share = float(decide("plan", None)["budget"])
    found = []
    for entry in decide("claims_plan", None):
        config = TrialConfig(**entry["config"])
        whole = config.replace(budget=config.budget * share)
        cell = AblationCell(entry["factor"], entry["level"], whole, tuple(entry["rates"]))
        found.append(cell._replace(rates=_grown(results, cell, sweep.ablation.rate_step)))
    return found


def add_seeds(results: StudyResults, sweep: Sweep, count: int, decide: Decide) -> int:
    """Adds seeds to all cells that a claim compares which is not decided.

    They count for claims alone: the ablation's tables keep the seeds that they were planned with.
    A verdict on added seeds is exploratory, for somebody had looked.

    Args:
        results: the study, its ablation done.
        sweep: what it runs.
        count: how many.
        decide: writes a decision.

    Returns:
        For how many cells; 0 leaves the study as it is.
    """
    arms = [
        arm
        for finding in evaluate_claims(results)
        if finding.verdict == "not decided"
        for one in finding.comparisons
        for arm in one.comparison[:2]
    ]
    wanted = [arm_cell(results, arm) for arm in arms if arm not in (FULL, BASE)]
    found = {str(cell["key"]): dict(cell["config"]) for cell in wanted if cell is not None}
    if found:
        before = seed_additions(results.attributes)
        done = int(before[-1]["to"]) if before else sweep.ablation.seeds
        noted_ = {"configs": [*found.values()], "from": done, "to": done + count}
        decide(f"{SEED_ADDITION}{len(before) + 1}", noted_)
    return len(found)


def _grown(results: StudyResults, cell: AblationCell, step: float) -> tuple[float, ...]:
    """The cell's rates, with one more beyond the edge wherever the best so far lies there.

    A claim on a configuration that wants another rate than the incumbent's neighbours would be
    judged at a rate that does not suit it.
    """
    rows = results.trials[results.trials["stage"] == Stage.TUNE.value]
    tried = set(rows.loc[rows["state"].isin(["complete", "failed"]), "key"])
    rates = sorted(cell.rates)
    while 1 < len(rates) < len(cell.rates) + _MORE:
        keys = {rate: cell.config.replace(learning_rate=rate).key for rate in rates}
        best = tuned_rate(results, keys) if set(keys.values()) <= tried else None
        if best == rates[0]:
            rates.insert(0, float(f"{best / step:.3g}"))
        elif best is not None and best == rates[-1]:
            rates.append(float(f"{best * step:.3g}"))
        else:
            break
    return tuple(rates)


def _cell(sweep: Sweep, incumbent: TrialConfig, arm: Arm) -> AblationCell | str:
    """The cell of an arm, or why there is none."""
    own = arm or {"variant": incumbent.variant}  # the incumbent's own cell
    *held, (factor, level) = sorted(own.items(), key=lambda each: each[0] == "rank")
    values: dict[str, Any] = arm_config(asdict(incumbent), arm)
    values["rank"] = int(values["rank"])
    config = TrialConfig(**{**values, "seed": 0})
    try:
        told = why_untrainable(
            resolve_variant(config.variant), (config.rank,), sweep.model.quantization
        )
    except UserError as error:
        told = str(error)
    if told is not None:
        return f"{config.label()}: {told}"
    name = "@".join([factor, *(f"{other}={value}" for other, value in held)])
    if factor == "learning_rate":
        return AblationCell("learning_rate", level, config, (float(level),))
    rates = learning_rate_grid(sweep, incumbent, config.variant)
    return AblationCell(name, level, config, tuple(rates))


def tuned(
    results: StudyResults, planned: list[AblationCell], decide: Decide
) -> list[dict[str, Any]]:
    """Each cell at its tuned rate, decided once; a cell whose runs all failed has none."""
    if not planned:
        return []
    if "claimed" not in results.attributes:
        found, dropped = [], []
        budgets = [float(each["config"]["budget"]) for each in decide("claims_plan", None)]
        for cell, budget in zip(planned, budgets, strict=True):
            rate: float | None = cell.rates[0]
            if len(cell.rates) > 1:
                keys = {one: cell.config.replace(learning_rate=one).key for one in cell.rates}
                rate = tuned_rate(results, keys)
            if rate is None:
                dropped.append(f"claims: {cell.factor}={cell.level} failed at every learning rate")
            else:
                found.append(cell_record(cell, rate, budget))
        if dropped:
            decide("dropped.claims_tuning", dropped)
        decide("claimed", found)
    return list(decide("claimed", None))
