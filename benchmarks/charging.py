"""What trials cost with the usual loop: measured on a sample of whole trials, then multiplied.

A trial is charged for loading the base, for each step that it trains and for each example that it
scores. Prices are medians over the sample, those of DoRA and of all other variants apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import pandas as pd

from benchmarks.plain_loop import Spent
from harness.config.space import SearchSpace
from harness.results import StudyResults
from harness.trial import Stage


@dataclass(frozen=True)
class Price:
    """One trial as it was measured.

    Attributes:
        variant: of its configuration.
        steps: that it trained.
        examples: that it scored.
        spent: what went into `load` (nothing, where the base is kept), `train` and `score`.
    """

    variant: str
    steps: int
    examples: int
    spent: Mapping[str, Spent]

    def charge(self, steps: float, examples: float) -> Spent:
        """What a trial of the same kind takes that trains and scores so much."""
        parts = ("load", "train", "score")
        load, train, score = (self.spent.get(name, Spent()) for name in parts)
        clocks = [
            load_ + train_ * steps / self.steps + score_ * examples / self.examples
            for load_, train_, score_ in zip(load, train, score, strict=True)
        ]
        return Spent(*clocks)


@dataclass(frozen=True)
class Prices:
    """The sample.

    Attributes:
        sample: of trials.
    """

    sample: Sequence[Price]

    def charge(self, variant: str, steps: float, examples: float) -> Spent:
        """What a trial takes; where the sample lacks its kind, all of the sample stand for it."""
        alike = [one for one in self.sample if (one.variant == "dora") == (variant == "dora")]
        each = [one.charge(steps, examples) for one in alike or self.sample]
        return Spent(median(one.wall for one in each), median(one.cpu for one in each))


def times(spent: Spent, count: float) -> Spent:
    """So many of the same."""
    return Spent(spent.wall * count, spent.cpu * count)


@dataclass(frozen=True)
class Grid:
    """A grid of configurations, each trained to the end.

    Attributes:
        points: configurations by variant.
        seeds: trainings of each.
    """

    points: Mapping[str, int]
    seeds: int = 1

    @property
    def trials(self) -> int:
        """All trainings."""
        return sum(self.points.values()) * self.seeds

    def cost(self, prices: Prices, steps: int, examples: int) -> Spent:
        """What all of them take with the usual loop."""
        total = Spent()
        for variant, count in self.points.items():
            total = total.plus(times(prices.charge(variant, steps, examples), count * self.seeds))
        return total


def full_grid(space: SearchSpace, rates: int) -> Grid:
    """All levels of a space, each with so many learning rates."""
    levels = (space.rank, space.alpha_ratio, space.target_modules, space.dropout)
    each = rates
    for one in levels:
        each *= len(one)
    return Grid(dict.fromkeys(space.variant, each))


def small_grid(ranks: int, targets: int, rates: int, seeds: int) -> Grid:
    """What people really run: ranks, targets and rates of plain LoRA, each with some seeds."""
    return Grid({"lora": ranks * targets * rates}, seeds)


def same_trials(
    results: StudyResults, prices: Prices, reading: int, stage: str | None = None
) -> Spent:
    """What a study's own trials take at such prices: with the usual loop, the same evidence.

    Training of all weights is charged like an adapter's.

    Args:
        results: the study.
        prices: of a loop.
        reading: examples that are scored at a reading on the way.
        stage: whose trials; None for all.
    """
    steps = results.measurements.groupby("trial")["step"].max()
    readings = results.measurements.dropna(subset=["value"]).groupby("trial").size()
    scored = results.examples.groupby("trial").size().add(reading * readings, fill_value=0)
    total = Spent()
    rows = results.trials[results.trials["duplicate_of"].isna()]
    rows = rows if stage is None else rows[rows["stage"] == stage]
    for number, variant in zip(rows["number"], rows["variant"], strict=True):
        if number in steps.index:
            examples = float(scored.get(number, 0.0))
            total = total.plus(prices.charge(str(variant), float(steps[number]), examples))
    return total


@dataclass(frozen=True)
class StageTime:
    """What a stage of a study took.

    Attributes:
        trials: that it ran.
        wall: seconds from its first trial's start to its last one's end.
        worked: seconds of training and scoring, summed over all workers.
    """

    trials: int
    wall: float
    worked: float


def stage_times(results: StudyResults) -> dict[str, StageTime]:
    """A finished study's stages in their order, and `all` of them.

    `all` has the whole wall time from the first trial to the last, with planning, baselines and
    waiting in it. A study that was interrupted has the pause in it, too.
    """
    trials = results.trials[results.trials["duplicate_of"].isna()]
    costs = results.costs.set_index("trial")
    worked = costs["train_seconds"] + costs["score_seconds"]
    found = {}
    for stage in (*(one.value for one in Stage), "all"):
        rows = trials if stage == "all" else trials[trials["stage"] == stage]
        if len(rows):
            found[stage] = StageTime(
                len(rows),
                float((rows["finished"].max() - rows["started"].min()) / pd.Timedelta(seconds=1)),
                float(worked[worked.index.isin(rows["number"])].sum()),
            )
    return found
