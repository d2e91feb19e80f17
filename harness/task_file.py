"""`TaskFile`: one task.yaml, read and checked; every fault is told with its file and key path.

Knows the keys and what they may say; neither reads data nor makes prompts.
"""

from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from harness.errors import UserError, did_you_mean
from harness.formats import FORMATS, Options
from harness.metrics import METRICS


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sizes(_Model):
    """How many examples the generator writes for each split."""

    train: int = Field(ge=1)
    validation: int = Field(ge=1)
    test: int = Field(ge=1)


class Data(_Model):
    """Where examples come from: a generator in the task's folder, files there, or the hub.

    Attributes:
        generator: a Python file with `generate(split, count, seed) -> list[dict]`.
        sizes: for a generator.
        seed: of the generator, and of a test split carved from train where there is none.
        folder: with train, validation and perhaps test files; relative to the task's folder.
        hub: id of a data set on the Hugging Face hub, or a folder like one.
        config: the data set's configuration, where it has several.
        revision: the data set's branch, tag or commit.
        format: key of `harness.formats.FORMATS`, for files.
        options: what the format wants to know of its files.
        splits: what the files or the data set call `train`, `validation` and `test`.
        test_share: share of the training documents that become the test split where none is given.
    """

    generator: str | None = None
    sizes: Sizes | None = None
    seed: int = 0
    folder: str | None = None
    hub: str | None = None
    config: str | None = None
    revision: str | None = None
    format: str = "jsonl"
    options: dict[str, Any] = {}
    splits: dict[Literal["train", "validation", "test"], str] = {}
    test_share: float = Field(default=0.2, gt=0, lt=1)

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
        except ValidationError as fault:
            first = fault.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"options.{where}: {first['msg']} (format {self.format})") from None
        return self

    def read_options(self) -> Options:
        """The format's options."""
        return FORMATS.get(self.format).options.model_validate(self.options)


class Target(_Model):
    """How entities are written: see `harness.entity_text.Layout`.

    Attributes:
        after_label: between a label and its mentions.
        between_items: between mentions.
        between_labels: between labels.
        empty: the word for no mention.
        names: how labels are written, by label; short names make short answers.
    """

    after_label: str = ":"
    between_items: str = ";"
    between_labels: str = "|"
    empty: str = "none"
    names: dict[str, str] = {}

    @field_validator("after_label", "between_items", "between_labels")
    @classmethod
    def _mark(cls, value: str) -> str:
        if len(value) != 1 or value.isspace() or value.isalnum() or value == "\\":
            raise ValueError(f"'{value}' should be one visible mark such as ; or |")
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

    @field_validator("names")
    @classmethod
    def _words(cls, value: dict[str, str]) -> dict[str, str]:
        for label, name in value.items():
            if not name.isalnum():
                raise ValueError(f"{label}: '{name}' should be a word of letters and digits")
        return value


class ObjectiveKeys(_Model):
    """What a study optimises.

    Attributes:
        metric: one of the task's metrics.
        direction: `maximize` or `minimize`; has to be the metric's own.
        margin: differences of at most this much do not matter in practice; unit of the metric.
    """

    metric: str
    direction: Literal["maximize", "minimize"]
    margin: float = Field(ge=0)


class TaskFile(_Model):
    """The keys of task.yaml.

    Attributes:
        name: the task's name.
        summary: one line on what it asks.
        public: whether its data may be shown to anybody, in a report or outside.
        kind: what rows are, and so what the model writes.
        labels: the entity labels in order of writing, or `auto`: those of the data.
        data: where examples come from.
        fields: the files' names for `id`, `text`, `entities`, `tokens`, `tags`, where they differ.
        prompt: with `{text}`; the model goes on from its end.
        target: how entities are written.
        max_new_tokens: how much a model may write for one example.
        fold_case: whether case is disregarded when mentions are compared.
        unseen_excludes: labels that do not count among entities never seen in training.
        metrics: names of `harness.metrics.METRICS`.
        objective: what a study optimises.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    summary: str = Field(min_length=1)
    public: bool = False
    kind: Literal["entities"] = "entities"
    labels: tuple[str, ...] | Literal["auto"] = "auto"
    data: Data
    fields: dict[
        Literal["id", "text", "entities", "tokens", "tags", "input", "output", "instruction"], str
    ] = {}
    prompt: str
    target: Target = Target()
    max_new_tokens: int = Field(default=160, ge=1)
    fold_case: bool = False
    unseen_excludes: tuple[str, ...] = ()
    metrics: tuple[str, ...]
    objective: ObjectiveKeys

    def names(self) -> dict[str, str]:
        """`fields` as plain words."""
        return {str(field): name for field, name in self.fields.items()}

    @field_validator("prompt")
    @classmethod
    def _has_text(cls, value: str) -> str:
        if value.count("{text}") != 1:
            raise ValueError("has to name {text} exactly once")
        return value

    @field_validator("labels")
    @classmethod
    def _labels(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if value != "auto" and (not value or len(set(value)) < len(value)):
            raise ValueError("give at least one label and none twice, or 'auto'")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.labels == "auto" and self.data.generator is not None:
            raise ValueError("labels: a generator's labels have to be named")
        for label in self.target.names if self.labels != "auto" else ():
            if label not in self.labels:
                known = did_you_mean(label, self.labels)
                raise ValueError(f"target.names: '{label}' is none of the labels; {known}")
        for name in self.metrics:
            if name not in METRICS:
                raise ValueError(f"metrics: unknown metric '{name}'; {_known_metrics(name)}")
            if self.kind not in (kinds := METRICS.get(name).kinds):
                raise ValueError(
                    f"metrics: {name} scores tasks of kind {' or '.join(kinds)}, not {self.kind}"
                )
        chosen = self.objective.metric
        if chosen not in self.metrics:
            raise ValueError(
                f"objective.metric: '{chosen}' is none of the task's metrics; "
                f"{did_you_mean(chosen, self.metrics)}"
            )
        right = METRICS.get(chosen).direction
        if self.objective.direction != right:
            raise ValueError(f"objective.direction: {chosen} is to {right}")
        return self


def _known_metrics(name: str) -> str:
    return did_you_mean(name, METRICS.names())


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
    except yaml.YAMLError as fault:
        raise UserError(f"{path}: not YAML: {' '.join(str(fault).split())}") from fault
    if not isinstance(content, dict):
        raise UserError(f"{path}: should be keys and values, such as 'name: my_task'")
    try:
        return TaskFile.model_validate(content)
    except ValidationError as fault:
        raise UserError(f"{path}: {_told(fault)}") from fault


def _told(fault: ValidationError) -> str:
    """The first fault as `key.path: what`."""
    faults = fault.errors(include_url=False)
    # a misspelt key is also a missing one; told is what the user wrote
    first = min(faults, key=lambda one: one["type"] != "extra_forbidden")
    # a union adds the name of the branch it tried to the path; that is no key of the file
    branches = ("tuple[", "literal[")
    places = [str(part) for part in first["loc"] if not str(part).startswith(branches)]
    where = ".".join(places)
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key; {did_you_mean(places[-1], _keys(places[:-1]))}"
    if first["type"] == "missing":
        return f"{where}: is missing"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _keys(places: list[str]) -> list[str]:
    """The keys that the model at this place knows."""
    model: Any = TaskFile
    for place in places:
        kind = model.model_fields[place].annotation
        model = next(part for part in (*get_args(kind), kind) if hasattr(part, "model_fields"))
    return list(model.model_fields)
