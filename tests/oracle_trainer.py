"""A trainer that answers at once: scores follow a formula of the configuration and the seed.

It stands for the engine where a test is about what happens around it: stages, storage, resuming.
Everything else in those tests is real: the database, Optuna, the task and its metric.
"""

import random
from collections.abc import Callable, Iterator

from harness.tasks.task import Task
from harness.training.trainer import Race
from harness.trial import (
    Cost,
    Measurement,
    Outcome,
    SplitScores,
    TrialConfig,
    TrialRequest,
    TrialResult,
)


def recall_of(config: TrialConfig) -> float:
    """The probability that a mention is found: better with rank and targets, best at lr 5e-3."""
    reach = {"q": 0.4, "qv": 0.6, "qkv": 0.65, "attention": 0.7, "mlp": 0.75, "all_linear": 0.8}
    off = abs(config.learning_rate / 5e-3 - 1)
    return max(0.05, reach[config.target_modules] + 0.02 * min(config.rank, 16) / 4 - 0.05 * off)


class OracleTrainer:
    """Finds each mention with the probability `recall_of`, drawn from seed and example."""

    def __init__(self, task: Task, stop_after: int | None = None) -> None:
        self.task = task
        self.stop_after = stop_after
        self.seen: list[TrialRequest] = []

    def train(
        self,
        trials: Iterator[TrialRequest],
        report: Callable[[int, Measurement], bool],
        race: Race | None = None,
    ) -> Iterator[TrialResult]:
        for request in trials:
            self.seen.append(request)
            if self.stop_after is not None and len(self.seen) > self.stop_after:
                raise KeyboardInterrupt
            chance = recall_of(request.config)
            readings = []
            pruned = False
            for step in (1, 2, 3) if request.readings else ():
                reading = Measurement(step, step / 1.0, 1.0, chance * step / 3, 1.0, 100)
                readings.append(reading)
                if not report(request.number, reading):
                    pruned = True
                    break
            scores = {} if pruned else {s: self._score(request, s) for s in request.splits}
            why = "pruned" if pruned else None
            if race and scores and request.readings:
                why = self._run_race(request.number, scores[request.splits[0]], race)
            yield TrialResult(
                request.number,
                Outcome.PRUNED if why else Outcome.COMPLETE,
                scores={} if why else scores,
                measurements=tuple(readings),
                cost=Cost(1.0, 0.5, 1000, 1000 * request.config.rank, 2**20),
                error=why,
            )

    def _run_race(self, number: int, full: SplitScores, race: Race) -> str | None:
        """Reports the scores of one, two and three quarters of the examples to the race."""
        rows = [*zip(full.ids, full.predictions, full.unparsed, full.statistics, strict=True)]
        for part in (1, 2, 3):
            shown = [row for index, row in enumerate(rows) if index % 4 < part]
            ids, predictions, unparsed, statistics = zip(*shown, strict=True)
            values = self.task.values([*statistics], [*unparsed])
            scores = SplitScores(full.split, ids, predictions, unparsed, statistics, values)
            why = race(number, scores)
            if why is not None:
                return why
        return None

    def _score(self, request: TrialRequest, split: str) -> SplitScores:
        examples = self.task.examples(split)
        chance = recall_of(request.config)
        rows, written = [], []
        for example in examples:
            # One draw for each seed and mention: configurations are paired, as real ones are.
            draw = random.Random(f"{request.config.seed}/{example.id}")
            mentions = [mention for mention in example.reference if draw.random() < chance]
            rows.append(self.task.score(mentions, example))
            written.append(self.task.write(mentions))
        unparsed = [False] * len(rows)
        return SplitScores(
            split,
            tuple(example.id for example in examples),
            tuple(written),
            tuple(unparsed),
            tuple(rows),
            self.task.values(rows, unparsed),
        )
