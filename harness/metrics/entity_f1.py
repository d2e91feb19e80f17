"""Entity-level F1: a mention is right when its label and its surface form are.

Mentions are compared as multisets and with regard to case; only white space is collapsed. Where
in the text a mention stands is not asked, since the model writes text and no offsets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

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
