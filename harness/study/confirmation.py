"""Confirmation: the finalists on fresh seeds and the test split, look by look, and added seeds.

A verdict on added seeds is exploratory: whoever adds seeds until a verdict pleases will get one.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from harness.analysis import recommendation
from harness.analysis.verdict import confirm_state, current_look
from harness.config.sweep import Sweep
from harness.results import StudyResults
from harness.storage.records import Decide
from harness.storage.study import PlannedTrial
from harness.study.planning import (
    CONFIRM_FACTOR,
    PlanningContext,
    planned_trial,
    seed_of,
    trial_seconds,
)
from harness.trial import Stage, TrialConfig

#: Each addition of seeds is an attribute of this name and its number, from 1.
_ADDITION: Final = "added."


def confirmation_trials(context: PlanningContext) -> list[tuple[PlannedTrial, ...]]:
    """The trials of each look; a later look is planned once the earlier one is complete."""
    results, sweep = context.results, context.sweep
    finalists = _decide_finalists(context)
    configs = {config.key: config for config in finalists}
    keys = list(configs)
    # Where rate grids were extended after a verdict, earlier finalists remain contenders.
    rows = results.trials[results.trials["stage"] == Stage.CONFIRM.value].to_dict("records")
    configs = {TrialConfig.from_row(row).key: TrialConfig.from_row(row) for row in rows} | configs
    groups: list[tuple[PlannedTrial, ...]] = []
    reached = 0
    for look in sweep.confirmation.looks:
        if reached:
            keys = _decide_contenders(context, look, look - reached)
        groups.append(_trials_of(sweep, [configs[key] for key in keys], range(reached, look)))
        if not keys or _completed_seeds(results, keys) < look:
            break
        reached = look
    for addition in seed_additions(results.attributes):
        added = [configs[key] for key in addition["keys"] if key in configs]
        groups.append(_trials_of(sweep, added, range(addition["from"], addition["to"])))
    return groups


def _trials_of(
    sweep: Sweep, configs: list[TrialConfig], indices: range
) -> tuple[PlannedTrial, ...]:
    """Seed by seed, so that an interrupted look has compared configurations on equal seeds."""
    return tuple(
        planned_trial(Stage.CONFIRM, config, seed_of(sweep, Stage.CONFIRM, index))
        for index in indices
        for config in configs
    )


def _completed_seeds(results: StudyResults, keys: list[str]) -> int:
    """Seeds that have ended for every one of these configurations."""
    rows = results.trials[
        (results.trials["stage"] == Stage.CONFIRM.value)
        & results.trials["state"].isin(["complete", "failed"])
    ]
    return min(int((rows["key"] == key).sum()) for key in keys)


def _decide_finalists(context: PlanningContext) -> list[TrialConfig]:
    results, sweep, decide, budget = context
    if "finalists" not in results.attributes:
        limit = sweep.confirmation.max_configurations
        seconds = trial_seconds(results) * CONFIRM_FACTOR
        affordable = budget.trials_that_fit(1.0, seconds) / sweep.confirmation.looks[0]
        if limit and affordable < limit:
            limit = int(affordable)
            finalists = f"finalist{'s' * (limit != 1)}"
            reason = f"confirmation: --minutes leaves time for {limit} {finalists}"
            decide("dropped.confirmation", [reason])
        rows = recommendation.finalists(results, limit) if limit else []
        configs = [TrialConfig.from_row(row) for row in rows]
        decide("finalist_configs", [asdict(config) for config in configs])
        decide("finalists", [config.key for config in configs])
    return [TrialConfig(**body) for body in decide("finalist_configs", None) or []]


def _decide_contenders(context: PlanningContext, look: int, new_seeds: int) -> list[str]:
    """Keys of the configurations that a later look runs on `new_seeds` more seeds."""
    results, sweep, decide, budget = context
    name = f"contenders.{look}"
    if name not in results.attributes:
        keys = list(recommendation.contenders(results, sweep.confirmation.alpha))
        seconds = trial_seconds(results) * CONFIRM_FACTOR
        if len(keys) * new_seeds > budget.trials_that_fit(1.0, seconds):
            reason = f"confirmation: --minutes leaves no time for the look at {look} seeds"
            decide(f"dropped.look{look}", [reason])
            keys = []
        decide(name, keys)
        decide("contenders", keys)
    return list(decide(name, None) or [])


def add_seeds(results: StudyResults, count: int, decide: Decide) -> int:
    """Adds seeds for all finalists that are not shown to be worse by more than the margin.

    Returns:
        For how many finalists; 0 leaves the study as it is, since there is nothing to compare.
    """
    state = confirm_state(results)
    if state is None:
        return 0
    pairs = zip(state.comparison.array.keys, state.worse, strict=True)
    keys = [key for key, worse in pairs if not worse]
    first = state.look.seeds
    addition = {"keys": keys, "from": first, "to": first + count}
    decide(f"{_ADDITION}{len(seed_additions(results.attributes)) + 1}", addition)
    return len(keys)


def planned_looks_done(results: StudyResults, sweep: Sweep) -> bool:
    """Whether the sweep's last look is complete, or was not needed any more."""
    looks = sweep.confirmation.looks
    if current_look(results).seeds >= looks[-1]:
        return True
    return any(results.attributes.get(f"contenders.{look}") == [] for look in looks[1:])


def seed_additions(attributes: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All additions of seeds, the first one first: `keys`, and seeds `from` and `to`."""
    additions = {
        int(name.removeprefix(_ADDITION)): value
        for name, value in attributes.items()
        if name.startswith(_ADDITION)
    }
    return [additions[number] for number in sorted(additions)]
