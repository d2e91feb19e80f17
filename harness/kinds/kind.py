"""`Kind`: what rows of a sort ask of a model, how an answer is read and what it is held against.

Knows rows, examples and metrics; nothing of files, prompts, tokens or models.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Final, NamedTuple

from harness.entity_text import Layout
from harness.formats import Row
from harness.heads import GENERATION, Head
from harness.metrics import Metric
from harness.registry import Registry

#: The one class of statistics where answers have no classes.
ALL: Final = ("all",)


class Answers(StrEnum):
    """How an answer is had from a model."""

    WRITTEN = "written"  # decoded greedily
    CHOSEN = "chosen"  # the likeliest of several texts
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
class Given:
    """What task.yaml and the data say to a kind.

    Attributes:
        labels: the entity labels, or the classes of a choice; none for the other kinds.
        training: gives the training examples.
        layout: how entities are written.
        names: how labels are written, where otherwise.
        fold_case: whether case is disregarded when answers are compared.
        unseen_excludes: labels that do not count among entities never seen in training.
        metrics: names of the task's metrics.
        generate: whether a choice is written, instead of being the likeliest.
    """

    labels: tuple[str, ...]
    training: Callable[[], Sequence[Example]]
    layout: Layout
    names: Mapping[str, str] = field(default_factory=dict)
    fold_case: bool = False
    unseen_excludes: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    generate: bool = False


class Kind(ABC):
    """What rows of one sort ask of a model.

    Attributes:
        rows: what the rows are, one of `harness.formats.format.KINDS`.
        fields: what a prompt may be filled with; the first is the input, which it has to name.
        labelled: whether rows have labels: entities' or classes.
        answers: how an answer is had.
        classes: what statistics are kept for, such as the entity labels.
        shots: whether worked examples can stand before a prompt.
        bare: whether the base can answer before anything is trained.
        head: what has to stand on the base.
    """

    rows: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]
    labelled: ClassVar[bool] = False
    answers: Answers = Answers.WRITTEN
    shots: ClassVar[bool] = True
    bare: ClassVar[bool] = True

    def __init__(self, given: Given) -> None:
        """Keeps what is given."""
        self.given = given
        self.head: Head = GENERATION
        self.classes: tuple[str, ...] = ALL

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

    def compared(self, metric: Metric, prediction: Any, example: Example) -> tuple[Any, Any]:
        """A prediction and the right answer, as a metric takes them."""
        del metric
        return prediction, example.reference

    @property
    def untrained(self) -> Mapping[str, Callable[[Example], Any]]:
        """What a model has to beat, by name: answers of nothing that was trained."""
        return {}

    def shows(self, example: Example) -> Collection[str]:
        """What a worked example shows that others may not, such as labels."""
        return () if example.row is None else self.labels_of(example.row)


KINDS: Registry[type[Kind]] = Registry("kind of task")
#: What a kind is under another head than the one that writes, by names of kind and head.
HEADED: Final[dict[tuple[str, str], type[Kind]]] = {}


def kind_under(kind: str, head: str) -> type[Kind]:
    """What a kind of `KINDS` is under a head; there has to be such a one."""
    return KINDS.get(kind) if head == GENERATION.name else HEADED[kind, head]
