"""Language modelling: how likely a text is; nothing is asked and nothing is written."""

from harness.formats import Row
from harness.kinds.kind import KINDS, Answers, Example, Kind, Parsed


class Text(Kind):
    """A text alone; the prediction is a `harness.metrics.perplexity.Likelihood` of it."""

    rows = "text"
    fields = ()
    answers = Answers.LIKELIHOOD
    shots = False

    def example(self, row: Row) -> Example:
        """The text, as target and as reference."""
        return Example(row.id, {"text": row.text}, row.text, row.text, row)

    def parse(self, output: str) -> Parsed:
        """Nothing is written, so nothing can be read."""
        del output
        return Parsed(None, unparsed=True)


KINDS.add("text", Text)
