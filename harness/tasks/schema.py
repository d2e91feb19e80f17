"""`TaskFile`: the keys of a task.yaml, checked; every fault is reported with file and key path."""

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from harness.config.settings import GENERATION, Section
from harness.data.rows import FORMATS, Options
from harness.errors import UserError, did_you_mean, first_fault
from harness.metrics.evaluate_library import PREFIX
from harness.metrics.metric import METRICS
from harness.tasks.types import HEAD_TYPES, TASK_TYPES, type_for_head


class Sizes(Section):
    """How many examples the generator writes for each split."""

    train: int = Field(ge=1)
    validation: int = Field(ge=1)
    test: int = Field(ge=1)


class Split(Section):
    """How missing splits are made from the training rows.

    Attributes:
        validation_share: of all rows, where there is no validation split.
        test_share: of all rows, where there is no test split.
        by: what is never divided between splits: `document` (the part of an id before its last
            `-`), `row`, or a field of the records, such as `patient`.
        stratify: whether classes keep their proportions; null: for a choice, not for entities.
    """

    validation_share: float = Field(default=0.1, gt=0, lt=1)
    test_share: float = Field(default=0.2, gt=0, lt=1)
    by: str = Field(default="document", min_length=1)
    stratify: bool | None = None

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave no row to train on")
        return self


class Quality(Section):
    """Which training rows are dropped for low quality; validation and test keep all rows.

    Attributes:
        min_score: rows with a lower score are dropped.
        score_field: the records' name for the score.
        drop_duplicates: drop rows whose input and answer occur in an earlier row.
        min_words: rows with a shorter input are dropped.
        max_words: rows with a longer input are dropped.
    """

    min_score: float | None = None
    score_field: str = "score"
    drop_duplicates: bool = False
    min_words: int | None = Field(default=None, ge=1)
    max_words: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_words and self.max_words and self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is above max_words {self.max_words}")
        if self.min_score is None and "score_field" in self.model_fields_set:
            raise ValueError("score_field: names the score that min_score asks for; give both")
        return self


class Data(Section):
    """Where examples come from: a generator in the task's folder, files there, or the hub.

    Attributes:
        generator: a Python file with `generate(split, count, seed) -> list[dict]`.
        sizes: for a generator.
        seed: of the generator, and of splits that are made from train where there are none.
        folder: with train, validation and perhaps test files; relative to the task's folder.
        hub: id of a data set on the Hugging Face hub, or a folder like one.
        config: the data set's configuration, where it has several.
        revision: the data set's branch, tag or commit.
        format: key of `harness.data.FORMATS`, for files.
        options: of the format.
        splits: names of `train`, `validation` and `test` in the files or the data set.
        split: how missing splits are made from train.
        leaks: what to do if an input occurs in two splits: `stop`, or `drop` the rows of the
            earlier split (train before validation before test).
    """

    generator: str | None = None
    sizes: Sizes | None = None
    seed: int = 0
    folder: str | None = None
    hub: str | None = None
    config: str | None = None
    revision: str | None = None
    format: str = "jsonl"
    options: dict[str, Any] = Field(default_factory=dict)
    splits: dict[Literal["train", "validation", "test"], str] = Field(default_factory=dict)
    split: Split = Split()
    leaks: Literal["stop", "drop"] = "stop"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if [self.generator, self.folder, self.hub].count(None) != 2:
            raise ValueError("give either 'generator', 'folder' or 'hub'")
        if self.hub is None and (self.config or self.revision):
            raise ValueError("'config' and 'revision' belong to 'hub'")
        if (self.generator is None) != (self.sizes is None):
            raise ValueError("'sizes' belong to a 'generator', and a generator needs them")
        if self.format not in FORMATS:
            known = did_you_mean(self.format, FORMATS.names())
            raise ValueError(f"unknown format '{self.format}'; {known}")
        try:
            self.read_options()
        except ValidationError as error:
            fault = first_fault(error, FORMATS.get(self.format).options)
            raise ValueError(f"options.{fault} (format {self.format})") from None
        return self

    def read_options(self) -> Options:
        """The format's options."""
        return FORMATS.get(self.format).options.model_validate(self.options)


class Target(Section):
    """How entities are written: see `harness.tasks.entity_format.EntityFormat`.

    Attributes:
        after_label: between a label and its mentions.
        between_items: between mentions.
        between_labels: between labels.
        empty: the word for no mention.
        names: how labels are written; short names make short answers.
    """

    after_label: str = ":"
    between_items: str = ";"
    between_labels: str = "|"
    empty: str = "none"
    names: dict[str, str] = Field(default_factory=dict)

    @field_validator("after_label", "between_items", "between_labels")
    @classmethod
    def _mark(cls, value: str) -> str:
        if len(value) != 1 or value.isspace() or value.isalnum() or value == "\\":
            raise ValueError(f"'{value}' should be one visible character such as ; or |")
        return value

    @model_validator(mode="after")
    def _different(self) -> Self:
        if len({self.after_label, self.between_items, self.between_labels}) < 3:
            raise ValueError("the three separators have to differ")
        if not self.empty.isalnum():
            raise ValueError(f"empty: '{self.empty}' should be a word of letters and digits")
        if len(set(self.names.values())) < len(self.names):
            raise ValueError("names: two labels have the same name")
        return self


class Window(Section):
    """How a long text is scored: in windows that overlap, each token once.

    Attributes:
        length: tokens of a window at most; never more than the model was made for.
        stride: tokens that a window is moved by; a token has at least `length - stride` before it.
    """

    length: int = Field(default=1024, ge=2)
    stride: int = Field(default=512, ge=1)

    @model_validator(mode="after")
    def _overlapping(self) -> Self:
        if self.stride >= self.length:
            raise ValueError("stride: should be less than the length, so that windows overlap")
        return self


class ObjectiveSection(Section):
    """What a study optimises.

    Attributes:
        metric: one of the task's metrics.
        direction: `maximize` or `minimize`, as the metric requires.
        margin: differences of at most this much do not matter in practice; in the metric's unit.
    """

    metric: str
    direction: Literal["maximize", "minimize"]
    margin: float = Field(ge=0)


class TaskFile(Section):
    """The keys of task.yaml.

    Attributes:
        name: the task's name.
        summary: one line on the task.
        public: whether its data may be shown to anybody, in a report or outside.
        kind: the task type, a key of `harness.tasks.types.TASK_TYPES`.
        head: `generation`, or `token_classification`: entities are tagged by a new head on the
            base model instead of being generated.
        labels: the entity labels in order of writing, or the classes of a choice; `auto`: those
            of the data.
        data: where examples come from.
        quality: which training rows are dropped.
        fields: names of `id`, `text`, `entities`, `tokens`, `tags` in the files, if they differ.
        prompt: with `{text}` or `{input}`, and with `{instruction}` where rows have one; the
            model continues from its end. Language modelling has none.
        chat: whether the model's chat template is applied to the prompt, as a user's turn.
        system: the system's turn before it.
        shots: few-shot examples before each prompt, in training and in scoring.
        truncate: side at which the input of a long example is truncated.
        target: how entities are written, and how labels are named.
        answers: for a choice, whether the most likely class is taken or the generated one.
        window: for language modelling, how texts longer than the model's context are scored.
        max_new_tokens: of a generated answer.
        fold_case: whether answers are compared case-insensitively.
        unseen_excludes: no metric reads it any more; still accepted in older files.
        metrics: names of `harness.metrics.METRICS`, or of the `evaluate` library's, such as
            `evaluate:./mine.py`; see `harness.metrics.evaluate_library`.
        objective: of studies of the task.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    summary: str = Field(min_length=1)
    public: bool = False
    kind: str = "entities"
    head: Literal["generation", "token_classification"] = "generation"
    labels: tuple[str, ...] | Literal["auto"] = "auto"
    data: Data
    quality: Quality = Quality()
    fields: dict[
        Literal["id", "text", "entities", "tokens", "tags", "input", "output", "instruction"], str
    ] = Field(default_factory=dict)
    prompt: str | None = None
    chat: bool = False
    system: str | None = None
    shots: int = Field(default=0, ge=0)
    truncate: Literal["left", "right"] = "left"
    target: Target = Target()
    answers: Literal["likelihood", "generation"] = "likelihood"
    window: Window = Window()
    max_new_tokens: int = Field(default=160, ge=1)
    fold_case: bool = False
    unseen_excludes: tuple[str, ...] = ()
    metrics: tuple[str, ...]
    objective: ObjectiveSection

    def field_names(self) -> dict[str, str]:
        """`fields` with plain strings as keys."""
        return {str(field): name for field, name in self.fields.items()}

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        if value not in TASK_TYPES:
            raise ValueError(f"unknown kind '{value}'; {did_you_mean(value, TASK_TYPES.names())}")
        return value

    @model_validator(mode="after")
    def _prompted(self) -> Self:
        if self.head != GENERATION.name and (self.kind, self.head) not in HEAD_TYPES:
            types = [task_type for task_type, head in HEAD_TYPES if head == self.head]
            raise ValueError(f"head: {self.head} is for tasks of kind {' or '.join(types)}")
        fields = type_for_head(self.kind, self.head).fields
        if not fields:
            unused = {"prompt": self.prompt, "system": self.system}
            present = [name for name, value in unused.items() if value is not None]
            present += [name for name in ("chat", "shots") if getattr(self, name)]
            if present:
                generation = self.head == GENERATION.name
                which = f"kind {self.kind}" if generation else f"head {self.head}"
                raise ValueError(f"{present[0]}: a task of {which} has no prompt")
            return self
        if self.prompt is None:
            raise ValueError(f"prompt: is missing; it has to name {{{fields[0]}}}")
        inputs = [name for name in fields if name != "instruction"]
        if sum(self.prompt.count(f"{{{name}}}") for name in inputs) != 1:
            named = " or ".join(f"{{{name}}}" for name in inputs)
            raise ValueError(f"prompt: has to name {named} exactly once")
        if self.system is not None and not self.chat:
            raise ValueError("system: needs 'chat: true'")
        return self

    @field_validator("labels")
    @classmethod
    def _labels(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if value != "auto" and (not value or len(set(value)) < len(value)):
            raise ValueError("give at least one label, none of them twice, or 'auto'")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        task_type = TASK_TYPES.get(self.kind)
        if task_type.labelled and self.labels == "auto" and self.data.generator is not None:
            raise ValueError("labels: the labels of a generator have to be listed")
        if not task_type.labelled and self.labels != "auto":
            raise ValueError(f"labels: a task of kind {self.kind} has no labels")
        for label in self.target.names if self.labels != "auto" else ():
            if label not in self.labels:
                known = did_you_mean(label, self.labels)
                raise ValueError(f"target.names: '{label}' is not one of the labels; {known}")
        for label, name in self.target.names.items():
            if self.kind == "entities" and not name.isalnum():
                raise ValueError(
                    f"target.names.{label}: '{name}' should be a word of letters and digits"
                )
            if name != name.strip() or not name or "\n" in name:
                raise ValueError(f"target.names.{label}: {name!r} should be one line of text")
        for name in self.metrics:
            if name.startswith(PREFIX):
                continue  # loaded with the task, since it may be in its folder
            if name not in METRICS:
                known = did_you_mean(name, METRICS.names())
                raise ValueError(f"metrics: unknown metric '{name}'; {known}")
            if self.kind not in (types := METRICS.get(name).task_types):
                raise ValueError(
                    f"metrics: {name} scores tasks of kind {' or '.join(types)}, not {self.kind}"
                )
        metric = self.objective.metric
        if metric not in self.metrics:
            raise ValueError(
                f"objective.metric: '{metric}' is not one of the task's metrics; "
                f"{did_you_mean(metric, self.metrics)}"
            )
        direction = "" if metric.startswith(PREFIX) else METRICS.get(metric).direction
        if direction and self.objective.direction != direction:
            raise ValueError(f"objective.direction: {metric} has to be {direction}d")
        return self


def read_task_file(path: Path) -> TaskFile:
    """Reads and checks a task.yaml.

    Raises:
        UserError: it cannot be read, or a key is unknown, missing or wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror})") from fault
    except UnicodeDecodeError as fault:
        raise UserError(f"{path}: not UTF-8; save the file as UTF-8") from fault
    except (yaml.YAMLError, ValueError) as fault:  # the latter for a date that does not exist
        raise UserError(f"{path}: not YAML: {' '.join(str(fault).split())}") from fault
    if not isinstance(content, dict):
        raise UserError(f"{path}: should be keys and values, such as 'name: my_task'")
    try:
        return TaskFile.model_validate(content)
    except ValidationError as fault:
        raise UserError(f"{path}: {first_fault(fault, TaskFile)}") from fault
