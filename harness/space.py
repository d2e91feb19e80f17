"""`SearchSpace`: declared levels and ranges -> Optuna's suggestions -> one `TrialConfig`.

Knows Optuna's trial, nothing of studies, stages or training.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

import optuna
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from harness.trial import TrialConfig

Rank = Annotated[int, Field(ge=1)]
Ratio = Annotated[float, Field(gt=0)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


#: Names of the parameters that a trial has once its configuration is drawn.
PARAMETERS: Final = (
    "variant", "rank", "alpha_ratio", "target_modules", "dropout", "learning_rate",
)  # fmt: skip


class RateRange(BaseModel):
    """A range of learning rates, sampled log-uniformly unless `log` is false."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: Annotated[float, Field(gt=0, description="lowest rate")]
    high: Annotated[float, Field(gt=0, description="highest rate")]
    log: Annotated[bool, Field(description="sample the logarithm uniformly")] = True

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self


class SearchSpace(BaseModel):
    """What is searched; each list holds the levels of one factor.

    Attributes:
        variant: names of variants.
        rank: LoRA ranks.
        alpha_ratio: alpha as a multiple of the rank.
        target_modules: groups (`q`, `qv`, `qkv`, `attention`, `mlp`, `all_linear`) or module names
            joined by `+`.
        dropout: dropout probabilities.
        learning_rate: a range, or a list of rates.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: tuple[str, ...] = ("lora",)
    rank: tuple[Rank, ...] = (1, 2, 4, 8, 16, 32, 64)
    alpha_ratio: tuple[Ratio, ...] = (2.0,)
    target_modules: tuple[str, ...] = ("qv",)
    dropout: tuple[Dropout, ...] = (0.0,)
    learning_rate: RateRange | tuple[Ratio, ...] = RateRange(low=1e-4, high=1e-2)

    @field_validator("variant", "rank", "alpha_ratio", "target_modules", "dropout", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        # One level may be written without brackets.
        return value if isinstance(value, list | tuple) else [value]

    @field_validator(
        "variant", "rank", "alpha_ratio", "target_modules", "dropout", "learning_rate"
    )
    @classmethod
    def _levels(cls, value: Any) -> Any:
        if isinstance(value, tuple):
            if not value:
                raise ValueError("has no level")
            if len(set(value)) < len(value):
                raise ValueError(f"names a level twice: {list(value)}")
        return value

    def suggest(self, trial: optuna.Trial, seed: int, budget: float = 1.0) -> TrialConfig:
        """One configuration as Optuna's sampler suggests it.

        Args:
            trial: the running trial; its parameters are named as the attributes here.
            seed: seed of the training run.
            budget: share of the training steps.
        """
        rank = int(trial.suggest_categorical("rank", self.rank))
        ratio = float(trial.suggest_categorical("alpha_ratio", self.alpha_ratio))
        if isinstance(self.learning_rate, RateRange):
            rates = self.learning_rate
            rate = trial.suggest_float("learning_rate", rates.low, rates.high, log=rates.log)
        else:
            rate = float(trial.suggest_categorical("learning_rate", self.learning_rate))
        return TrialConfig(
            variant=str(trial.suggest_categorical("variant", self.variant)),
            rank=rank,
            alpha=ratio * rank,
            dropout=float(trial.suggest_categorical("dropout", self.dropout)),
            target_modules=str(trial.suggest_categorical("target_modules", self.target_modules)),
            learning_rate=rate,
            seed=seed,
            budget=budget,
        )

    def parameters(self, config: TrialConfig) -> dict[str, Any]:
        """The Optuna parameters that make `suggest` give this configuration."""
        return {
            "variant": config.variant,
            "rank": config.rank,
            # A ratio got back by division may miss its level by the last bit.
            "alpha_ratio": min(self.alpha_ratio, key=lambda x: abs(x - config.alpha_ratio)),
            "target_modules": config.target_modules,
            "dropout": config.dropout,
            "learning_rate": config.learning_rate,
        }

    def rate_grid(self, centre: float, count: int, step: float) -> tuple[float, ...]:
        """A geometric grid of learning rates around a centre, moved to lie inside the space.

        Args:
            centre: the rate in the middle.
            count: number of rates.
            step: factor from one rate to the next, above 1.

        Returns:
            Ascending rates, three significant digits each.
        """
        if not isinstance(self.learning_rate, RateRange):
            levels = sorted(self.learning_rate)
            nearest = min(range(len(levels)), key=lambda i: abs(math.log(levels[i] / centre)))
            first = max(0, min(nearest - count // 2, len(levels) - count))
            return tuple(levels[first : first + count])
        low, high = self.learning_rate.low, self.learning_rate.high
        reach = step ** ((count - 1) / 2)
        if low * reach > high / reach:  # the range is narrower than the grid: spread over it
            reach = math.sqrt(high / low)
            step = (high / low) ** (1 / max(1, count - 1))
        middle = min(max(centre, low * reach), high / reach)
        grid = (middle / reach * step**i for i in range(count))
        return tuple(sorted({min(max(float(f"{rate:.3g}"), low), high) for rate in grid}))

    def levels(self, factor: str) -> tuple[Any, ...]:
        """The levels of a factor; a range of rates has none."""
        value = getattr(self, factor)
        return value if isinstance(value, tuple) else ()

    def restrict(self, factors: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        """Those of the given levels that the space has, factor by factor."""
        return {
            name: tuple(level for level in levels if level in self.levels(name))
            for name, levels in factors.items()
        }
