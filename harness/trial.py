"""A trial: its configuration, its request, its readings, its result, and the seeds it derives.

Plain frozen values that cross process boundaries and go into the database.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

#: Settings of a trial besides its six parameters, with their defaults.
EXTRA_SETTINGS: Final[Mapping[str, str]] = {
    "b_rate_ratio": "own",  # of LoRA+; `own` is the variant's
    "bias": "none",
    "layers": "all",
    "rank_pattern": "none",
    "modules_to_save": "none",
    "optimizer": "adamw",
    "compute_dtype": "base",
    "gradient_checkpointing": "off",
}


class Stage(StrEnum):
    """The part of a study a trial belongs to.

    `TUNE` is the rate tuning that precedes `ABLATE`; `FULL` trains all weights, to compare with;
    `CLAIM` runs cells that only rules of thumb need, separately from those of the ablation.
    """

    SEARCH = "search"
    TUNE = "tune"
    ABLATE = "ablate"
    FULL = "full"
    CLAIM = "claim"
    CONFIRM = "confirm"


class Outcome(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True)
class TrialConfig:
    """A configuration of LoRA and the seed it is trained with.

    Attributes:
        variant: name of an entry of `harness.config.variants`.
        rank: LoRA rank, at least 1.
        alpha: LoRA alpha, above 0 (the scale is alpha/rank, or alpha/sqrt(rank) for rsLoRA).
        dropout: probability in [0, 1).
        target_modules: a group (`qv`, `all_linear`, ...) or module names joined by `+`.
        learning_rate: peak learning rate, above 0.
        seed: seeds data order, initialisation and dropout, each by a generator of its own.
        budget: share of the full number of training steps, in (0, 1].
        extras: settings that differ from `EXTRA_SETTINGS`, as `name=value` in its order, separated
            by blanks.
    """

    variant: str
    rank: int
    alpha: float
    dropout: float
    target_modules: str
    learning_rate: float
    seed: int
    budget: float = 1.0
    extras: str = ""

    def __post_init__(self) -> None:
        """Refuses values that no adapter can have."""
        checks = {
            f"rank {self.rank} is below 1": self.rank >= 1,
            f"alpha {self.alpha} is not above 0": self.alpha > 0 and math.isfinite(self.alpha),
            f"dropout {self.dropout} is outside [0, 1)": 0 <= self.dropout < 1,
            f"learning rate {self.learning_rate} is not above 0": self.learning_rate > 0
            and math.isfinite(self.learning_rate),
            f"seed {self.seed} is negative": self.seed >= 0,
            f"budget {self.budget} is outside (0, 1]": 0 < self.budget <= 1,
            "target modules are empty": bool(self.target_modules),
            f"extras {self.extras!r} are not in canonical form": self.extras
            == _canonical(self._extras()),
        }
        for fault, fine in checks.items():
            if not fine:
                raise ValueError(fault)

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """The configuration in a row of a table; its budget is 1."""
        return cls(
            variant=str(row["variant"]),
            rank=int(row["rank"]),
            alpha=float(row["alpha"]),
            dropout=float(row["dropout"]),
            target_modules=str(row["target_modules"]),
            learning_rate=float(row["learning_rate"]),
            seed=int(row.get("seed", 0)),
            extras=str(row.get("extras") or ""),
        )

    @property
    def alpha_ratio(self) -> float:
        """Alpha as a multiple of the rank."""
        return self.alpha / self.rank

    @property
    def key(self) -> str:
        """Twelve hex digits that identify the configuration without its seed."""
        # Without extras as before there were any: keys are stored in studies.
        excluded = {"seed"} if self.extras else {"seed", "extras"}
        body = {k: v for k, v in dataclasses.asdict(self).items() if k not in excluded}
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def level(self, factor: str) -> Any:
        """The level of a factor: a field, the alpha ratio, or one of `EXTRA_SETTINGS`."""
        if factor in EXTRA_SETTINGS:
            return self._extras().get(factor, EXTRA_SETTINGS[factor])
        return getattr(self, factor)

    def with_level(self, factor: str, level: Any) -> Self:
        """A copy with one factor at another level; with the rank alpha changes in proportion."""
        if factor in EXTRA_SETTINGS:
            return self.replace(extras=_canonical({**self._extras(), factor: str(level)}))
        if factor == "alpha_ratio":
            return self.replace(alpha=float(level) * self.rank)
        if factor == "rank":
            return self.replace(rank=int(level), alpha=self.alpha_ratio * int(level))
        return self.replace(**{factor: level})

    def _extras(self) -> dict[str, str]:
        pairs = (part.partition("=") for part in self.extras.split())
        return {name: value for name, _, value in pairs}

    def label(self) -> str:
        """The configuration in one short line, for tables and messages."""
        return (
            f"{self.variant} r={self.rank} alpha={self.alpha:g} {self.target_modules} "
            f"dropout={self.dropout:g} lr={self.learning_rate:.2g} {self.extras}"
        ).rstrip()


def _canonical(extras: Mapping[str, str]) -> str:
    """Extras as text, in the order of `EXTRA_SETTINGS` and without those at their default."""
    known = {name: extras[name] for name in EXTRA_SETTINGS if name in extras}
    return " ".join(
        f"{name}={value}" for name, value in known.items() if value != EXTRA_SETTINGS[name]
    )


@dataclass(frozen=True)
class TrialRequest:
    """What a trainer is to do: the configuration, the trial's number, what to score.

    Attributes:
        number: Optuna's trial number.
        config: what to train.
        splits: splits to score at the end, the first being the one of the objective.
        readings: whether to score validation examples during training, so that it can be pruned.
        adapter_dir: folder to save the adapter to, or None.
    """

    number: int
    config: TrialConfig
    splits: tuple[str, ...] = ("validation",)
    readings: bool = False
    adapter_dir: str | None = None


@dataclass(frozen=True)
class Measurement:
    """One reading during training.

    Attributes:
        step: completed optimizer steps.
        epoch: completed passes over the training data.
        loss: mean training loss since the last reading, in nats a token.
        value: objective on the reading's examples, or None if it was not scored.
        seconds: training seconds so far, scoring excluded.
        tokens: training tokens so far, padding excluded.
    """

    step: int
    epoch: float
    loss: float
    value: float | None
    seconds: float
    tokens: int


@dataclass(frozen=True)
class SplitScores:
    """The scores of one split.

    Attributes:
        split: name of the split.
        ids: ids of the examples, in order.
        predictions: what the model wrote, one text an example.
        unparsed: whether the text could not be parsed (it then counts as wrong).
        statistics: one row an example, in the order of `Objective.columns`.
        values: the task's metric values over the split.
    """

    split: str
    ids: tuple[str, ...]
    predictions: tuple[str, ...]
    unparsed: tuple[bool, ...]
    statistics: tuple[tuple[float, ...], ...]
    values: Mapping[str, float]


@dataclass(frozen=True)
class Cost:
    """What a trial cost.

    Attributes:
        train_seconds: wall seconds of training, scoring excluded.
        score_seconds: wall seconds of scoring.
        tokens: training tokens, padding excluded.
        parameters: trainable parameters.
        peak_memory: highest resident memory of the process (or allocated memory of the GPU) while
            the trial ran, in bytes.
        pack: adapters trained together; seconds are only comparable at one pack size.
        inference_memory: bytes of the base's weights and buffers plus the unmerged adapter, as it
            is served; 0 where it is not known.
    """

    train_seconds: float = 0.0
    score_seconds: float = 0.0
    tokens: int = 0
    parameters: int = 0
    peak_memory: int = 0
    pack: int = 1
    inference_memory: int = 0


@dataclass(frozen=True)
class TrialResult:
    """The result of a trial.

    Attributes:
        number: Optuna's trial number.
        outcome: how it ended.
        scores: scores by split; empty unless complete.
        measurements: readings during training, oldest first.
        cost: what it cost, also if it failed.
        adapter: folder of the saved adapter, or None.
        error: why it failed or was pruned, in one line, else None.
        proofs: names of the checks that passed; see `harness.adapters.proofs`.
        changed: what the engine had to change to finish the trial, in one line, else None.
    """

    number: int
    outcome: Outcome
    scores: Mapping[str, SplitScores] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    cost: Cost = Cost()
    adapter: str | None = None
    error: str | None = None
    proofs: tuple[str, ...] = ()
    changed: str | None = None


class Purpose(StrEnum):
    """What random numbers are drawn for; each purpose has a generator of its own.

    An adapter of rank 64 draws more initial numbers than one of rank 1; with a shared generator
    that would change the order of the data.
    """

    DATA_ORDER = "data_order"
    INITIALISATION = "initialisation"
    DROPOUT = "dropout"
    HEAD = "head"


def derive_seed(seed: int, purpose: Purpose) -> int:
    """A seed of 63 bits for one purpose, equal on every machine and in every process."""
    digest = hashlib.sha256(f"{seed}/{purpose.value}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
