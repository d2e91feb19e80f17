from __future__ import annotations

import pytest

from harness.metrics.entities import ENTITY_F1, score
from harness.metrics.metric import METRICS

CLASSES = ("MEDICATION", "CONDITION")


def test_counts_stand_class_after_class() -> None:
    found = [("MEDICATION", "heparin"), ("MEDICATION", "aspirin"), ("CONDITION", "gout")]
    gold = [("MEDICATION", "heparin"), ("CONDITION", "gout"), ("CONDITION", "asthma")]
    assert score(found, gold, CLASSES) == (1.0, 1.0, 0.0, 1.0, 0.0, 1.0)


def test_the_label_counts() -> None:
    found = score([("CONDITION", "heparin")], [("MEDICATION", "heparin")], CLASSES)
    assert found == (0.0, 0.0, 1.0, 0.0, 1.0, 0.0)


def test_repeated_mentions_count_as_often_as_they_stand() -> None:
    gold = [("CONDITION", "gout")] * 3
    assert score([("CONDITION", "gout")], gold, CLASSES)[3:] == (1.0, 0.0, 2.0)
    assert score([("CONDITION", "gout")] * 4, gold, CLASSES)[3:] == (3.0, 1.0, 0.0)


def test_case_counts_and_white_space_does_not() -> None:
    gold = [("CONDITION", "Crohn's  disease")]
    assert score([("CONDITION", " Crohn's disease")], gold, CLASSES)[3:] == (1.0, 0.0, 0.0)
    assert score([("CONDITION", "crohn's disease")], gold, CLASSES)[3:] == (0.0, 1.0, 1.0)


def test_the_order_of_mentions_does_not_matter() -> None:
    gold = [("CONDITION", "gout"), ("MEDICATION", "heparin"), ("CONDITION", "asthma")]
    assert score(gold[::-1], gold, CLASSES) == score(gold, gold, CLASSES)


def test_a_label_that_is_no_class_is_a_fault_of_the_program() -> None:
    with pytest.raises(ValueError, match="DRUG"):
        score([("DRUG", "heparin")], [], CLASSES)


def test_values_by_hand() -> None:
    # medication: tp 3, fp 1, fn 2 -> P 3/4, R 3/5, F1 2/3; condition: tp 1, fp 1, fn 0 -> F1 2/3
    values = ENTITY_F1.values([(2, 1, 2, 1, 0, 0), (1, 0, 0, 0, 1, 0)], CLASSES)
    assert values == pytest.approx(
        {
            "entity_f1": 8 / 12,
            "precision": 4 / 6,
            "recall": 4 / 6,
            "macro_f1": 2 / 3,
            "MEDICATION.f1": 2 / 3,
            "MEDICATION.precision": 3 / 4,
            "MEDICATION.recall": 3 / 5,
            "CONDITION.f1": 2 / 3,
            "CONDITION.precision": 1 / 2,
            "CONDITION.recall": 1.0,
        }
    )


def test_macro_f1_is_the_mean_of_the_classes_that_occur() -> None:
    macro = METRICS.get("entity_macro_f1")
    rows = [(2, 1, 2, 1, 0, 0, 0, 0, 0), (1, 0, 0, 0, 1, 2, 0, 0, 0)]
    values = macro.values(rows, (*CLASSES, "DOSAGE"))
    assert values["entity_macro_f1"] == pytest.approx((2 / 3 + 2 / 5) / 2)
    assert values["micro_f1"] == pytest.approx(8 / 14)
    assert "macro_f1" not in values
    assert macro.aggregate([(0,) * 9], (*CLASSES, "DOSAGE")) == 1.0


def test_nothing_to_find_and_nothing_found_is_perfect() -> None:
    values = ENTITY_F1.values([(0, 0, 0, 0, 0, 0)], CLASSES)
    assert set(values.values()) == {1.0}
