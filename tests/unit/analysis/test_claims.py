"""The claims themselves: what they take for support, and that each can be told in words."""

import math

import pytest

from harness.analysis.claim_tests import arm_label
from harness.analysis.claims import CENTRE, CLAIMS, FULL, Claim, Range

SWEEP = {"space": {"rank": [4, 8, 16, 64]}, "training": {"epochs": 6}}


def claim(holds: Range, fails: Range | None) -> Claim:
    return Claim("one", "a sentence", "a source", "a rule", holds, fails, lambda _: ())


@pytest.mark.parametrize(
    ("holds", "fails", "low", "high", "verdict"),
    [
        (Range(-1, 1), None, -0.9, 1.0, "supported"),
        (Range(-1, 1), None, -1.1, 0.0, "not decided"),
        (Range(-1, 1), None, 1.01, 3.0, "contradicted"),
        (Range(-1, 1), None, -3.0, -1.01, "contradicted"),
        (Range(-1, 1), None, -3.0, 3.0, "not decided"),
        (Range(low=0), Range(high=1), 0.1, 0.4, "supported"),  # helps, however little
        (Range(low=0), Range(high=1), -0.1, 0.4, "contradicted"),  # not by what matters
        (Range(low=0), Range(high=1), -0.1, 1.4, "not decided"),
        (Range(low=0), None, -math.inf, math.inf, "not decided"),
        (Range(low=0), None, math.nan, math.nan, "not decided"),
    ],
)
def test_a_verdict_is_where_the_interval_lies(
    holds: Range, fails: Range | None, low: float, high: float, verdict: str
) -> None:
    assert claim(holds, fails).verdict(low, high) == verdict


def test_every_claim_has_a_name_a_source_and_a_way_to_be_tested() -> None:
    assert len({each.name for each in CLAIMS}) == len(CLAIMS) == 15
    for each in CLAIMS:
        assert each.sentence, each.name
        assert each.source, each.name
        assert each.rule, each.name
        assert each.comparisons(SWEEP) or each.otherwise, each.name


def test_what_a_sweep_cannot_test_names_another_study() -> None:
    short = {**SWEEP, "training": {"epochs": 2.75}}
    found = {each.name: each.comparisons(short) for each in CLAIMS}
    assert [name for name, asked in found.items() if not asked] == ["qlora_free", "three_epochs"]
    (only,) = next(each for each in CLAIMS if each.name == "three_epochs").comparisons(SWEEP)
    assert only.to == {"budget": 0.5}


def test_high_ranks_are_those_of_the_space() -> None:
    found = {each.name: each.comparisons(SWEEP) for each in CLAIMS}
    assert found["r8_99"][0].to == {"rank": 64}
    assert found["rslora_high_rank"][0].of == {"variant": "rslora", "rank": 64}


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        (FULL, "full fine-tuning"),
        (CENTRE, "the incumbent"),
        ({"alpha_ratio": 2.0}, "alpha=2r"),
        ({"variant": "rslora", "rank": 64}, "rslora r=64"),
        ({"variant": "lora", "learning_rate": 2e-4}, "lora rate 0.0002"),
        ({"budget": 0.5}, "3 epochs"),
        ({"layers": "upper_half"}, "layers=upper_half"),
    ],
)
def test_arms_in_words(arm: dict[str, object], words: str) -> None:
    assert arm_label(arm, epochs=6) == words
