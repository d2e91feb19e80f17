"""Extraction by a head that tags tokens: entities come with their places in the text."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from harness.entity_tags import tags_of
from harness.entity_text import Mention
from harness.formats import Span
from harness.heads import TOKEN_CLASSIFICATION, Head
from harness.kinds.entities import Entities
from harness.kinds.kind import HEADED, Answers, Example, Given, Parsed

#: A mention and where it stands, as in `insulin [3:10]`.
_PLACED: Final = re.compile(r"(.*) \[(\d+):(\d+)\]", re.DOTALL)


class Tagged(Entities):
    """Notes with entities; a prediction is a tuple of `harness.formats.Span`.

    Nothing is asked and nothing is written: the head says a tag for each token of the text. The
    head is new, so that there is nothing to be had from the base before it is trained.
    """

    fields = ()
    answers = Answers.TAGGED
    shots = False
    bare = False

    def __init__(self, given: Given) -> None:
        """The head's labels are the tags."""
        super().__init__(given)
        self.head = Head(TOKEN_CLASSIFICATION, tags_of(given.labels))

    def write(self, prediction: Iterable[Any]) -> str:
        """The line of the mentions, each with its place: ` MED: insulin [3:10] | DOSE: none`."""
        return self.given.layout.write(
            (one.label, f"{one.text} [{one.start}:{one.end}]") for one in prediction
        )

    def parse(self, output: str) -> Parsed:
        """Reads such a line; a mention without a place cannot be read."""
        mentions, unparsed = self.given.layout.parse(output)
        read = [(label, _PLACED.fullmatch(text)) for label, text in mentions]
        found = tuple(
            Span(int(hit[2]), int(hit[3]), label, hit[1]) for label, hit in read if hit is not None
        )
        return Parsed(found, unparsed or len(found) < len(mentions))

    def mentions(self, prediction: Iterable[Any]) -> tuple[Mention, ...]:
        """Label and surface of each span."""
        return tuple(Mention(one.label, " ".join(one.text.split())) for one in prediction)

    def spans(self, prediction: Iterable[Any], text: str) -> tuple[Span, ...]:
        """The spans themselves."""
        del text
        return tuple(prediction)

    @property
    def untrained(self) -> Mapping[str, Callable[[Example], tuple[Any, ...]]]:
        """The dictionary of training entities, at the places where it finds them."""
        return {"dictionary": self._found}

    def _found(self, example: Example) -> tuple[Span, ...]:
        return tuple(
            Span(start, end, label, example.text[start:end])
            for start, end, label in self.dictionary.places(example.text)
        )


HEADED["entities", TOKEN_CLASSIFICATION] = Tagged
