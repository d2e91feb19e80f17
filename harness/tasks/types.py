"""`TaskType`: what rows of a type ask of a model, how answers are read and scored.

Knows rows, examples and metrics; nothing of files, prompts, tokens or models.

Text to text: summaries, rewritten questions, instructions with their answers.

One class of several: the likeliest of all, or the one that a model writes.

Language modelling: how likely a text is; nothing is asked and nothing is written.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar, Final, NamedTuple

from harness.config.settings import GENERATION, Head
from harness.data.rows import Row
from harness.metrics.metric import Metric
from harness.registry import Registry
from harness.tasks.baselines import copy_input, first_sentence, most_frequent
from harness.tasks.entity_format import EntityFormat

#: The one class of statistics where answers have no classes.
NO_CLASSES: Final = ("all",)


class AnswerMode(StrEnum):
    """How an answer is had from a model."""

    GENERATED = "written"  # decoded greedily
    MOST_LIKELY = "chosen"  # the likeliest of several texts
    LIKELIHOOD = "likelihood"  # no answer: how likely the example's text is
    TAGGED = "tagged"  # read off the tags of the text's own tokens


@dataclass(frozen=True)
class Example:
    """One example.

    Attributes:
        id: unique within its split.
        prompt_fields: what the prompt is filled with: `text`, and `input` and `instruction` where
            rows have them.
        reference: the right answer, as the kind's metrics take it.
        target: the right answer as text, with a blank in front; the end of text follows it.
        row: what it was made from.
    """

    id: str
    prompt_fields: Mapping[str, str]
    reference: Any
    target: str
    row: Row | None = None

    @property
    def text(self) -> str:
        """The input."""
        return self.prompt_fields["text"]


class Parsed(NamedTuple):
    """What was read from an output.

    Attributes:
        prediction: as the kind's metrics take it; what could not be read is not in it.
        unparsed: whether any part of the output could not be read.
    """

    prediction: Any
    unparsed: bool


@dataclass(frozen=True)
class TypeContext:
    """What task.yaml and the data say to a kind.

    Attributes:
        labels: the entity labels, or the classes of a choice; none for the other kinds.
        training: gives the training examples.
        layout: how entities are written.
        names: how labels are written, where otherwise.
        fold_case: whether case is disregarded when answers are compared.
        metrics: names of the task's metrics.
        generate: whether a choice is written, instead of being the likeliest.
    """

    labels: tuple[str, ...]
    training: Callable[[], Sequence[Example]]
    entity_format: EntityFormat
    names: Mapping[str, str] = field(default_factory=dict)
    fold_case: bool = False
    metrics: tuple[str, ...] = ()
    generate: bool = False


class TaskType(ABC):
    """What rows of one sort ask of a model.

    Attributes:
        rows: what the rows are, one of `harness.data.rows.ROW_TYPES`.
        fields: what a prompt may be filled with; the first is the input, which it has to name.
        labelled: whether rows have labels: entities' or classes.
        answers: how an answer is had.
        classes: what statistics are kept for, such as the entity labels.
        shots: whether worked examples can stand before a prompt.
        bare: whether the base can answer before anything is trained.
        head: what has to stand on the base.
    """

    row_type: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]
    labelled: ClassVar[bool] = False
    answers: AnswerMode = AnswerMode.GENERATED
    supports_few_shot: ClassVar[bool] = True
    supports_zero_shot: ClassVar[bool] = True

    def __init__(self, context: TypeContext) -> None:
        self.context = context
        self.head: Head = GENERATION
        self.classes: tuple[str, ...] = NO_CLASSES

    @staticmethod
    def labels_of(row: Row) -> Collection[str]:
        """The labels that a row uses; none where rows have no labels."""
        del row
        return ()

    @abstractmethod
    def example(self, row: Row) -> Example:
        """The example that a row holds."""

    @abstractmethod
    def parse(self, output: str) -> Parsed:
        """Reads what a model wrote; never raises."""

    def write(self, prediction: Any) -> str:
        """The text that says a prediction; `parse` reads it back."""
        return str(prediction)

    def metric_inputs(self, metric: Metric, prediction: Any, example: Example) -> tuple[Any, Any]:
        """A prediction and the right answer, as a metric takes them."""
        del metric
        return prediction, example.reference

    @property
    def baselines(self) -> Mapping[str, Callable[[Example], Any]]:
        """What a model has to beat, by name: answers of nothing that was trained."""
        return {}

    def labels_shown(self, example: Example) -> Collection[str]:
        """What a worked example shows that others may not, such as labels."""
        return () if example.row is None else self.labels_of(example.row)


TASK_TYPES: Registry[type[TaskType]] = Registry("kind of task")
#: What a kind is under another head than the one that writes, by names of kind and head.
HEAD_TYPES: Final[dict[tuple[str, str], type[TaskType]]] = {}


def type_for_head(task_type: str, head: str) -> type[TaskType]:
    """What a kind of `TASK_TYPES` is under a head; there has to be such a one."""
    return TASK_TYPES.get(task_type) if head == GENERATION.name else HEAD_TYPES[task_type, head]


def prompt_fields(row: Row) -> dict[str, str]:
    """What a prompt can be filled with: the input under both its names, and the instruction."""
    fields = {"input": row.text, "text": row.text}
    return fields if row.instruction is None else {**fields, "instruction": row.instruction}


class TextToText(TaskType):
    """An input and the text that belongs to it; what a model writes is taken as it is."""

    row_type = "pairs"
    fields = ("input", "text", "instruction")

    def example(self, row: Row) -> Example:
        """The input, and the output as the reference."""
        answer = str(row.output).strip()
        return Example(row.id, prompt_fields(row), answer, f" {answer}", row)

    def parse(self, output: str) -> Parsed:
        """The output itself; nothing at all counts as unread."""
        answer = output.strip()
        return Parsed(answer, not answer)

    def metric_inputs(self, metric: Metric, prediction: Any, example: Example) -> tuple[Any, Any]:
        """Both texts; case folded where the task says so."""
        del metric
        if self.context.fold_case:
            return prediction.casefold(), example.reference.casefold()
        return prediction, example.reference

    @property
    def baselines(self) -> Mapping[str, Callable[[Example], str]]:
        """The input copied, and its first sentence, where overlap with the answer is measured."""
        if not any(name.startswith("rouge") for name in self.context.metrics):
            return {}
        return {
            "copied_input": lambda example: copy_input(example.text),
            "first_sentence": lambda example: first_sentence(example.text),
        }


TASK_TYPES.add("pairs", TextToText)


class Choice(TaskType):
    """An input and its class.

    The likeliest class is the one whose text, with the end of text behind it, has the highest
    probability after the prompt: probabilities of complete answers, so that a short name has no
    advantage over a longer one that begins like it.
    """

    row_type = "pairs"
    fields = ("input", "text", "instruction")
    labelled = True

    def __init__(self, context: TypeContext) -> None:
        super().__init__(context)
        self.classes = context.labels
        self.answers = AnswerMode.GENERATED if context.generate else AnswerMode.MOST_LIKELY
        self._read = {self._named(name): name for name in self.classes}

    @staticmethod
    def labels_of(row: Row) -> Collection[str]:
        """The row's class."""
        return (str(row.output).strip(),)

    def example(self, row: Row) -> Example:
        """The input, and its class as the reference."""
        (name,) = self.labels_of(row)
        return Example(row.id, prompt_fields(row), name, self.write(name), row)

    def write(self, prediction: str | None) -> str:
        """A class as a model writes it; nothing for no class."""
        return "" if prediction is None else f" {self.context.names.get(prediction, prediction)}"

    def parse(self, output: str) -> Parsed:
        """The class that the first line names, white space and case aside; else None."""
        label = self._read.get(_normalized(output.strip().partition("\n")[0]))
        return Parsed(label, label is None)

    @property
    def baselines(self) -> Mapping[str, Callable[[Example], str]]:
        """The most frequent class of the training split."""
        return {"most_frequent": lambda _: self._usual}

    @cached_property
    def _usual(self) -> str:
        return most_frequent(example.reference for example in self.context.training())

    def _named(self, name: str) -> str:
        return _normalized(self.context.names.get(name, name))


def _normalized(text: str) -> str:
    return " ".join(text.casefold().split())


TASK_TYPES.add("choice", Choice)


class Text(TaskType):
    """A text alone; the prediction is a `harness.metrics.text.Likelihood` of it."""

    row_type = "text"
    fields = ()
    answers = AnswerMode.LIKELIHOOD
    supports_few_shot = False

    def example(self, row: Row) -> Example:
        """The text, as target and as reference."""
        return Example(row.id, {"text": row.text}, row.text, row.text, row)

    def parse(self, output: str) -> Parsed:
        """Nothing is written, so nothing can be read."""
        del output
        return Parsed(None, unparsed=True)


TASK_TYPES.add("text", Text)
