"""How much time `--minutes` leaves a study, and how much of it each stage may take."""

import math
from dataclasses import dataclass
from typing import Final

from harness.results import StudyResults
from harness.trial import Stage

#: Shares of `--minutes` after which the search and the ablation have to be over.
SEARCH_SHARE: Final = 0.35
ABLATE_SHARE: Final = 0.7
#: A confirm trial takes longer than a search trial by about so much: it scores the test split too.
CONFIRM_FACTOR: Final = 1.3


@dataclass(frozen=True)
class TimeBudget:
    """How much time `--minutes` leaves.

    Attributes:
        total: seconds for the whole study, or infinity.
        spent: seconds since it began.
        workers: workers side by side.
    """

    total: float = math.inf
    spent: float = 0.0
    workers: int = 1

    def trials_that_fit(self, share: float, seconds: float) -> float:
        """How many trials of so many seconds fit before that share of the time is over."""
        if math.isinf(self.total) or seconds <= 0:
            return math.inf
        return max(0.0, (self.total * share - self.spent) * self.workers / seconds)


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
