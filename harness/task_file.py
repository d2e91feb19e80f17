"""`TaskFile`: one task.yaml, read and checked; every fault is told with its file and key path.

Knows the keys and what they may say; neither reads data nor makes prompts.
"""

from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from harness.errors import UserError, did_you_mean
from harness.heads import GENERATION
from harness.kinds import HEADED, KINDS, kind_under
from harness.metrics import METRICS
from harness.metrics.evaluated import PREFIX
from harness.task_sections import Data, Keys, ObjectiveKeys, Quality, Target, Window


class TaskFile(Keys):
    """The keys of task.yaml.

    Attributes:
        name: the task's name.
        summary: one line on what it asks.
        public: whether its data may be shown to anybody, in a report or outside.
        kind: one of `harness.kinds.KINDS`: what rows are, and so what the model is asked.
        head: `generation`, or `token_classification`: entities are not written, but a new head on
            the base tags the tokens of the text.
        labels: the entity labels in order of writing, or the classes of a choice; `auto`: those
            of the data.
        data: where examples come from.
        quality: which training rows are good enough.
        fields: the files' names for `id`, `text`, `entities`, `tokens`, `tags`, where they differ.
        prompt: with `{text}` or `{input}`, and with `{instruction}` where rows bring one; the
            model goes on from its end. Language modelling has none.
        chat: whether the prompt goes through the model's own chat template, as a user's turn.
        system: the system's turn in front of it.
        shots: worked training examples before each prompt, in training and in scoring.
        truncate: which side of the input is cut where an example is too long.
        target: how entities are written, and how labels are named.
        answers: for a choice, whether the likeliest class is taken or the one that is written.
        window: for language modelling, how texts longer than the model's context are scored.
        max_new_tokens: how much a model may write for one example.
        fold_case: whether case is disregarded when mentions are compared.
        unseen_excludes: labels that do not count among entities never seen in training.
        metrics: names of `harness.metrics.METRICS`, or of the `evaluate` library's, such as
            `evaluate:./mine.py`; see `harness.metrics.evaluated`.
        objective: what a study optimises.
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
    objective: ObjectiveKeys

    def names(self) -> dict[str, str]:
        """`fields` as plain words."""
        return {str(field): name for field, name in self.fields.items()}

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        if value not in KINDS:
            raise ValueError(f"unknown kind '{value}'; {did_you_mean(value, KINDS.names())}")
        return value

    @model_validator(mode="after")
    def _prompted(self) -> Self:
        if self.head != GENERATION.name and (self.kind, self.head) not in HEADED:
            kinds = [kind for kind, head in HEADED if head == self.head]
            raise ValueError(f"head: {self.head} is for tasks of kind {' or '.join(kinds)}")
        fields = kind_under(self.kind, self.head).fields
        if not fields:
            given = {"prompt": self.prompt, "system": self.system}
            told = [name for name, value in given.items() if value is not None]
            told += [name for name in ("chat", "shots") if getattr(self, name)]
            if told:
                own = self.head == GENERATION.name
                which = f"kind {self.kind}" if own else f"head {self.head}"
                raise ValueError(f"{told[0]}: a task of {which} asks nothing")
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
            raise ValueError("give at least one label and none twice, or 'auto'")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        kind = KINDS.get(self.kind)
        if kind.labelled and self.labels == "auto" and self.data.generator is not None:
            raise ValueError("labels: a generator's labels have to be named")
        if not kind.labelled and self.labels != "auto":
            raise ValueError(f"labels: a task of kind {self.kind} has none")
        for label in self.target.names if self.labels != "auto" else ():
            if label not in self.labels:
                known = did_you_mean(label, self.labels)
                raise ValueError(f"target.names: '{label}' is none of the labels; {known}")
        for label, name in self.target.names.items():
            if self.kind == "entities" and not name.isalnum():
                raise ValueError(
                    f"target.names.{label}: '{name}' should be a word of letters and digits"
                )
            if name != name.strip() or not name or "\n" in name:
                raise ValueError(f"target.names.{label}: {name!r} should be one line of text")
        for name in self.metrics:
            if name.startswith(PREFIX):
                continue  # loaded with the task, since it may lie in its folder
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
        right = "" if chosen.startswith(PREFIX) else METRICS.get(chosen).direction
        if right and self.objective.direction != right:
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
    if first["type"] == "string_type" and isinstance(first["input"], bool):
        message = "YAML takes yes, no, on and off for true and false; put it in quotes"
    return f"{where}: {message}" if where else message


def _keys(places: list[str]) -> list[str]:
    """The keys that the model at this place knows."""
    model: Any = TaskFile
    for place in places:
        kind = model.model_fields[place].annotation
        model = next(part for part in (*get_args(kind), kind) if hasattr(part, "model_fields"))
    return list(model.model_fields)
