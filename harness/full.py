"""Full fine-tuning as a baseline: whether a study runs it, and at which learning rates.

Decides, runs nothing; `harness.adapters.kinds.full` trains.
"""

from dataclasses import asdict
from typing import Final

from harness.analysis.tuning import tuned_rate
from harness.cells import ASKED, Cell
from harness.clock import ABLATE_SHARE, Clock, trial_seconds
from harness.results import StudyResults
from harness.storage.rounds import Decide
from harness.sweep import Sweep
from harness.trial import TrialConfig
from harness.variants import FULL

#: Its best rate lies about so much below LoRA's (Schulman et al. 2025, "LoRA Without Regret").
_BELOW: Final = 10.0


def cell(
    results: StudyResults, sweep: Sweep, incumbent: TrialConfig, decide: Decide, clock: Clock
) -> list[Cell]:
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
        if not reason and clock.trials_until(ABLATE_SHARE, trial_seconds(results)) < runs:
            reason = "--minutes leaves no room for it"
        rates = sweep.baselines.full_rates or _grid(sweep, incumbent.learning_rate / _BELOW)
        if reason:
            decide("dropped.full", [f"full fine-tuning: {reason}"])
        decide("full_plan", {"rates": [] if reason else list(rates), "budget": budget})
    plan = decide("full_plan", None)
    if not plan["rates"]:
        return []
    config = TrialConfig(FULL.name, 1, 1.0, 0.0, "all_linear", plan["rates"][0], 0, plan["budget"])
    return [Cell(FULL.name, "all weights", config, tuple(plan["rates"]))]


def tuned(results: StudyResults, cells: list[Cell], decide: Decide) -> list[TrialConfig]:
    """The cell's configuration at its tuned rate, decided once; none if every run failed."""
    if not cells:
        return []
    if "full" not in results.attributes:
        (only,) = cells
        keys = {rate: only.config.with_(learning_rate=rate).key for rate in only.rates}
        rate = tuned_rate(results, keys)
        if rate is None:
            decide("dropped.full", ["full fine-tuning: it failed at every learning rate"])
            decide("full", [])
            return []
        config = only.config.with_(learning_rate=rate, budget=1.0)
        noted = {"rates": list(only.rates), "rate": rate, "key": config.key}
        decide("full", [{**noted, "config": asdict(config)}])
    return [TrialConfig(**each["config"]) for each in decide("full", None)]


def _grid(sweep: Sweep, centre: float) -> tuple[float, ...]:
    count, step = sweep.ablation.rates, sweep.ablation.rate_step
    places = (i - (count - 1) / 2 for i in range(count))
    return tuple(float(f"{centre * step**place:.3g}") for place in places)
