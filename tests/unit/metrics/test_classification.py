import random
from decimal import Decimal

import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from harness.metrics.classification import final_number
from harness.metrics.metric import METRICS

CLASSES = ("ask", "tell", "thank", "leave")


def test_they_are_what_sklearn_says_on_hundreds_of_sets() -> None:
    generator = random.Random(0)
    accuracy, f1 = METRICS.get("accuracy"), METRICS.get("class_f1")
    for _ in range(300):
        size = generator.randrange(1, 30)
        wanted = generator.choices(CLASSES, k=size)
        found = [one if generator.random() < 0.5 else generator.choice(CLASSES) for one in wanted]
        pairs = list(zip(found, wanted, strict=True))
        rows = [accuracy.score(*pair, CLASSES) for pair in pairs]
        assert accuracy.aggregate(rows, CLASSES) == pytest.approx(accuracy_score(wanted, found))
        values = f1.values([f1.score(*pair, CLASSES) for pair in pairs], CLASSES)
        labels = list(CLASSES)
        # A class that neither side names is right all the same here, and 0 or 1 there as one asks.
        expected = f1_score(wanted, found, labels=labels, average=None, zero_division=1.0)
        assert [values[f"{name}.f1"] for name in CLASSES] == pytest.approx(list(expected))
        # Its mean is over the classes that occur, as scikit-learn's is unless told others.
        assert values["macro_f1"] == pytest.approx(f1_score(wanted, found, average="macro"))
        assert values["class_f1"] == pytest.approx(accuracy_score(wanted, found))
        seen = sorted(set(wanted))
        recall = precision_recall_fscore_support(wanted, found, labels=seen, zero_division=1.0)[1]
        by_class = accuracy.values(rows, CLASSES)
        assert [by_class[f"{name}.accuracy"] for name in seen] == pytest.approx(list(recall))


def test_macro_f1_is_what_sklearn_says_on_hundreds_of_sets() -> None:
    generator = random.Random(1)
    metric = METRICS.get("macro_f1")
    for _ in range(300):
        size = generator.randrange(1, 12)
        wanted = generator.choices(CLASSES, weights=(9, 4, 2, 1), k=size)
        found = [one if generator.random() < 0.5 else generator.choice(CLASSES) for one in wanted]
        said = [one if generator.random() < 0.9 else None for one in found]
        rows = [metric.score(*pair, CLASSES) for pair in zip(said, wanted, strict=True)]
        values = metric.values(rows, CLASSES)
        # An answer that cannot be read is no class of its own.
        labels = sorted({*wanted, *said} - {None})
        plain = [one or "" for one in said]
        expected = f1_score(wanted, plain, labels=labels, average="macro")
        assert values["macro_f1"] == metric.aggregate(rows, CLASSES) == pytest.approx(expected)
        micro = f1_score(wanted, plain, labels=labels, average="micro")
        assert values["micro_f1"] == pytest.approx(micro)


def test_an_answer_that_cannot_be_read_is_wrong_for_its_class_alone() -> None:
    assert METRICS.get("accuracy").score(None, "tell", CLASSES[:2]) == (0, 0, 0, 1)
    assert METRICS.get("class_f1").score(None, "tell", CLASSES[:2]) == (0, 0, 0, 0, 0, 1)


def test_an_unknown_class_is_a_fault_of_the_program() -> None:
    for name in ("accuracy", "class_f1"):
        with pytest.raises(ValueError, match="'shout' is none of"):
            METRICS.get(name).score("shout", "tell", CLASSES)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Natalia sold 48/2 = <<48/2=24>>24 clips.\n#### 72", "72"),
        ("#### 1,234.50", "1234.5"),
        ("#### -5 apples, not 6", "-5"),
        ("#### $18.", "18"),
        ("First #### 3 then #### 4", "4"),
        ("She has 3 apples and then 10,000.", "10000"),
        ("It costs 2.50.", "2.5"),
        (".5 of it", "0.5"),
        ("12 of 3,45", "45"),
        ("none", None),
        ("#### none of 3"[:9], None),
    ],
)
def test_the_number_that_a_text_comes_to(text: str, found: str | None) -> None:
    assert final_number(text) == (None if found is None else Decimal(found))


def test_numbers_are_compared_by_value() -> None:
    score = METRICS.get("number_match").score
    assert score("#### 1234.0", "#### 1,234", ()) == (1.0, 1.0)
    assert score("1235", "#### 1,234", ()) == (0.0, 1.0)
    assert score("I do not know", "#### 1,234", ()) == (0.0, 1.0)
    with pytest.raises(ValueError, match="no number in the right answer"):
        score("1", "none", ())


def test_exact_match_keeps_case_and_collapses_white_space() -> None:
    score = METRICS.get("exact_match").score
    assert score(" a  b\n", "a b", ()) == (1.0, 1.0)
    assert score("A b", "a b", ()) == (0.0, 1.0)


def test_units_read_well_behind_a_number() -> None:
    assert METRICS.get("number_match").unit == "points of number match"
    assert METRICS.get("exact_match").unit == "points of exact match"
