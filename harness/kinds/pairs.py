"""Text to text: summaries, rewritten questions, instructions with their answers."""

from collections.abc import Callable, Mapping
from typing import Any

from harness.baselines import copied, first_sentence
from harness.formats import Row
from harness.kinds.kind import KINDS, Example, Kind, Parsed
from harness.metrics import Metric


def prompt_fields(row: Row) -> dict[str, str]:
    """What a prompt can be filled with: the input under both its names, and the instruction."""
    found = {"input": row.text, "text": row.text}
    return found if row.instruction is None else {**found, "instruction": row.instruction}


class Pairs(Kind):
    """An input and the text that belongs to it; what a model writes is taken as it is."""

    rows = "pairs"
    fields = ("input", "text", "instruction")

    def example(self, row: Row) -> Example:
        """The input, and the output as the reference."""
        answer = str(row.output).strip()
        return Example(row.id, prompt_fields(row), answer, f" {answer}", row)

    def parse(self, output: str) -> Parsed:
        """The output itself; nothing at all counts as unread."""
        answer = output.strip()
        return Parsed(answer, not answer)

    def compared(self, metric: Metric, prediction: Any, example: Example) -> tuple[Any, Any]:
        """Both texts; case folded where the task says so."""
        del metric
        if self.given.fold_case:
            return prediction.casefold(), example.reference.casefold()
        return prediction, example.reference

    @property
    def untrained(self) -> Mapping[str, Callable[[Example], str]]:
        """The input copied, and its first sentence, where overlap with the answer is measured."""
        if not any(name.startswith("rouge") for name in self.given.metrics):
            return {}
        return {
            "copied_input": lambda example: copied(example.text),
            "first_sentence": lambda example: first_sentence(example.text),
        }


KINDS.add("pairs", Pairs)
