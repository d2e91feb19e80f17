"""Entity-level F1: a mention is right when its label and its surface form are.

Mentions are compared as multisets and with regard to case; only white space is collapsed. Where
in the text a mention stands is not asked, since the model writes text and no offsets.

F1 on where mentions stand: strict, exact, partial and type, after SemEval-2013 task 9.

Segura-Bedmar et al. 2013 (S13-2056), as nervaluate has it. Each prediction, in the order of the
text, is paired with one mention of the reference at most, none of which is taken twice:

    strict   the same span and label is right (COR), any other overlap wrong (INC)
    exact    the same span is right whatever its label, any other overlap wrong
    partial  the same span is right whatever its label, any other overlap half right (PAR)
    type     any overlap with the same label is right, with another one wrong

A prediction without a partner is spurious (SPU), a mention without one missed (MIS). F1 is that of
COR + PAR/2 over all that was predicted and all that was to be found: tp = COR + PAR/2, fp and fn
are what is left of either side. Nothing to find and nothing found is 1 here, 0 in nervaluate.

By class: credit belongs to the label of the reference, what a prediction lacks to the predicted
label, what a mention lacks to its own. So the classes add up to the whole, and a mention found
under a wrong label counts for its own class in exact and partial. That is not nervaluate's result
by tag, which scores each tag as if there were no other: they agree where no pair differs in its
labels and none is lost to a prediction of another label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

from harness.aggregates import FORMS, Array
from harness.metrics.metric import METRICS, Metric

Pairs = Iterable[tuple[str, str]]


def score(prediction: Pairs, reference: Pairs, classes: tuple[str, ...]) -> tuple[float, ...]:
    """True positives, false positives and misses of one example for each class, flat.

    Args:
        prediction: (label, surface form) as often as it was predicted.
        reference: (label, surface form) as often as it stands in the text.
        classes: the labels, in the order of the answer.

    Raises:
        ValueError: a label is none of `classes`.
    """
    found, wanted = _count(prediction), _count(reference)
    unknown = {label for label, _ in found | wanted} - set(classes)
    if unknown:
        raise ValueError(f"labels {sorted(unknown)} are none of {list(classes)}")
    statistics: list[float] = []
    for name in classes:
        mine = Counter({text: n for (label, text), n in found.items() if label == name})
        gold = Counter({text: n for (label, text), n in wanted.items() if label == name})
        right = (mine & gold).total()
        statistics += [float(right), float(mine.total() - right), float(gold.total() - right)]
    return tuple(statistics)


def _count(mentions: Pairs) -> Counter[tuple[str, str]]:
    return Counter((label, " ".join(text.split())) for label, text in mentions)


def _ratio(part: float, whole: float) -> float:
    # nothing to judge is no fault, as in harness.aggregates
    return part / whole if whole else 1.0


def breakdown(sums: Array, classes: tuple[str, ...]) -> dict[str, float]:
    """Micro precision and recall, macro F1, and F1, precision, recall for each class.

    Args:
        sums: (tp, fp, fn) for each class, shape (classes, 3).
        classes: the labels, in the order of `sums`.

    Returns:
        `precision`, `recall`, `macro_f1` (mean over the classes that occur on either side) and
        `<class>.f1`, `<class>.precision`, `<class>.recall`.
    """
    true, false, missed = (float(number) for number in sums.sum(axis=0))
    by_class = [float(value) for value in FORMS["f1"].value(sums)]
    found = {
        "precision": _ratio(true, true + false),
        "recall": _ratio(true, true + missed),
        "macro_f1": float(FORMS["macro_f1"].over_classes(sums)),
    }
    for name, value, (true, false, missed) in zip(classes, by_class, sums.tolist(), strict=True):
        found[f"{name}.f1"] = value
        found[f"{name}.precision"] = _ratio(true, true + false)
        found[f"{name}.recall"] = _ratio(true, true + missed)
    return found


def macro_breakdown(sums: Array, classes: tuple[str, ...]) -> dict[str, float]:
    """As `breakdown`, with `micro_f1` instead of the `macro_f1` that the metric itself is."""
    found = breakdown(sums, classes)
    del found["macro_f1"]
    return {"micro_f1": float(FORMS["f1"].over_classes(sums)), **found}


ENTITY_F1 = METRICS.add(
    "entity_f1",
    Metric("entity_f1", "f1", "maximize", 100.0, "points of F1", score, breakdown),
)
METRICS.add(
    "entity_macro_f1",
    Metric(
        "entity_macro_f1",
        "macro_f1",
        "maximize",
        100.0,
        "points of macro F1",
        score,
        macro_breakdown,
    ),
)


class SpanLike(Protocol):
    """A mention with its place."""

    @property
    def start(self) -> int:
        """Offset of its first character."""

    @property
    def end(self) -> int:
        """Offset behind its last character."""

    @property
    def label(self) -> str:
        """Its class."""


class _Span(NamedTuple):
    start: int
    end: int
    label: str


class _Pair(NamedTuple):
    credit: float
    found: str
    wanted: str


#: How good a pair is: its credit, then what decides between pairs of equal credit.
_Rank = tuple[float, float]
_Judge = Callable[[_Span, _Span], _Rank]


def _strict(found: _Span, wanted: _Span) -> _Rank:
    return (1.0, 0.0) if found == wanted else (0.0, 0.0)


def _exact(found: _Span, wanted: _Span) -> _Rank:
    return (1.0, 0.0) if found[:2] == wanted[:2] else (0.0, 0.0)


def _partial(found: _Span, wanted: _Span) -> _Rank:
    return (1.0, 0.0) if found[:2] == wanted[:2] else (0.5, 0.0)


def _type(found: _Span, wanted: _Span) -> _Rank:
    if found.label != wanted.label:
        return 0.0, 0.0
    # of several mentions with the label the one with the closest ends
    return 1.0, -float(abs(found.start - wanted.start) + abs(found.end - wanted.end))


_JUDGES: Final[dict[str, _Judge]] = {
    "strict": _strict,
    "exact": _exact,
    "partial": _partial,
    "type": _type,
}


def score_entity_spans(
    prediction: Iterable[SpanLike],
    reference: Iterable[SpanLike],
    classes: tuple[str, ...],
    by: str,
) -> tuple[float, ...]:
    """(tp, fp, fn) of one example for each class, flat; fractions where half a match counts.

    Args:
        prediction: what was found, in any order.
        reference: what stands in the text.
        classes: the labels, in the order of the answer.
        by: `strict`, `exact`, `partial` or `type`.

    Raises:
        ValueError: a label is none of `classes`.
    """
    found, wanted = _sorted(prediction), _sorted(reference)
    unknown = {span.label for span in found + wanted} - set(classes)
    if unknown:
        raise ValueError(f"labels {sorted(unknown)} are none of {list(classes)}")
    table = {name: [0.0, 0.0, 0.0] for name in classes}
    for span in found:
        table[span.label][1] += 1.0
    for span in wanted:
        table[span.label][2] += 1.0
    for pair in _pairs(found, wanted, _JUDGES[by]):
        table[pair.wanted][0] += pair.credit
        table[pair.found][1] -= pair.credit
        table[pair.wanted][2] -= pair.credit
    return tuple(number for counts in table.values() for number in counts)


def _sorted(spans: Iterable[SpanLike]) -> list[_Span]:
    # Pairing is greedy, so its order has to be one that the order of an answer does not change.
    return sorted(_Span(one.start, one.end, one.label) for one in spans)


def _pairs(found: Sequence[_Span], wanted: Sequence[_Span], judge: _Judge) -> list[_Pair]:
    free = list(wanted)
    pairs = []
    for span in found:
        near = [one for one in free if _meet(span, one)]
        if near:
            best = max(near, key=partial(judge, span))
            free.remove(best)
            pairs.append(_Pair(judge(span, best)[0], span.label, best.label))
    return pairs


def _meet(found: _Span, wanted: _Span) -> bool:
    # nervaluate's threshold: what is shared is one in a hundred of the reference or more
    shared = min(found.end, wanted.end) - max(found.start, wanted.start)
    return shared > 0 and 100 * shared >= wanted.end - wanted.start


for _by in _JUDGES:
    METRICS.add(
        f"span_f1_{_by}",
        Metric(
            f"span_f1_{_by}",
            "f1",
            "maximize",
            100.0,
            f"points of {_by} span F1",
            partial(score_entity_spans, by=_by),
            breakdown,
            ("entities",),
            "spans",
        ),
    )
