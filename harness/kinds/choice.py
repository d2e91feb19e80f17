"""One class of several: the likeliest of all, or the one that a model writes."""

from collections.abc import Callable, Collection, Mapping
from functools import cached_property

from harness.baselines import most_frequent
from harness.formats import Row
from harness.kinds.kind import KINDS, Answers, Example, Given, Kind, Parsed
from harness.kinds.pairs import prompt_fields


class Choice(Kind):
    """An input and its class.

    The likeliest class is the one whose text, with the end of text behind it, has the highest
    probability after the prompt: probabilities of complete answers, so that a short name has no
    advantage over a longer one that begins like it.
    """

    rows = "pairs"
    fields = ("input", "text", "instruction")
    labelled = True

    def __init__(self, given: Given) -> None:
        """The classes are those of the training rows."""
        super().__init__(given)
        self.classes = given.labels
        self.answers = Answers.WRITTEN if given.generate else Answers.CHOSEN
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
        return "" if prediction is None else f" {self.given.names.get(prediction, prediction)}"

    def parse(self, output: str) -> Parsed:
        """The class that the first line names, white space and case aside; else None."""
        found = self._read.get(_plain(output.strip().partition("\n")[0]))
        return Parsed(found, found is None)

    @property
    def untrained(self) -> Mapping[str, Callable[[Example], str]]:
        """The most frequent class of the training split."""
        return {"most_frequent": lambda _: self._usual}

    @cached_property
    def _usual(self) -> str:
        return most_frequent(example.reference for example in self.given.training())

    def _named(self, name: str) -> str:
        return _plain(self.given.names.get(name, name))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


KINDS.add("choice", Choice)
