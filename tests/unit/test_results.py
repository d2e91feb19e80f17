"""An objective turns stored statistics back into its values, in whatever shape they come."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.results import Objective, StudyResults

F1 = Objective("entity_f1", "maximize", 0.02, "f1", ("MEDICATION", "DOSAGE"), 100, "points of F1")
LOSS = Objective("perplexity", "minimize", 0.1, "perplexity", ("all",))


def test_columns_are_classes_by_parts() -> None:
    assert F1.columns == (
        "MEDICATION.tp", "MEDICATION.fp", "MEDICATION.fn",
        "DOSAGE.tp", "DOSAGE.fp", "DOSAGE.fn",
    )  # fmt: skip
    assert LOSS.columns == ("all.nll", "all.tokens")


def test_micro_f1_pools_the_classes_and_is_not_their_mean() -> None:
    sums = np.array([9.0, 1, 0, 0, 0, 5])
    assert F1.value(sums) == pytest.approx(18 / (18 + 1 + 5))
    assert F1.by_class(sums) == pytest.approx([18 / 19, 0.0])


def test_a_class_that_is_not_there_and_not_said_is_perfect() -> None:
    assert F1.by_class(np.array([0.0, 0, 0, 1, 1, 0]))[0] == 1.0


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_any_leading_shape(shape: tuple[int, ...]) -> None:
    sums = np.ones((*shape, 6))
    assert F1.value(sums).shape == shape
    assert F1.by_class(sums).shape == (*shape, 2)


def test_sign() -> None:
    assert (F1.sign, LOSS.sign) == (1.0, -1.0)


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 6), min_size=1, max_size=20))
def test_the_order_of_the_examples_does_not_matter(rows: list[tuple[int, ...]]) -> None:
    table = np.array(rows, dtype=float)
    assert F1.value(table.sum(axis=0)) == F1.value(table[::-1].sum(axis=0))


def test_statistics_of_one_trial_on_one_split() -> None:
    columns = ["trial", "split", "example", "prediction", "unparsed", *F1.columns]
    rows = [
        (0, "validation", "a", "x", False, 1, 0, 0, 0, 0, 0),
        (0, "test", "b", "x", False, 2, 0, 0, 0, 0, 0),
        (1, "validation", "a", "x", False, 3, 0, 0, 0, 0, 0),
        (0, "validation", "c", "x", True, 0, 0, 4, 0, 0, 0),
    ]
    none = pd.DataFrame()
    results = StudyResults(
        "one", F1, none, none, pd.DataFrame(rows, columns=columns), none, none, {}, {}, {}
    )
    found = results.statistics(0, "validation")
    assert list(found.index) == ["a", "c"]
    assert list(found.columns) == list(F1.columns)
    assert found["MEDICATION.tp"].tolist() == [1, 0]
    assert results.statistics(7, "validation").empty
