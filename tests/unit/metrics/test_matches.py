from decimal import Decimal

import pytest

from harness.metrics.classification import final_number
from harness.metrics.metric import METRICS


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
