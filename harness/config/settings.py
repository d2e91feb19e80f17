"""The sections of a sweep's YAML beside the search space: model, training and stages.

Also `Head`: the output layer of a model, either its language-modelling head or one that tags
tokens.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from harness import costs
from harness.config.space import READERS
from harness.errors import UserError, did_you_mean
from harness.trial import EXTRA_SETTINGS

#: Factors that an ablation can vary; the learning rate is tuned at each level instead.
FACTORS: Final = ("rank", "alpha_ratio", "target_modules", "dropout", "variant", *EXTRA_SETTINGS)

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A frozen section of the YAML that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(Section):
    """The frozen base model.

    Attributes:
        name: `builtin:tiny`, a local folder, a `.gguf` file, or a hub id.
        dtype: of the frozen weights and the computation; adapters are always float32. `auto` is
            resolved when a study begins, see `harness.training.packed.selection`.
        quantization: `nf4` and `int8` through bitsandbytes.
        revision: of a hub id.
        attention: Transformers' attention implementation.
    """

    name: Annotated[str, Field(min_length=1)] = "builtin:tiny"
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    quantization: Literal["none", "nf4", "int8"] = "none"
    revision: str | None = None
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class TrainingSettings(Section):
    """How each adapter is trained.

    Attributes:
        epochs: passes over the training data; give this or `steps`.
        steps: optimizer steps; give this or `epochs`.
        batch_size: examples per optimizer step.
        micro_batch_size: examples per forward pass; gradients are accumulated up to `batch_size`.
        max_length: tokens of prompt and answer together; prompts are truncated, answers never. Of
            a window, if a head tags tokens.
        packing: language modelling: texts share rows of `max_length` tokens, without attending to
            each other.
        warmup: share of the steps over which the rate rises to its peak.
        schedule: how the rate falls after the warm-up.
        floor: share of the peak rate at the last step.
        weight_decay: AdamW's, on adapter weights.
        max_gradient_norm: gradients are clipped to this norm.
        divergence: a running loss (nats per token) above which the trial fails.
        readings: evaluations on validation during a trial that can be pruned, evenly spaced.
        reading_examples: validation examples scored at each of them.
        early_stopping: stop after so many evaluations without improvement, or null.
        restore_best: score the weights of the best evaluation instead of the last.
        score_batch_size: examples decoded together.
    """

    epochs: Annotated[float, Field(gt=0)] | None = None
    steps: Count | None = None
    batch_size: Count = 8
    micro_batch_size: Count | None = None
    max_length: Annotated[int, Field(ge=8)] = 384
    packing: bool = False
    warmup: Share = 0.05
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    floor: Share = 0.05
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    divergence: Annotated[float, Field(gt=0)] = 20.0
    readings: Annotated[int, Field(ge=0)] = 3
    reading_examples: Count = 64
    early_stopping: Count | None = None
    restore_best: bool = False
    score_batch_size: Count = 64

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of epochs and steps")
        if self.batch_size % self.micro_batch:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of "
                f"micro_batch_size {self.micro_batch}"
            )
        return self

    @property
    def micro_batch(self) -> int:
        """Examples per forward pass."""
        return self.micro_batch_size or self.batch_size


class SearchSettings(Section):
    """The first stage.

    Attributes:
        trials: distinct configurations to try; 0 if `ablation.centre` names the configuration
            that the ablation is around.
        sampler: Optuna's sampler.
        opening: configurations that are enqueued first, see `harness.study.search`; 0 for none.
        startup: trials before TPE starts, including the enqueued ones; the others are random.
        pruner: Optuna's pruner; `none` lets every trial run to its end.
        pruner_startup: complete trials before the first is pruned.
        racing: if answers are generated in several batches, a trial that a paired test shows to be
            worse than the best so far is not scored further; this is the probability of that for
            an equally good trial. 0 scores all.
        objectives: further objectives of the search beside the task's: `parameters`,
            `train_seconds`, `peak_memory`, `inference_memory`, or further metrics of the task.
            TPE then samples for the Pareto front, and no trial is pruned or raced, since one that
            is worse in one objective may be better in another.
    """

    trials: Annotated[int, Field(ge=0)] = 30
    sampler: Literal["tpe", "random"] = "tpe"
    opening: Annotated[int, Field(ge=0)] = 3
    startup: Annotated[int, Field(ge=0)] = 10
    pruner: Literal["median", "halving", "none"] = "median"
    pruner_startup: Count = 4
    racing: Annotated[float, Field(ge=0, lt=0.5)] = 0.01
    objectives: tuple[str, ...] = ()

    @field_validator("objectives")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = [name for name, count in Counter(value).items() if count > 1]
        if twice:
            raise ValueError(f"names {twice[0]} twice")
        return value


class EngineSettings(Section):
    """How trials share the base model.

    Attributes:
        kind: `packed` trains several adapters in each step where model and variant allow it,
            `sequential` one after the other; `auto` packs on a GPU.
        slots: adapters trained together, at most, or null to choose by memory and measured time.
    """

    kind: Literal["auto", "packed", "sequential"] = "auto"
    slots: Annotated[int, Field(ge=1, le=64)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "sequential" and (self.slots or 1) > 1:
            raise ValueError(f"kind: sequential has one slot, not {self.slots}")
        return self


class PairSettings(Section):
    """One factor varied with another one fixed: `{vary: rank, at: {target_modules: qv}}`."""

    vary: str
    at: dict[str, Any]

    @field_validator("at")
    @classmethod
    def _check_fixed(cls, value: dict[str, Any]) -> dict[str, Any]:
        if len(value) != 1 or next(iter(value)) not in FACTORS:
            raise ValueError(f"names one factor of {', '.join(FACTORS)} and its level")
        return value

    @field_validator("vary")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in FACTORS:
            raise ValueError(f"unknown factor '{value}'; {did_you_mean(value, FACTORS)}")
        return value

    @property
    def name(self) -> str:
        """Name of the pair in results: `rank@target_modules=qv`."""
        factor, level = next(iter(self.at.items()))
        return f"{self.vary}@{factor}={level}"


class CentreSettings(Section):
    """The configuration that the ablation is around if there is no search.

    Attributes:
        variant: name of a variant.
        rank: LoRA rank.
        alpha_ratio: alpha as a multiple of the rank.
        target_modules: a group, or module names joined by `+`.
        dropout: dropout probability.
        learning_rate: the centre of the grids of learning rates.
    """

    variant: str = "lora"
    rank: Count = 16
    alpha_ratio: Annotated[float, Field(gt=0)] = 2.0
    target_modules: str = "all_linear"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    learning_rate: Annotated[float, Field(gt=0)]


class AblationSettings(Section):
    """The second stage: one factor at a time around the incumbent.

    Attributes:
        centre: the configuration instead of the search's incumbent; needs `search.trials: 0`.
        factors: levels to try of each factor; cells are taken in this order up to `max_cells`.
        pairs: further cells with one other factor fixed at a level.
        rates: learning rates tried for each cell, around the incumbent's.
        rate_step: factor between neighbouring rates.
        seeds: fresh seeds for each cell at its tuned rate.
        max_cells: distinct cells at most, the incumbent's included; 0 skips the stage.
        tuning_budget: share of the steps for tuning the rate, if scores at that share rank search
            trials as their final scores do; otherwise tuning takes all steps.
        min_correlation: the rank correlation that this requires; -1 requires none, even without a
            search.
    """

    centre: CentreSettings | None = None
    factors: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    pairs: tuple[PairSettings, ...] = ()
    rates: Count = 3
    rate_step: Annotated[float, Field(gt=1)] = 2.0
    seeds: Annotated[int, Field(ge=2)] = 3
    max_cells: Annotated[int, Field(ge=0)] = 15
    tuning_budget: Annotated[float, Field(gt=0, le=1)] = 1 / 3
    min_correlation: Annotated[float, Field(ge=-1, le=1)] = 0.6

    @field_validator("factors")
    @classmethod
    def _known(cls, value: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        read = dict(value)
        for name, levels in value.items():
            if name not in FACTORS:
                raise ValueError(f"unknown factor '{name}'; {did_you_mean(name, FACTORS)}")
            # Levels of extra settings are words, as in the search space.
            if name in READERS:
                try:
                    read[name] = tuple(map(READERS[name], levels))
                except ValueError as fault:
                    raise ValueError(f"{name}: {fault}") from None
        return read


class ConfirmationSettings(Section):
    """The third stage: finalists on fresh seeds and the test split.

    Attributes:
        looks: planned numbers of seeds at which finalists are tested.
        max_configurations: finalists at most; 0 skips the stage.
        alpha: error probability over all looks together.
        cost: by which the pick is the cheapest non-inferior finalist.
        prefer: constraints that a finalist has to satisfy, such as `memory<8GB`; see
            `harness.costs.parse_constraint`.
    """

    looks: tuple[Annotated[int, Field(ge=2)], ...] = (5, 10)
    max_configurations: Annotated[int, Field(ge=0)] = 6
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    cost: Literal["parameters", "train_seconds", "peak_memory", "inference_memory"] = "parameters"
    prefer: tuple[str, ...] = ()

    @field_validator("prefer")
    @classmethod
    def _bounds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(costs.parse_constraint(text).text for text in value)
        except UserError as error:
            raise ValueError(str(error)) from None

    @field_validator("looks")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or list(value) != sorted(set(value)):
            raise ValueError(f"looks must increase, but are {list(value)}")
        return value


class BaselineSettings(Section):
    """What the adapters are compared with.

    Attributes:
        shots: numbers of few-shot examples for the base model.
        full: full fine-tuning, at a learning rate tuned like the adapters', on the ablation's
            seeds; skipped, with the reason, if memory does not suffice.
        full_rates: its learning rates; by default as many as a cell of the ablation has, around a
            tenth of the incumbent's.
    """

    shots: tuple[Annotated[int, Field(ge=0)], ...] = (0, 5)
    full: bool = True
    full_rates: tuple[Annotated[float, Field(gt=0)], ...] | None = None


@dataclass(frozen=True)
class Head:
    """The output layer of a model; `labels` are those of its outputs, in order."""

    name: str = "generation"
    labels: tuple[str, ...] = ()


#: The language-modelling head of a model.
GENERATION: Final = Head()
#: A new head that predicts one label for each token.
TOKEN_CLASSIFICATION: Final = "token_classification"
