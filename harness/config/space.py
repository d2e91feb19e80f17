"""`SearchSpace`: levels and ranges of a sweep, Optuna's suggestions from them, `TrialConfig`.

Extra settings (bias, layers, optimizer, ...) usually have one level; each level is one word
without spaces, as Optuna and the result tables store it.
"""

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, Self

import optuna
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from harness.trial import EXTRA_SETTINGS, TrialConfig

_NAME: Final = re.compile(r"[\w.]+")


def _choice_reader(*words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        text = "none" if value is None else str(value)
        if text not in words:
            raise ValueError(f"{value!r} is none of {', '.join(words)}")
        return text

    return read


def _read_switch(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return _choice_reader("on", "off")(value)


def _read_ratio(value: Any) -> str:
    if value in (None, "own"):
        return "own"
    ratio = 0.0
    with suppress(TypeError, ValueError, OverflowError):
        ratio = float(value)
    if isinstance(value, bool) or not 0 < ratio < float("inf"):
        raise ValueError(f"{value!r} is not a number above 0")
    return f"{ratio:g}"


def _read_layers(value: Any) -> str:
    """`all`, `upper_half`, or numbers of layers."""
    if isinstance(value, str) and not value.replace(",", "").isdigit():
        return _choice_reader("all", "upper_half", "lower_half")(value)
    numbers = str(value).split(",") if isinstance(value, str | int) else value
    layers: list[int] = []
    with suppress(TypeError, ValueError, OverflowError):
        layers = sorted({int(number) for number in numbers})
    if not layers or layers[0] < 0:
        raise ValueError(f"{value!r} is not a list of layers")
    return ",".join(map(str, layers))


def _read_module_names(value: Any) -> str:
    if value in (None, "none", [], ()):
        return "none"
    names = value.split(",") if isinstance(value, str) else value
    listed = isinstance(names, list | tuple)
    if not listed or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise ValueError(f"{value!r} is not a list of modules")
    return ",".join(sorted(names))


def _read_rank_pattern(value: Any) -> str:
    """A mapping of module names to ranks."""
    if value in (None, "none", {}):
        return "none"
    if isinstance(value, str):
        pairs = [part.split(":") for part in value.split(",")]
    elif isinstance(value, Mapping):
        pairs = [[str(name), str(rank)] for name, rank in value.items()]
    else:
        pairs = [[]]
    for pair in pairs:
        if len(pair) != 2 or not _NAME.fullmatch(pair[0]) or not pair[1].isdigit():
            raise ValueError(f"{value!r} is not a mapping of modules to ranks")
        if int(pair[1]) < 1:
            raise ValueError(f"{value!r}: rank {pair[1]} is below 1")
    return ",".join(f"{name}:{int(rank)}" for name, rank in sorted(pairs))


#: Readers of a level from YAML, by setting; they raise ValueError.
READERS: Final[Mapping[str, Callable[[Any], str]]] = {
    "b_rate_ratio": _read_ratio,
    "bias": _choice_reader("none", "all", "lora_only"),
    "layers": _read_layers,
    "rank_pattern": _read_rank_pattern,
    "modules_to_save": _read_module_names,
    "optimizer": _choice_reader("adamw", "adamw_8bit", "paged_adamw_8bit"),
    "compute_dtype": _choice_reader("base", "float32", "bfloat16", "float16"),
    "gradient_checkpointing": _read_switch,
}


Rank = Annotated[int, Field(ge=1)]
Ratio = Annotated[float, Field(gt=0)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


#: Optuna parameters of a trial with a complete configuration.
PARAMETERS: Final = (
    "variant", "rank", "alpha_ratio", "target_modules", "dropout", "learning_rate",
)  # fmt: skip


class RateBounds(BaseModel):
    """The lowest and the highest learning rate."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: Annotated[float, Field(gt=0, description="lowest rate")]
    high: Annotated[float, Field(gt=0, description="highest rate")]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self


class RateRange(RateBounds):
    """A range of learning rates, sampled log-uniformly unless `log` is false.

    Attributes:
        low: lowest rate.
        high: highest rate.
        log: sample the logarithm uniformly.
        by_variant: ranges of variants that need other rates. A rate of the common range maps to
            the one at the same relative position of the variant's range, on a logarithmic scale,
            so that what the sampler learns about one variant holds for the others.
    """

    log: Annotated[bool, Field(description="sample the logarithm uniformly")] = True
    by_variant: dict[str, RateBounds] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _wide(self) -> Self:
        if self.by_variant and self.low == self.high:
            raise ValueError("by_variant needs a low below high to map rates by")
        return self

    def range_of(self, variant: str) -> RateBounds:
        """The variant's range, or the common one."""
        return self.by_variant.get(variant, self)

    def to_variant_rate(self, variant: str, rate: float) -> float:
        """Maps a rate of the common range to the variant's.

        Rounded to four digits, so that `to_common_rate` and back gives the same number.
        """
        if variant not in self.by_variant:
            return rate
        position = math.log(rate / self.low) / math.log(self.high / self.low)
        own_range = self.by_variant[variant]
        return float(f"{own_range.low * (own_range.high / own_range.low) ** position:.4g}")

    def to_common_rate(self, variant: str, rate: float) -> float:
        """Maps a variant's rate to the common range."""
        if variant not in self.by_variant:
            return rate
        own_range = self.by_variant[variant]
        width = math.log(own_range.high / own_range.low)
        position = math.log(rate / own_range.low) / width if width else 0.5
        rate = self.low * float((self.high / self.low) ** position)
        return min(max(rate, self.low), self.high)


class SearchSpace(BaseModel):
    """The search space; each list has the levels of one factor.

    Attributes:
        variant: names of variants.
        rank: LoRA ranks.
        alpha_ratio: alpha as a multiple of the rank.
        target_modules: groups (`q`, `qv`, `qkv`, `attention`, `mlp`, `all_linear`) or module names
            joined by `+`.
        dropout: dropout probabilities.
        learning_rate: a range, or a list of rates.
        b_rate_ratio: LoRA+'s learning rate of B over that of A; other variants have none.
        bias: which biases are trained: `none`, `all`, `lora_only`.
        layers: `all`, `upper_half`, `lower_half`, or numbers of layers.
        rank_pattern: ranks of single modules, as `{q_proj: 16}`.
        modules_to_save: modules that are fully trained beside the adapter.
        optimizer: `adamw`, `adamw_8bit`, `paged_adamw_8bit`.
        compute_dtype: what the forward pass computes in: `base`, or a dtype.
        gradient_checkpointing: whether activations are recomputed in the backward pass.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: tuple[str, ...] = ("lora",)
    rank: tuple[Rank, ...] = (1, 2, 4, 8, 16, 32, 64)
    alpha_ratio: tuple[Ratio, ...] = (2.0,)
    target_modules: tuple[str, ...] = ("qv",)
    dropout: tuple[Dropout, ...] = (0.0,)
    learning_rate: RateRange | tuple[Ratio, ...] = RateRange(low=1e-4, high=1e-2)
    b_rate_ratio: tuple[str, ...] = (EXTRA_SETTINGS["b_rate_ratio"],)
    bias: tuple[str, ...] = (EXTRA_SETTINGS["bias"],)
    layers: tuple[str, ...] = (EXTRA_SETTINGS["layers"],)
    rank_pattern: tuple[str, ...] = (EXTRA_SETTINGS["rank_pattern"],)
    modules_to_save: tuple[str, ...] = (EXTRA_SETTINGS["modules_to_save"],)
    optimizer: tuple[str, ...] = (EXTRA_SETTINGS["optimizer"],)
    compute_dtype: tuple[str, ...] = (EXTRA_SETTINGS["compute_dtype"],)
    gradient_checkpointing: tuple[str, ...] = (EXTRA_SETTINGS["gradient_checkpointing"],)

    @field_validator(*EXTRA_SETTINGS, mode="before")
    @classmethod
    def _words(cls, value: Any, info: ValidationInfo) -> Any:
        levels = value if isinstance(value, list | tuple) else [value]
        return tuple(READERS[str(info.field_name)](level) for level in levels)

    @field_validator("variant", "rank", "alpha_ratio", "target_modules", "dropout", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        # One level may be written without brackets.
        return value if isinstance(value, list | tuple) else [value]

    @field_validator(*PARAMETERS, *EXTRA_SETTINGS)
    @classmethod
    def _levels(cls, value: Any) -> Any:
        if isinstance(value, tuple):
            if not value:
                raise ValueError("has no level")
            if len(set(value)) < len(value):
                raise ValueError(f"has a level twice: {list(value)}")
        return value

    def suggest(self, trial: optuna.Trial, seed: int, budget: float = 1.0) -> TrialConfig:
        """A configuration suggested by Optuna's sampler, for a share of the training steps.

        The trial's parameters are named as the attributes here; the seed is the training run's.
        """
        # The order of the suggestions determines what a seeded sampler returns.
        rank = int(trial.suggest_categorical("rank", self.rank))
        ratio = float(trial.suggest_categorical("alpha_ratio", self.alpha_ratio))
        rates = self.learning_rate
        if isinstance(rates, RateRange):
            rate = trial.suggest_float("learning_rate", rates.low, rates.high, log=rates.log)
        else:
            rate = float(trial.suggest_categorical("learning_rate", rates))
        variant = str(trial.suggest_categorical("variant", self.variant))
        if isinstance(rates, RateRange):
            rate = rates.to_variant_rate(variant, rate)
        config = TrialConfig(
            variant=variant,
            rank=rank,
            alpha=ratio * rank,
            dropout=float(trial.suggest_categorical("dropout", self.dropout)),
            target_modules=str(trial.suggest_categorical("target_modules", self.target_modules)),
            learning_rate=rate,
            seed=seed,
            budget=budget,
        )
        for name in self.varied_settings():
            level = str(trial.suggest_categorical(name, self.levels(name)))
            config = config.with_level(name, self._applicable_level(config, name, level))
        return config

    def varied_settings(self) -> tuple[str, ...]:
        """The extra settings whose levels differ from the default."""
        return tuple(
            name for name in EXTRA_SETTINGS if self.levels(name) != (EXTRA_SETTINGS[name],)
        )

    def _applicable_level(self, config: TrialConfig, name: str, level: str) -> str:
        # Only LoRA+ has two rates: for other variants every ratio is the same configuration.
        none = name == "b_rate_ratio" and "lora_plus" not in config.variant.split("+")
        return EXTRA_SETTINGS[name] if none else level

    def parameters(self, config: TrialConfig) -> dict[str, Any]:
        """The Optuna parameters with which `suggest` returns this configuration."""
        rate = config.learning_rate
        if isinstance(self.learning_rate, RateRange):
            rate = self.learning_rate.to_common_rate(config.variant, rate)
        return {
            "variant": config.variant,
            "rank": config.rank,
            # A ratio computed by division may differ from its level in the last bit.
            "alpha_ratio": min(self.alpha_ratio, key=lambda x: abs(x - config.alpha_ratio)),
            "target_modules": config.target_modules,
            "dropout": config.dropout,
            "learning_rate": rate,
            **{name: self._level_or_first(config, name) for name in self.varied_settings()},
        }

    def _level_or_first(self, config: TrialConfig, name: str) -> str:
        level = str(config.level(name))
        return level if level in self.levels(name) else str(self.levels(name)[0])

    def contains(self, config: TrialConfig) -> bool:
        """Whether the configuration is in the space."""
        exact = ("variant", "rank", "target_modules", "dropout")
        return (
            all(getattr(config, name) in self.levels(name) for name in exact)
            and any(math.isclose(config.alpha_ratio, ratio) for ratio in self.alpha_ratio)
            and self._has_rate(config)
            and all(
                config.level(name) in self.levels(name)
                or self._applicable_level(config, name, "") == config.level(name)
                for name in EXTRA_SETTINGS
            )
        )

    def _has_rate(self, config: TrialConfig) -> bool:
        if not isinstance(self.learning_rate, RateRange):
            return config.learning_rate in self.learning_rate
        span = self.learning_rate.range_of(config.variant)
        return span.low <= config.learning_rate <= span.high

    def transfer_rate(self, rate: float, before: str, after: str) -> float:
        """The rate at the same position of another variant's range."""
        if not isinstance(self.learning_rate, RateRange) or before == after:
            return rate
        return self.learning_rate.to_variant_rate(
            after, self.learning_rate.to_common_rate(before, rate)
        )

    def rate_grid(
        self, centre: float, count: int, step: float, variant: str = ""
    ) -> tuple[float, ...]:
        """A geometric grid of learning rates around a centre, shifted to be inside the space.

        Ascending, with three significant digits; `step` is the factor from one rate to the next,
        above 1. The variant's range bounds the grid.
        """
        if not isinstance(self.learning_rate, RateRange):
            levels = sorted(self.learning_rate)
            nearest = min(range(len(levels)), key=lambda i: abs(math.log(levels[i] / centre)))
            first = max(0, min(nearest - count // 2, len(levels) - count))
            return tuple(levels[first : first + count])
        span = self.learning_rate.range_of(variant)
        low, high = span.low, span.high
        reach = step ** ((count - 1) / 2)
        if low * reach > high / reach:  # the range is narrower than the grid: spread over it
            reach = math.sqrt(high / low)
            step = (high / low) ** (1 / max(1, count - 1))
        middle = min(max(centre, low * reach), high / reach)
        grid = (middle / reach * step**i for i in range(count))
        return tuple(sorted({min(max(float(f"{rate:.3g}"), low), high) for rate in grid}))

    def levels(self, factor: str) -> tuple[Any, ...]:
        """The levels of a factor; empty for a range of rates."""
        value = getattr(self, factor)
        return value if isinstance(value, tuple) else ()

    def available_levels(
        self, factors: Mapping[str, tuple[Any, ...]]
    ) -> dict[str, tuple[Any, ...]]:
        """The given levels that the space has, by factor."""
        return {
            name: tuple(level for level in levels if level in self.levels(name))
            for name, levels in factors.items()
        }
