"""`StudyResults`: the tables of a study. Storage makes them, analysis and report read them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from harness.aggregates import FORMS, Array

#: Columns of `StudyResults.trials`, one row a trial, in order of number.
TRIAL_COLUMNS = (
    "number",  # Optuna's trial number
    "stage",  # search | tune | ablate | full | claim | confirm
    "state",  # complete | pruned | failed | running | lost (its worker died; it was run again)
    "variant",
    "rank",
    "alpha",
    "alpha_ratio",
    "dropout",
    "target_modules",
    "learning_rate",
    "extras",  # other settings that differ from their default, as `name=value` joined by blanks
    "budget",
    "seed",
    "key",  # names the configuration without its seed (TrialConfig.key)
    "value",  # objective on validation, NaN unless complete
    "test",  # objective on test, NaN unless scored
    "duplicate_of",  # number of the trial it repeats (then it was not run), else NA
    "error",  # why it failed or was pruned, else None
    "proofs",  # names of the proofs that passed, joined by blanks
    "worker",
    "started",  # as Optuna writes them: the machine's own time, without a zone
    "finished",
)
#: Columns of `StudyResults.measurements`.
MEASUREMENT_COLUMNS = ("trial", "step", "epoch", "loss", "value", "seconds", "tokens")
#: Columns of `StudyResults.costs`, one row a finished trial; seconds, bytes.
COST_COLUMNS = (
    *("trial", "train_seconds", "score_seconds", "tokens"),
    *("parameters", "peak_memory", "pack", "inference_memory"),
)
#: First columns of `StudyResults.examples`; the statistics' columns (`Objective.columns`) follow.
EXAMPLE_COLUMNS = ("trial", "split", "example", "prediction", "unparsed")
#: First columns of `StudyResults.baselines`; the statistics' columns follow.
BASELINE_COLUMNS = ("name", "split", "example", "prediction", "unparsed")
#: Columns of `StudyResults.metrics`: values of all metrics of the task, with their breakdowns.
METRIC_COLUMNS = (
    "trial",  # -1 where no adapter was trained
    "baseline",  # name of what was scored instead, else empty
    "split",
    "metric",
    "value",  # over all examples of the split, unit of the metric
)


#: Columns of `Texts.passages`, one row an example.
PASSAGE_COLUMNS = (
    "example",
    "words",  # of the input
    "text",  # the input; empty where texts may not be shown
    "answer",  # the right one as text; likewise
)
#: Columns of `Texts.answers`: labels and predictions, one row each.
ANSWER_COLUMNS = (
    "who",  # key of a configuration, or name of a baseline
    "seed",  # of the training run; -1 of a baseline
    "example",
    "label",  # of an entity, or the right class; that of a spurious entity is its own
    "surface",  # an entity's form; empty for classes, and where texts may not be shown
    "start",  # offset in the text; -1 where it is unknown
    "outcome",  # found | missed | spurious
    "instead",  # what was predicted in place of a missed label, else empty
    "known",  # whether the form was an entity in training; NA for classes
)


@dataclass(frozen=True)
class Texts:
    """Predictions of a study with their texts, for error analysis.

    Attributes:
        split: the split that they are of.
        passages: `PASSAGE_COLUMNS`.
        answers: `ANSWER_COLUMNS`; empty for tasks whose answers are texts.
        hidden: why no text is shown, in one sentence; empty where texts are shown.
        missing: why there is nothing at all, in one sentence; else empty.
    """

    split: str
    passages: pd.DataFrame
    answers: pd.DataFrame
    hidden: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Objective:
    """What a study optimises, with all that is needed to compute it from statistics.

    Attributes:
        name: the metric's name, such as `entity_f1`.
        direction: `maximize` or `minimize`.
        margin: differences of at most this much do not matter in practice; unit of the metric.
        form: key of `harness.aggregates.FORMS`.
        classes: classes that statistics are kept for, such as the entity labels.
        scale: factor from the metric to what people read (100: points of F1).
        unit: what people read, such as `points of F1`.
    """

    name: str
    direction: str
    margin: float
    form: str
    classes: tuple[str, ...]
    scale: float = 1.0
    unit: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the numbers kept for each example and class."""
        return FORMS[self.form].parts

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of an example's statistics: `<class>.<part>`, classes outermost."""
        return tuple(f"{name}.{part}" for name in self.classes for part in self.parts)

    @property
    def sign(self) -> float:
        """1 where more is better, -1 where less is."""
        return 1.0 if self.direction == "maximize" else -1.0

    @property
    def digits(self) -> int:
        """Digits after the decimal point: one more than the margin's first one."""
        margin = self.margin * self.scale
        return 3 if margin <= 0 else max(0, 1 - math.floor(math.log10(margin) + 1e-9))

    @property
    def margin_text(self) -> str:
        """The margin as text: `2 points of F1`, `1 point of F1`, `0.5 perplexity`."""
        amount, unit = f"{self.margin * self.scale:g}", self.unit or self.name
        if amount == "1" and unit.startswith("points "):
            unit = unit.replace("points", "point", 1)
        return f"{amount} {unit}"

    def value(self, statistics: Array) -> Array:
        """The metric over all classes (summed or averaged, as its form has it).

        From statistics summed over examples, shape (..., len(columns)), to values of shape (...).
        """
        return FORMS[self.form].over_classes(self._split(statistics))

    def by_class(self, statistics: Array) -> Array:
        """The metric for each class; NaN for a class of which nothing is known.

        From statistics summed over examples, shape (..., len(columns)), to (..., len(classes)).
        """
        return FORMS[self.form].value(self._split(statistics))

    def _split(self, statistics: Array) -> Array:
        shape = (*np.shape(statistics)[:-1], len(self.classes), len(self.parts))
        return np.asarray(statistics, dtype=float).reshape(shape)


@dataclass(frozen=True)
class StudyResults:
    """The tables of one study.

    Attributes:
        name: the study's name.
        objective: what was optimised.
        trials: `TRIAL_COLUMNS`.
        measurements: `MEASUREMENT_COLUMNS`.
        examples: `EXAMPLE_COLUMNS`, then `objective.columns`; one row for each trial, split and
            example.
        baselines: `BASELINE_COLUMNS`, then `objective.columns`; names are `base_0_shot`,
            `base_5_shot`, ... for the base model, and the task's own, such as `dictionary`.
        costs: `COST_COLUMNS`.
        sweep: the sweep as it was run, as plain values (the frozen YAML).
        attributes: what the stages recorded: `incumbent`, `cells`, `finalists`, `dropped`,
            `rank_correlation`, ... (plain values).
        provenance: package versions, platform, commit, digests, threads, start and end.
        metrics: `METRIC_COLUMNS`.
        texts: predictions with their texts, where the task is available (`harness.study.outputs`).
    """

    name: str
    objective: Objective
    trials: pd.DataFrame
    measurements: pd.DataFrame
    examples: pd.DataFrame
    baselines: pd.DataFrame
    costs: pd.DataFrame
    sweep: Mapping[str, Any]
    attributes: Mapping[str, Any]
    provenance: Mapping[str, Any]
    metrics: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(METRIC_COLUMNS))
    )
    texts: Texts | None = None

    def statistics(self, trial: int, split: str) -> pd.DataFrame:
        """Statistics of one trial on one split; index the example, columns the objective's."""
        rows = self.examples
        selected = rows[(rows["trial"] == trial) & (rows["split"] == split)]
        return selected.set_index("example")[list(self.objective.columns)]
