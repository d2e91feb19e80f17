"""Entity F1: on surface forms (`entity_f1`) and on spans (`span_f1_*`, SemEval-2013 task 9).

Surface forms: a mention is right if its label and surface form are. Mentions are compared as
multisets, case-sensitive, with white space collapsed; positions are ignored, since a model that
writes text gives no offsets.

Spans follow Segura-Bedmar et al. 2013 (S13-2056), as nervaluate implements it. Each prediction, in
the order of the text, is paired with at most one reference span, and none is paired twice:

    strict   the same span and label is correct (COR), any other overlap incorrect (INC)
    exact    the same span is correct whatever its label, any other overlap incorrect
    partial  the same span is correct whatever its label, any other overlap half correct (PAR)
    type     any overlap with the same label is correct, with another label incorrect

A prediction without a partner is spurious (SPU), a reference without one missed (MIS). F1 is over
all predictions and references: tp = COR + PAR/2, and fp and fn are the rest of either side. No
reference and no prediction is 1 here, 0 in nervaluate.

By class: credit belongs to the label of the reference; the rest of a prediction counts for the
predicted label, the rest of a reference for its own. So the classes add up to the total, and with
exact and partial a mention with a wrong label still counts for the class of the reference.
nervaluate instead scores each label as if there were no other: the two agree if no pair has
different labels and none is lost to a prediction of another label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

from harness.aggregates import FORMS, Array
from harness.metrics.metric import add_metric

Pairs = Iterable[tuple[str, str]]


def score_mentions(
    prediction: Pairs, reference: Pairs, classes: tuple[str, ...]
) -> tuple[float, ...]:
    """True positives, false positives and false negatives for each class, flat.

    Args:
        prediction: (label, surface form) of each predicted mention.
        reference: (label, surface form) of each mention in the text.
        classes: the labels, in the order of the answer.

    Raises:
        ValueError: a label is not in `classes`.
    """
    predicted, expected = _count_mentions(prediction), _count_mentions(reference)
    unknown = {label for label, _ in predicted | expected} - set(classes)
    if unknown:
        raise ValueError(f"labels {sorted(unknown)} are none of {list(classes)}")
    statistics: list[int] = []
    for name in classes:
        predictions = Counter({text: n for (label, text), n in predicted.items() if label == name})
        references = Counter({text: n for (label, text), n in expected.items() if label == name})
        correct = (predictions & references).total()
        statistics += [correct, predictions.total() - correct, references.total() - correct]
    return tuple(map(float, statistics))


def _count_mentions(mentions: Pairs) -> Counter[tuple[str, str]]:
    return Counter((label, " ".join(text.split())) for label, text in mentions)


def _ratio(part: float, total: float) -> float:
    # Nothing to find and nothing found is perfect, as in harness.aggregates.
    return part / total if total else 1.0


def breakdown(sums: Array, classes: tuple[str, ...]) -> dict[str, float]:
    """Micro precision and recall, macro F1, and F1, precision, recall for each class.

    Args:
        sums: (tp, fp, fn) for each class, shape (classes, 3).
        classes: the labels.

    Returns:
        `precision`, `recall`, `macro_f1` (mean over the classes that occur on either side) and
        `<class>.f1`, `<class>.precision`, `<class>.recall`.
    """
    tp, fp, fn = (float(number) for number in sums.sum(axis=0))
    values = {
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "macro_f1": float(FORMS["macro_f1"].over_classes(sums)),
    }
    for name, value, (tp, fp, fn) in zip(
        classes, FORMS["f1"].value(sums), sums.tolist(), strict=True
    ):
        values[f"{name}.f1"] = float(value)
        values[f"{name}.precision"] = _ratio(tp, tp + fp)
        values[f"{name}.recall"] = _ratio(tp, tp + fn)
    return values


def macro_breakdown(sums: Array, classes: tuple[str, ...]) -> dict[str, float]:
    """As `breakdown`, with `micro_f1` instead of the `macro_f1` that the metric itself is."""
    values = breakdown(sums, classes)
    del values["macro_f1"]
    return {"micro_f1": float(FORMS["f1"].over_classes(sums)), **values}


ENTITY_F1 = add_metric("entity_f1", "f1", "points of F1", score_mentions, "entities", breakdown)
add_metric(
    "entity_macro_f1",
    "macro_f1",
    "points of macro F1",
    score_mentions,
    "entities",
    macro_breakdown,
)


class SpanLike(Protocol):
    """A mention with its offsets."""

    @property
    def start(self) -> int:
        """Offset of its first character."""

    @property
    def end(self) -> int:
        """Offset after its last character."""

    @property
    def label(self) -> str:
        """Its class."""


class _Span(NamedTuple):
    start: int
    end: int
    label: str


#: Credit of a pair, then a tie-breaker between pairs of equal credit.
_Rank = tuple[float, float]
_Matcher = Callable[[_Span, _Span], _Rank]


def _match_type(predicted: _Span, expected: _Span) -> _Rank:
    if predicted.label != expected.label:
        return 0.0, 0.0
    # Of several references with the label, prefer the one with the closest ends.
    return 1.0, -float(abs(predicted.start - expected.start) + abs(predicted.end - expected.end))


_MATCHERS: Final[dict[str, _Matcher]] = {
    "strict": lambda predicted, expected: (float(predicted == expected), 0.0),
    "exact": lambda predicted, expected: (float(predicted[:2] == expected[:2]), 0.0),
    "partial": lambda predicted, expected: (1.0 if predicted[:2] == expected[:2] else 0.5, 0.0),
    "type": _match_type,
}


def score_entity_spans(
    prediction: Iterable[SpanLike],
    reference: Iterable[SpanLike],
    classes: tuple[str, ...],
    by: str,
) -> tuple[float, ...]:
    """(tp, fp, fn) of one example for each class, flat; fractions if half a match counts.

    Args:
        prediction: in any order.
        reference: the entities of the text.
        classes: the labels, in the order of the answer.
        by: `strict`, `exact`, `partial` or `type`.

    Raises:
        ValueError: a label is not in `classes`.
    """
    predicted, expected = _sorted_spans(prediction), _sorted_spans(reference)
    unknown = {span.label for span in predicted + expected} - set(classes)
    if unknown:
        raise ValueError(f"labels {sorted(unknown)} are none of {list(classes)}")
    table = {name: [0.0, 0.0, 0.0] for name in classes}
    for span in predicted:
        table[span.label][1] += 1.0
    for span in expected:
        table[span.label][2] += 1.0
    for credit, predicted_label, label in _match_spans(predicted, expected, _MATCHERS[by]):
        table[label][0] += credit
        table[predicted_label][1] -= credit
        table[label][2] -= credit
    return tuple(number for counts in table.values() for number in counts)


def _sorted_spans(spans: Iterable[SpanLike]) -> list[_Span]:
    # Pairing is greedy: sorting makes it independent of the order of the answer.
    return sorted(_Span(span.start, span.end, span.label) for span in spans)


def _match_spans(
    predicted: Sequence[_Span], expected: Sequence[_Span], matcher: _Matcher
) -> list[tuple[float, str, str]]:
    """(credit, label of the prediction, label of the reference) of each pair."""
    unmatched = list(expected)
    pairs = []
    for span in predicted:
        candidates = [candidate for candidate in unmatched if _overlap(span, candidate)]
        if candidates:
            best = max(candidates, key=partial(matcher, span))
            unmatched.remove(best)
            pairs.append((matcher(span, best)[0], span.label, best.label))
    return pairs


def _overlap(predicted: _Span, expected: _Span) -> bool:
    # nervaluate's threshold: the overlap is at least 1 % of the reference.
    shared = min(predicted.end, expected.end) - max(predicted.start, expected.start)
    return shared > 0 and 100 * shared >= expected.end - expected.start


for _by in _MATCHERS:
    add_metric(
        f"span_f1_{_by}",
        "f1",
        f"points of {_by} span F1",
        partial(score_entity_spans, by=_by),
        breakdown=breakdown,
        reads="spans",
    )
