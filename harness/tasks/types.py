"""`TaskType`: how rows of a type become examples, and how answers are parsed and scored.

`TASK_TYPES` has text to text (`pairs`), classification (`choice`) and language modelling (`text`);
`harness.tasks.entities` adds entity extraction.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar, Final

from harness.config.settings import GENERATION, Head
from harness.data.rows import Row
from harness.metrics.metric import Metric
from harness.registry import Registry
from harness.tasks.baselines import copy_input, first_sentence, most_frequent
from harness.tasks.entity_format import EntityFormat, Parsed

#: The classes of statistics where answers have no classes.
NO_CLASSES: Final = ("all",)


class AnswerMode(StrEnum):
    """How a model's answer is obtained."""

    GENERATED = "generated"  # greedy decoding
    MOST_LIKELY = "most_likely"  # of several texts
    LIKELIHOOD = "likelihood"  # no answer: the log-likelihood of the example's text
    TAGGED = "tagged"  # tags of the text's own tokens


@dataclass(frozen=True)
class Example:
    """One example of a split.

    Attributes:
        id: unique within its split.
        prompt_fields: values for the prompt: `text`, and `input` and `instruction` where rows
            have them.
        reference: the right answer, as the task type's metrics take it.
        target: the right answer as text, with a leading space; the end of text follows it.
        row: that it was made from.
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


@dataclass(frozen=True)
class TypeContext:
    """What a task type needs from task.yaml and the data.

    Attributes:
        labels: the entity labels, or the classes of a choice; empty for other types.
        training: returns the training examples.
        entity_format: how entities are written.
        names: how labels are written, where differently.
        fold_case: whether answers are compared case-insensitively.
        metrics: names of the task's metrics.
        generate: whether the class is generated, instead of the most likely one being taken.
    """

    labels: tuple[str, ...]
    training: Callable[[], Sequence[Example]]
    entity_format: EntityFormat
    names: Mapping[str, str] = field(default_factory=dict)
    fold_case: bool = False
    metrics: tuple[str, ...] = ()
    generate: bool = False


class TaskType(ABC):
    """A type of task: examples from rows, parsing and writing of answers, baselines.

    Attributes:
        row_type: of its rows, one of `harness.data.rows.ROW_TYPES`.
        fields: that a prompt may name; it has to name one of the inputs. Empty without a prompt.
        labelled: whether rows have labels: of entities, or classes.
        answers: how an answer is obtained.
        classes: that statistics are kept for, such as the entity labels.
        supports_few_shot: whether few-shot examples can precede a prompt.
        supports_zero_shot: whether the base model can answer before any training.
        head: that the base model needs.
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
        """The labels of a row; empty where rows have none."""
        del row
        return ()

    @abstractmethod
    def example(self, row: Row) -> Example:
        """The example of a row."""

    @abstractmethod
    def parse(self, output: str) -> Parsed:
        """Parses a model's output; never raises."""

    def write(self, prediction: Any) -> str:
        """A prediction as text; the inverse of `parse`."""
        return str(prediction)

    def metric_inputs(self, metric: Metric, prediction: Any, example: Example) -> tuple[Any, Any]:
        """A prediction and the right answer, as a metric takes them."""
        del metric
        return prediction, example.reference

    @property
    def baselines(self) -> Mapping[str, Callable[[Example], Any]]:
        """Answers without any model, by name; a model has to beat them."""
        return {}

    def labels_shown(self, example: Example) -> Collection[str]:
        """The labels that a few-shot example shows."""
        return () if example.row is None else self.labels_of(example.row)


TASK_TYPES: Registry[type[TaskType]] = Registry("kind of task")
#: Variants of task types for heads other than generation, by names of type and head.
HEAD_TYPES: Final[dict[tuple[str, str], type[TaskType]]] = {}


def type_for_head(task_type: str, head: str) -> type[TaskType]:
    """The task type of that name, in its variant for a head, which has to exist."""
    return TASK_TYPES.get(task_type) if head == GENERATION.name else HEAD_TYPES[task_type, head]


def prompt_fields(row: Row) -> dict[str, str]:
    """Values for a prompt: the input under both its names, and the instruction."""
    fields = {"input": row.text, "text": row.text}
    return fields if row.instruction is None else {**fields, "instruction": row.instruction}


class TextToText(TaskType):
    """An input and an output text: summaries, rewritten questions, instructions with answers."""

    row_type = "pairs"
    fields = ("input", "text", "instruction")

    def example(self, row: Row) -> Example:
        """The input, and the output as the reference."""
        answer = str(row.output).strip()
        return Example(row.id, prompt_fields(row), answer, f" {answer}", row)

    def parse(self, output: str) -> Parsed:
        """The output itself; an empty one counts as unparsed."""
        answer = output.strip()
        return Parsed(answer, not answer)

    def metric_inputs(self, metric: Metric, prediction: Any, example: Example) -> tuple[Any, Any]:
        """Both texts, case-folded if the task says so."""
        del metric
        if self.context.fold_case:
            return prediction.casefold(), example.reference.casefold()
        return prediction, example.reference

    @property
    def baselines(self) -> Mapping[str, Callable[[Example], str]]:
        """The copied input and its first sentence, if a metric measures overlap (ROUGE)."""
        if not any(name.startswith("rouge") for name in self.context.metrics):
            return {}
        return {
            "copied_input": lambda example: copy_input(example.text),
            "first_sentence": lambda example: first_sentence(example.text),
        }


TASK_TYPES.add("pairs", TextToText)


class Choice(TaskType):
    """Classification: an input and its class.

    The most likely class is the one whose text, followed by the end of text, has the highest
    probability after the prompt. With the end of text, a short name has no advantage over a longer
    one that begins with it.
    """

    row_type = "pairs"
    fields = ("input", "text", "instruction")
    labelled = True

    def __init__(self, context: TypeContext) -> None:
        super().__init__(context)
        self.classes = context.labels
        self.answers = AnswerMode.GENERATED if context.generate else AnswerMode.MOST_LIKELY
        self._class_by_text = {_normalized(self.write(name)): name for name in self.classes}

    @staticmethod
    def labels_of(row: Row) -> Collection[str]:
        """The row's class."""
        return (str(row.output).strip(),)

    def example(self, row: Row) -> Example:
        """The input, and its class as the reference."""
        (name,) = self.labels_of(row)
        return Example(row.id, prompt_fields(row), name, self.write(name), row)

    def write(self, prediction: str | None) -> str:
        """A class as text; empty for no class."""
        return "" if prediction is None else f" {self.context.names.get(prediction, prediction)}"

    def parse(self, output: str) -> Parsed:
        """The class that the first line names, ignoring white space and case; else None."""
        label = self._class_by_text.get(_normalized(output.strip().partition("\n")[0]))
        return Parsed(label, label is None)

    @property
    def baselines(self) -> Mapping[str, Callable[[Example], str]]:
        """The most frequent class of the training split."""
        return {"most_frequent": lambda _: self._most_frequent}

    @cached_property
    def _most_frequent(self) -> str:
        return most_frequent(example.reference for example in self.context.training())


def _normalized(text: str) -> str:
    return " ".join(text.casefold().split())


TASK_TYPES.add("choice", Choice)


class Text(TaskType):
    """Language modelling: a text; the prediction is its `harness.metrics.text.Likelihood`."""

    row_type = "text"
    fields = ()
    answers = AnswerMode.LIKELIHOOD
    supports_few_shot = False

    def example(self, row: Row) -> Example:
        """The text, as target and as reference."""
        return Example(row.id, {"text": row.text}, row.text, row.text, row)

    def parse(self, output: str) -> Parsed:
        """Nothing is generated, so nothing can be parsed."""
        del output
        return Parsed(None, unparsed=True)


TASK_TYPES.add("text", Text)
