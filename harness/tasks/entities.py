"""Entity extraction: a model generates the entities as text, or a head tags tokens.

Generated entities are surface forms by label, without offsets; tagged ones have offsets.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Final

from harness.config.settings import TOKEN_CLASSIFICATION, Head
from harness.data.rows import Row, Span
from harness.data.tagging import all_tags
from harness.metrics.metric import Metric
from harness.tasks.baselines import EntityDictionary
from harness.tasks.entity_format import Mention, Parsed
from harness.tasks.types import (
    HEAD_TYPES,
    TASK_TYPES,
    AnswerMode,
    Example,
    TaskType,
    TypeContext,
)


def _mentions_of(spans: Iterable[Span]) -> tuple[Mention, ...]:
    return tuple(Mention(span.label, " ".join(span.text.split())) for span in spans)


class Entities(TaskType):
    """Texts with entities, generated as surface forms.

    Reference and prediction are mentions: label and surface form. For metrics that read spans,
    `locate_mentions` finds the offsets of the mentions.
    """

    row_type = "entities"
    fields: ClassVar[tuple[str, ...]] = ("text",)
    labelled = True

    def __init__(self, context: TypeContext) -> None:
        super().__init__(context)
        self.classes = context.labels

    @staticmethod
    def labels_of(row: Row) -> Collection[str]:
        """The labels of a row's entities."""
        return {span.label for span in row.entities}

    def example(self, row: Row) -> Example:
        """The text, and its entities as a line of text."""
        reference = _mentions_of(row.entities)
        target = self.context.entity_format.write(reference)
        return Example(row.id, {"text": row.text}, reference, target, row)

    def parse(self, output: str) -> Parsed:
        """Parses the first line of an output; see `EntityFormat.parse`."""
        return self.context.entity_format.parse(output)

    def write(self, prediction: Iterable[Any]) -> str:
        """The line of text of these mentions."""
        return self.context.entity_format.write(prediction)

    def metric_inputs(self, metric: Metric, prediction: Any, example: Example) -> tuple[Any, Any]:
        """Mentions and mentions, or spans and spans; case-folded if the task says so."""
        if metric.reads == "spans":
            assert example.row is not None, "spans need the text of the row"
            return self.spans(prediction, example.text), example.row.entities
        return self._fold_case(self.mentions(prediction)), self._fold_case(example.reference)

    def mentions(self, prediction: Iterable[Any]) -> tuple[Mention, ...]:
        """A prediction's mentions, in the form of a reference."""
        return tuple(prediction)

    def spans(self, prediction: Iterable[Any], text: str) -> tuple[Span, ...]:
        """A prediction's entities with their offsets in a text."""
        return locate_mentions(prediction, text, self.context.fold_case)

    def _fold_case(self, mentions: Iterable[Mention]) -> list[Mention]:
        if self.context.fold_case:
            return [Mention(label, text.casefold()) for label, text in mentions]
        return list(mentions)

    @cached_property
    def dictionary(self) -> EntityDictionary:
        """The entities of the training split."""
        return EntityDictionary(
            (example.text, example.reference) for example in self.context.training()
        )

    @property
    def baselines(self) -> Mapping[str, Callable[[Example], tuple[Any, ...]]]:
        """The dictionary of training entities."""
        return {"dictionary": lambda example: self.dictionary.find(example.text)}

    def seen_in_training(self, example: Example) -> tuple[bool, ...]:
        """For each mention of the reference whether it was an entity in training, in any case."""
        return tuple(text in self.dictionary for _, text in example.reference)


def locate_mentions(
    mentions: Iterable[Mention], text: str, fold_case: bool = False
) -> tuple[Span, ...]:
    """Finds mentions in a text: the nth mention of a form at its nth occurrence.

    A model generates no offsets. Whole words are preferred to parts of words; a space in the
    mention matches any white space. A mention without (further) occurrence gets a span after the
    end of the text: it overlaps nothing and so counts as wrong. Mentions are in the order of the
    text, label by label.
    """
    used: Counter[tuple[str, str]] = Counter()
    spans: list[Span] = []
    beyond = len(text) + 1
    for label, surface in mentions:
        key = (label, surface.casefold() if fold_case else surface)
        following = _occurrences(surface, text, fold_case)[used[key] :]
        used[key] += 1
        if following:
            start, end = following[0]
        else:
            start, end = beyond, beyond + 1
            beyond += 2
        spans.append(Span(start, end, label, surface))
    return tuple(spans)


def _occurrences(surface: str, text: str, fold_case: bool) -> list[tuple[int, int]]:
    body = r"\s+".join(re.escape(word) for word in surface.split())
    if not body:
        return []
    flags = re.IGNORECASE if fold_case else re.NOFLAG
    whole_words = [hit.span() for hit in re.finditer(rf"(?<!\w){body}(?!\w)", text, flags)]
    return whole_words or [hit.span() for hit in re.finditer(body, text, flags)]


TASK_TYPES.add("entities", Entities)


#: A mention with its offsets, as in `insulin [3:10]`.
_MENTION_WITH_OFFSETS: Final = re.compile(r"(.*) \[(\d+):(\d+)\]", re.DOTALL)


class TaggedEntities(Entities):
    """Texts with entities, tagged by a token-classification head; a prediction is spans.

    There is no prompt and no generated text: the head predicts a tag for each token. It is newly
    initialized, so the base model cannot answer before training.
    """

    fields = ()
    answers = AnswerMode.TAGGED
    supports_few_shot = False
    supports_zero_shot = False

    def __init__(self, context: TypeContext) -> None:
        super().__init__(context)
        self.head = Head(TOKEN_CLASSIFICATION, all_tags(context.labels))

    def example(self, row: Row) -> Example:
        """The text, and its entities as a line of text with offsets."""
        return replace(super().example(row), target=self.write(row.entities))

    def write(self, prediction: Iterable[Any]) -> str:
        """The line of the mentions with offsets: ` MED: insulin [3:10] | DOSE: none`."""
        return self.context.entity_format.write(
            (span.label, f"{span.text} [{span.start}:{span.end}]") for span in prediction
        )

    def parse(self, output: str) -> Parsed:
        """Parses such a line; a mention without offsets counts as unparsed."""
        mentions, unparsed = self.context.entity_format.parse(output)
        read = [(label, _MENTION_WITH_OFFSETS.fullmatch(text)) for label, text in mentions]
        spans = tuple(
            Span(int(match[2]), int(match[3]), label, match[1])
            for label, match in read
            if match is not None
        )
        return Parsed(spans, unparsed or len(spans) < len(mentions))

    def mentions(self, prediction: Iterable[Any]) -> tuple[Mention, ...]:
        """Label and surface of each span."""
        return _mentions_of(prediction)

    def spans(self, prediction: Iterable[Any], text: str) -> tuple[Span, ...]:
        """The spans themselves."""
        del text
        return tuple(prediction)

    @property
    def baselines(self) -> Mapping[str, Callable[[Example], tuple[Any, ...]]]:
        """The dictionary of training entities, with the offsets where it finds them."""
        return {"dictionary": lambda example: self.dictionary.find_spans(example.text)}


HEAD_TYPES["entities", TOKEN_CLASSIFICATION] = TaggedEntities
