"""A simulated world of trials whose true scores are known, for tests of the statistics.

Draws per-example statistics as a real trial leaves them; no model is trained.
`tests/studies.py` makes whole studies of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats

from harness.results import Objective

if TYPE_CHECKING:
    from harness.trial import TrialConfig

CLASSES = ("MEDICATION", "DOSAGE", "CONDITION", "PROCEDURE")
F1 = Objective("entity_f1", "maximize", 0.02, "f1", CLASSES, 100.0, "points of F1")
PERPLEXITY = Objective("perplexity", "minimize", 0.2, "perplexity", ("all",), 1.0, "perplexity")
INTENTS = tuple(f"intent_{number:02d}" for number in range(77))
ACCURACY = Objective("accuracy", "maximize", 0.02, "share", INTENTS, 100.0, "points of accuracy")
MACRO = Objective("macro_f1", "maximize", 0.03, "macro_f1", INTENTS, 100.0, "points of macro F1")
ROUGE = Objective("rougeL", "maximize", 0.01, "share", ("all",), 100.0, "points of ROUGE-L")
#: True F1 of a rank on all linear layers at the best learning rate.
RANKS: Mapping[int, float] = {4: 0.78, 8: 0.83, 16: 0.86, 32: 0.862}
#: What the other settings take from it.
EFFECTS: Mapping[str, Mapping[Any, float]] = {
    "target_modules": {"q": -0.15, "qv": -0.05, "attention": -0.02, "all_linear": 0.0},
    "alpha_ratio": {1.0: 0.0, 2.0: 0.0, 4.0: -0.01},
    "dropout": {0.0: 0.0, 0.05: 0.0},
    "variant": {"lora": 0.0, "dora": 0.002},
}
#: Trainable parameters for each unit of rank.
WIDTHS = {"q": 1024, "qv": 2048, "qkv": 3072, "attention": 4096, "mlp": 6144, "all_linear": 10240}
BEST_RATE = 5e-3


@dataclass
class World:
    """Draws statistics of trials whose true score is known; the examples are the same for all.

    Attributes:
        objective: one of those above.
        sizes: number of examples of each split.
        seed_sd: spread of a configuration's true score over training seeds.
        seed: of every draw.
    """

    objective: Objective
    sizes: Mapping[str, int]
    seed_sd: float = 0.01
    seed: int = 0
    _splits: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Draws what all trials share: where the entities are and how hard they are."""
        self.rng = np.random.default_rng(self.seed)
        for split, size in self.sizes.items():
            counts = self.rng.poisson(1.2, (size, len(self.objective.classes)))
            cells = np.repeat(np.arange(counts.size), counts.ravel())
            self._splits[split] = (cells, self.rng.standard_normal((2, len(cells))))

    def truth(self, config: TrialConfig) -> float:
        """Expected score, on the scale of F1 whatever the objective, of a configuration."""
        penalty = 0.03 * (math.log10(config.learning_rate / BEST_RATE) / 0.5) ** 2
        ranks = {1: 0.68, 2: 0.73, 64: 0.861, **RANKS}
        effects = sum(EFFECTS[name].get(getattr(config, name), -0.005) for name in EFFECTS)
        return max(0.05, ranks[config.rank] + effects - penalty)

    def statistics(self, score: float, split: str) -> np.ndarray:
        """Statistics of one trained adapter of that true score, shape (examples, columns)."""
        noise = self.rng.standard_normal
        size = self.sizes[split]
        if self.objective.form == "perplexity":
            tokens = 40.0 + np.arange(size) % 17
            hardness = np.resize(self._splits[split][1][0], size)
            level = math.log(12.0 - 8.0 * score) + 0.1 * hardness + 0.05 * noise(size)
            return np.stack([tokens * level, tokens], axis=1)
        if self.objective.form in {"share", "macro_f1"}:
            return self._texts(score, split)
        cells, hardness = self._splits[split]
        # A latent normal for each entity, most of it the entity's own: P(found) = score exactly.
        latent = math.sqrt(0.7) * hardness + math.sqrt(0.3) * noise(hardness.shape)
        quantile = float(scipy.stats.norm.ppf(score))
        table = np.zeros((size * len(self.objective.classes), 3))
        np.add.at(table[:, 0], cells, latent[0] < quantile)
        np.add.at(table[:, 2], cells, latent[0] >= quantile)
        np.add.at(table[:, 1], cells, latent[1] >= quantile)
        return table.reshape(size, -1)

    def _texts(self, score: float, split: str) -> np.ndarray:
        """One score for each text, or one class of several; frequent classes come first."""
        size, count = self.sizes[split], len(self.objective.classes)
        fixed = np.random.default_rng([self.seed, size])
        hardness = fixed.standard_normal(size)
        latent = math.sqrt(0.7) * hardness + math.sqrt(0.3) * self.rng.standard_normal(size)
        if count == 1:
            return np.stack([np.clip(score + 0.15 * latent, 0.0, 1.0), np.ones(size)], axis=1)
        labels = np.minimum(fixed.exponential(count / 3, size).astype(int), count - 1)
        correct = latent < float(scipy.stats.norm.ppf(score))
        predictions = np.where(
            correct, labels, (labels + self.rng.integers(1, count, size)) % count
        )
        table = np.zeros((size, count, len(self.objective.parts)))
        examples = np.arange(size)
        if self.objective.form == "share":
            table[examples, labels, 0], table[examples, labels, 1] = correct, 1.0
        else:
            table[examples, labels, 0] = correct
            table[examples, predictions, 1] = ~correct
            table[examples, labels, 2] = ~correct
        return table.reshape(size, -1)
