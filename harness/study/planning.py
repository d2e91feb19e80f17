"""What the stages of a study share: seeds, planned trials, and the time of `--minutes`."""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from harness.config.sweep import Sweep
from harness.results import StudyResults
from harness.storage.records import Decide
from harness.storage.study import PlannedTrial
from harness.trial import Stage, TrialConfig

#: Seeds of one study lie in its own thousand, those of a stage in its own hundred.
_SEEDS: Final = {Stage.SEARCH: 0, Stage.TUNE: 100, Stage.ABLATE: 200, Stage.CONFIRM: 300}
#: Shares of `--minutes` after which the search and the ablation have to be over.
SEARCH_SHARE: Final = 0.35
ABLATE_SHARE: Final = 0.7
#: A confirmation trial takes about so many times as long as a search trial: it scores the test
#: split, too.
CONFIRM_FACTOR: Final = 1.3


def seed_of(sweep: Sweep, stage: Stage, index: int = 0) -> int:
    """The seed of the index-th run of a stage; equal for all its configurations."""
    return 1000 * sweep.seed + _SEEDS[stage] + index


def planned_trial(stage: Stage, config: TrialConfig, seed: int) -> PlannedTrial:
    """A trial of a configuration that no sampler chooses, named after configuration and seed."""
    name = f"{stage.value}/{config.key}/{seed}"
    return PlannedTrial(name, stage, seed, config.replace(seed=seed))


def tuning_trial(config: TrialConfig, seed: int) -> PlannedTrial:
    """A trial that tunes a learning rate; cells that share a configuration share its trial."""
    config = config.replace(seed=seed)
    return PlannedTrial(f"tune/{config.key}", Stage.TUNE, seed, config, config.budget)


@dataclass(frozen=True)
class TimeBudget:
    """How much time `--minutes` leaves.

    Attributes:
        total: seconds for the whole study, or infinity.
        spent: seconds since it began.
        workers: workers that share the time.
    """

    total: float = math.inf
    spent: float = 0.0
    workers: int = 1

    def trials_that_fit(self, share: float, seconds: float) -> float:
        """How many trials of so many seconds fit before that share of the time is over."""
        if math.isinf(self.total) or seconds <= 0:
            return math.inf
        return max(0.0, (self.total * share - self.spent) * self.workers / seconds)


class PlanningContext(NamedTuple):
    """What a stage plans from.

    Attributes:
        results: the study so far, all earlier stages complete.
        sweep: what the study runs.
        decide: writes a decision unless there is one, and returns the one that holds.
        budget: what `--minutes` leaves.
    """

    results: StudyResults
    sweep: Sweep
    decide: Decide
    budget: TimeBudget


def trial_seconds(results: StudyResults) -> float:
    """Median seconds of a full trial, training and scoring; 0 before the first has ended."""
    full = results.trials[
        (results.trials["state"] == "complete")
        & (results.trials["budget"] == 1.0)
        & results.trials["duplicate_of"].isna()
        & ~results.trials["stage"].isin([Stage.CONFIRM.value, Stage.FULL.value])
    ]
    costs = results.costs[results.costs["trial"].isin(full["number"])]
    seconds = (costs["train_seconds"] + costs["score_seconds"]).median()
    return 0.0 if math.isnan(seconds) else float(seconds)
