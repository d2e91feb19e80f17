"""The sections of a task.yaml: data, quality, target, window, objective; no behaviour."""

from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from harness.errors import did_you_mean
from harness.formats import FORMATS, Options


class Keys(BaseModel):
    """A frozen section that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Sizes(Keys):
    """How many examples the generator writes for each split."""

    train: int = Field(ge=1)
    validation: int = Field(ge=1)
    test: int = Field(ge=1)


class Split(Keys):
    """How splits that are not given are made from the training rows.

    Attributes:
        validation_share: of all rows, where there is no validation split.
        test_share: of all rows, where there is no test split.
        by: what never falls into two splits: `document` (what stands before the last `-` of an
            id), `row`, or a field of the records, such as `patient`.
        stratify: whether classes keep their proportions; null: for a choice, but not for entities.
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


class Quality(Keys):
    """Which training rows are good enough; validation and test keep all of theirs.

    Attributes:
        min_score: rows with a lower score are left out.
        score_field: the records' name for the score.
        drop_duplicates: leave rows out whose input and answer stand in an earlier row.
        min_words: rows with a shorter input are left out.
        max_words: rows with a longer input are left out.
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


class Data(Keys):
    """Where examples come from: a generator in the task's folder, files there, or the hub.

    Attributes:
        generator: a Python file with `generate(split, count, seed) -> list[dict]`.
        sizes: for a generator.
        seed: of the generator, and of splits that are made from train where there are none.
        folder: with train, validation and perhaps test files; relative to the task's folder.
        hub: id of a data set on the Hugging Face hub, or a folder like one.
        config: the data set's configuration, where it has several.
        revision: the data set's branch, tag or commit.
        format: key of `harness.formats.FORMATS`, for files.
        options: what the format wants to know of its files.
        splits: what the files or the data set call `train`, `validation` and `test`.
        split: how those that are not there are made from train.
        leaks: what is done where an input stands in two splits: `stop`, or `drop` the training
            rows (of validation and test, the validation rows).
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
        except ValidationError as fault:
            first = fault.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"options.{where}: {first['msg']} (format {self.format})") from None
        return self

    def read_options(self) -> Options:
        """The format's options."""
        return FORMATS.get(self.format).options.model_validate(self.options)


class Target(Keys):
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


class Window(Keys):
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


class ObjectiveKeys(Keys):
    """What a study optimises.

    Attributes:
        metric: one of the task's metrics.
        direction: `maximize` or `minimize`; has to be the metric's own.
        margin: differences of at most this much do not matter in practice; unit of the metric.
    """

    metric: str
    direction: Literal["maximize", "minimize"]
    margin: float = Field(ge=0)
