"""Simulated confirm stages whose true scores are known: per-example statistics of three metrics.

A score reads truth + what a seed does + which examples there are + what both do together; examples
are hard or easy for all configurations alike. Knows the analysis' shapes, nothing of studies.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtri

from harness.aggregates import Array
from harness.analysis.scores import ScoreArray
from harness.results import Objective

OBJECTIVES: Final = {
    "f1": Objective("entity_f1", "maximize", 0.02, "f1", ("all",), 100.0, "points of F1"),
    "rouge": Objective("rougeL", "maximize", 0.01, "share", ("all",), 100.0, "points of ROUGE-L"),
    "perplexity": Objective("perplexity", "minimize", 0.2, "perplexity", ("all",)),
}
#: How much of a latent mention or text is its own; the rest is drawn for each adapter.
_OWN: Final = 0.7
#: Mentions of an example, on average.
_MENTIONS: Final = 4.8


@dataclass(frozen=True)
class Noise:
    """What scores differ by.

    Attributes:
        seed: standard deviation of a configuration's true score over training seeds.
        alike: correlation of two configurations over shared seeds.
    """

    seed: float = 0.009
    alike: float = 0.1


def truth(metric: str, score: float) -> float:
    """The expected metric of a configuration of that score, over seeds and examples."""
    return 12.0 - 8.0 * score if metric == "perplexity" else score


def panel(
    metric: str,
    scores: Array,
    seeds: int,
    examples: int,
    noise: Noise,
    rng: np.random.Generator,
) -> ScoreArray:
    """Statistics of a confirm stage.

    Args:
        metric: `f1`, `rouge` or `perplexity`.
        scores: (C,) true scores, of the kind of F1 whatever the metric.
        seeds: number of seeds, the same for all.
        examples: number of examples, the same for all.
        noise: of the seeds.
        rng: of all draws.
    """
    count = len(scores)
    shared = rng.standard_normal((1, seeds))
    own = rng.standard_normal((count, seeds))
    moved = np.sqrt(noise.alike) * shared + np.sqrt(1 - noise.alike) * own
    table = np.asarray(scores)[:, None] + noise.seed * moved
    world = _World(metric, examples, rng)
    statistics = np.array([[world.statistics(each) for each in row] for row in table])
    names = tuple(map(str, range(count)))
    return ScoreArray(names, tuple(range(seeds)), tuple(map(str, range(examples))), statistics)


class _World:
    """Examples that all adapters meet."""

    def __init__(self, metric: str, examples: int, rng: np.random.Generator) -> None:
        self._metric, self._examples, self._rng = metric, examples, rng
        mentions = rng.poisson(_MENTIONS, examples) if metric == "f1" else np.ones(examples, int)
        self._of = np.repeat(np.arange(examples), mentions)
        self._hard = rng.standard_normal((2, len(self._of)))

    def statistics(self, score: float) -> Array:
        """Of one adapter, (E, W)."""
        latent = np.sqrt(_OWN) * self._hard
        latent = latent + np.sqrt(1 - _OWN) * self._rng.standard_normal(latent.shape)
        if self._metric == "perplexity":
            tokens = 40.0 + np.arange(self._examples) % 17
            level = np.log(12.0 - 8.0 * score) + 0.1 * latent[0]
            return np.stack([tokens * level, tokens], axis=1)
        if self._metric == "rouge":
            return np.stack([score + 0.1 * latent[0], np.ones(self._examples)], axis=1)
        # Found with probability `score`, and as often something spurious as a mention is missed:
        # so the expected micro-F1 is the score.
        missed = latent >= ndtri(score)
        columns = (~missed[0], missed[1], missed[0])
        return np.stack(
            [np.bincount(self._of, column, self._examples) for column in columns], axis=1
        )
