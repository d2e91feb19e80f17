"""Sums of statistics give the metric; checked against definitions and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from harness.aggregates import FORMS

F1 = FORMS["f1"].value


@pytest.mark.parametrize(
    ("form", "sums", "value"),
    [
        ("f1", (3, 1, 2), 2 * 3 / (2 * 3 + 1 + 2)),
        ("f1", (0, 0, 0), 1.0),  # nothing to find, nothing found
        ("f1", (0, 5, 0), 0.0),
        ("f1", (0, 0, 5), 0.0),
        ("f1", (7, 0, 0), 1.0),
        ("mean", (3.0, 4), 0.75),
        ("mean", (-3.0, 4), -0.75),
        ("perplexity", (10 * math.log(7), 10), 7.0),
        ("perplexity", (0.0, 10), 1.0),
        ("word_perplexity", (10 * math.log(7), 10), 7.0),
        ("bits", (10 * math.log(2), 5), 2.0),
    ],
)
def test_value(form: str, sums: tuple[float, ...], value: float) -> None:
    assert FORMS[form].value(np.array(sums, dtype=float)) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("form", ["mean", "perplexity", "word_perplexity", "bits"])
def test_nothing_has_no_mean(form: str) -> None:
    assert np.isnan(FORMS[form].value(np.zeros(2)))


@pytest.mark.parametrize("form", FORMS)
def test_shapes_go_through(form: str) -> None:
    sums = np.ones((5, 4, len(FORMS[form].parts)))
    assert FORMS[form].value(sums).shape == (5, 4)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_f1_is_the_one_of_scikit_learn(pairs: list[tuple[bool, bool]]) -> None:
    truth = [a for a, _ in pairs]
    said = [b for _, b in pairs]
    sums = np.array([
        sum(a and b for a, b in pairs),
        sum(b and not a for a, b in pairs),
        sum(a and not b for a, b in pairs),
    ], dtype=float)  # fmt: skip
    assert F1(sums) == pytest.approx(f1_score(truth, said, zero_division=1.0))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
def test_macro_f1_is_the_one_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, said = np.array(pairs).T
    sums = np.array([
        [((truth == k) & (said == k)).sum() for k in range(6)],
        [((truth != k) & (said == k)).sum() for k in range(6)],
        [((truth == k) & (said != k)).sum() for k in range(6)],
    ], dtype=float).T  # fmt: skip
    form = FORMS["macro_f1"]
    assert form.averaged
    assert form.over_classes(sums) == pytest.approx(f1_score(truth, said, average="macro"))


def test_summed_or_averaged_is_the_forms_to_say() -> None:
    sums = np.array([[9.0, 1, 0], [0, 0, 5], [0, 0, 0]])
    assert FORMS["f1"].over_classes(sums) == pytest.approx(18 / 24)
    assert FORMS["macro_f1"].over_classes(sums) == pytest.approx((18 / 19 + 0) / 2)
    assert FORMS["macro_f1"].over_classes(sums[2:]) == 1.0
    assert FORMS["macro_f1"].over_classes(np.stack([sums, 2 * sums])).shape == (2,)


counts = st.integers(0, 50)


@given(counts, counts, counts)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(tp: int, fp: int, fn: int) -> None:
    value = float(F1(np.array([tp, fp, fn], dtype=float)))
    assert 0.0 <= value <= 1.0
    if tp:
        precision, recall = tp / (tp + fp), tp / (tp + fn)
        assert value == pytest.approx(2 * precision * recall / (precision + recall))


@given(counts, counts, counts, st.integers(1, 9))
def test_f1_does_not_change_when_every_example_is_doubled(
    tp: int, fp: int, fn: int, times: int
) -> None:
    sums = np.array([tp, fp, fn], dtype=float)
    assert F1(sums) == pytest.approx(float(F1(times * sums)))
