from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np
import pytest
from nervaluate.evaluator import Evaluator

from harness.metrics.entities import ENTITY_F1, score_mentions
from harness.metrics.metric import METRICS

CLASSES = ("MEDICATION", "CONDITION")


def test_counts_stand_class_after_class() -> None:
    found = [("MEDICATION", "heparin"), ("MEDICATION", "aspirin"), ("CONDITION", "gout")]
    gold = [("MEDICATION", "heparin"), ("CONDITION", "gout"), ("CONDITION", "asthma")]
    assert score_mentions(found, gold, CLASSES) == (1.0, 1.0, 0.0, 1.0, 0.0, 1.0)


def test_the_label_counts() -> None:
    found = score_mentions([("CONDITION", "heparin")], [("MEDICATION", "heparin")], CLASSES)
    assert found == (0.0, 0.0, 1.0, 0.0, 1.0, 0.0)


def test_repeated_mentions_count_as_often_as_they_stand() -> None:
    gold = [("CONDITION", "gout")] * 3
    assert score_mentions([("CONDITION", "gout")], gold, CLASSES)[3:] == (1.0, 0.0, 2.0)
    assert score_mentions([("CONDITION", "gout")] * 4, gold, CLASSES)[3:] == (3.0, 1.0, 0.0)


def test_case_counts_and_white_space_does_not() -> None:
    gold = [("CONDITION", "Crohn's  disease")]
    assert score_mentions([("CONDITION", " Crohn's disease")], gold, CLASSES)[3:] == (
        1.0,
        0.0,
        0.0,
    )
    assert score_mentions([("CONDITION", "crohn's disease")], gold, CLASSES)[3:] == (0.0, 1.0, 1.0)


def test_the_order_of_mentions_does_not_matter() -> None:
    gold = [("CONDITION", "gout"), ("MEDICATION", "heparin"), ("CONDITION", "asthma")]
    assert score_mentions(gold[::-1], gold, CLASSES) == score_mentions(gold, gold, CLASSES)


def test_a_label_that_is_no_class_is_a_fault_of_the_program() -> None:
    with pytest.raises(ValueError, match="DRUG"):
        score_mentions([("DRUG", "heparin")], [], CLASSES)


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


TAGS = ("DRUG", "BRAND", "GROUP")
#: Our names and nervaluate's.
SCHEMES = {"strict": "strict", "exact": "exact", "partial": "partial", "type": "ent_type"}


class Span(NamedTuple):
    start: int
    end: int
    label: str


Case = tuple[list[Span], list[Span]]


def nervaluate(cases: list[Case]) -> dict[str, Any]:
    """Its results; its ends are inclusive, and it pairs predictions in the order given."""

    def plain(spans: list[Span]) -> list[dict[str, Any]]:
        return [{"label": s.label, "start": s.start, "end": s.end - 1} for s in sorted(spans)]

    found, wanted = ([plain(one[side]) for one in cases] for side in (0, 1))
    return dict(Evaluator(wanted, found, tags=list(TAGS), loader="dict").evaluate())


def rows(scheme: str, cases: list[Case]) -> list[tuple[float, ...]]:
    return [METRICS.get(f"span_f1_{scheme}").score(*one, TAGS) for one in cases]


def ours(scheme: str, cases: list[Case]) -> dict[str, float]:
    return METRICS.get(f"span_f1_{scheme}").values(rows(scheme, cases), TAGS)


def drawn(rng: random.Random, *, apart: bool = False, long: bool = False) -> list[Span]:
    """Some spans; they may meet, hold and repeat each other unless they are to be apart."""
    spans: list[Span] = []
    at = 0
    for _ in range(rng.choice((0, 1, 1, 2, 3, 5))):
        start = at + rng.randrange(3) if apart else rng.randrange(20)
        at = start + rng.randint(1, 400 if long else 6)
        spans.append(Span(start, at, rng.choice(TAGS)))
        if not apart and rng.random() < 0.2:
            spans.append(rng.choice(spans))
    rng.shuffle(spans)
    return spans


def case(rng: random.Random, **shape: bool) -> Case:
    """A reference, and a prediction that has some of it and some of its own."""
    wanted, found = drawn(rng, **shape), drawn(rng, **shape)
    if rng.random() < 0.7:
        found = rng.sample(found, len(found) // 2) + [one for one in wanted if rng.random() < 0.7]
    return found, wanted


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", [{}, {"apart": True}, {"long": True}], ids=str)
def test_the_whole_is_what_nervaluate_says(scheme: str, shape: dict[str, bool]) -> None:
    rng = random.Random(0)
    sets = [[case(rng, **shape) for _ in range(rng.randint(1, 4))] for _ in range(300)]
    seen = set()
    for cases in sets:
        theirs = nervaluate(cases)["overall"][SCHEMES[scheme]]
        values = ours(scheme, cases)
        sums = np.sum(rows(scheme, cases), axis=0).reshape(-1, 3).sum(axis=0)
        credit = theirs.correct + theirs.partial / 2
        assert sums.tolist() == [credit, theirs.actual - credit, theirs.possible - credit]
        if theirs.actual or theirs.possible:
            assert values[f"span_f1_{scheme}"] == pytest.approx(theirs.f1)
            seen.add(round(theirs.f1, 3))
        else:
            assert values[f"span_f1_{scheme}"] == 1.0
        if theirs.actual and theirs.possible:
            assert values["precision"] == pytest.approx(theirs.precision)
            assert values["recall"] == pytest.approx(theirs.recall)
    assert len(seen) > 20


def agreeing(rng: random.Random, *, one_label: bool) -> Case:
    """Mentions far from each other, each of them met by one prediction at most."""
    found, wanted = [], []
    for place in range(0, 60, 10):
        label, start, end = rng.choice(TAGS), place + 2, place + rng.randint(4, 8)
        if rng.random() < 0.8:
            wanted.append(Span(start, end, label))
        if rng.random() < 0.8:
            other = label if one_label or rng.random() < 0.6 else rng.choice(TAGS)
            found.append(Span(start + rng.choice((0, 0, -1, 1)), end, other))
    return found, wanted


@pytest.mark.parametrize(
    ("scheme", "one_label"),
    [("strict", False), ("type", False), *((name, True) for name in SCHEMES)],
)
def test_by_class_it_is_what_nervaluate_says_by_tag_where_the_two_agree_by_definition(
    scheme: str, one_label: bool
) -> None:
    rng = random.Random(1)
    for _ in range(200):
        cases = [agreeing(rng, one_label=one_label) for _ in range(2)]
        values = ours(scheme, cases)
        for tag, theirs in nervaluate(cases)["entities"].items():
            assert values[f"{tag}.f1"] == pytest.approx(theirs[SCHEMES[scheme]].f1)


def test_the_table_of_the_definition() -> None:
    # the six scenarios of nervaluate's README, one text each, and what they come to together
    texts: list[Case] = [
        ([], [Span(0, 7, "BRAND")]),  # III: tikosyn missed
        ([Span(0, 7, "BRAND")], []),  # II: healthy is none
        ([Span(0, 11, "DRUG")], [Span(3, 11, "DRUG")]),  # V: of warfarin, warfarin
        ([Span(0, 11, "BRAND")], [Span(0, 11, "DRUG")]),  # IV: propranolol
        ([Span(0, 9, "DRUG")], [Span(0, 9, "DRUG")]),  # I: phenytoin
        ([Span(0, 19, "DRUG")], [Span(5, 19, "GROUP")]),  # VI: oral contraceptives
    ]
    right = {
        "type": (0, 0, 1, 0, 1, 0),
        "partial": (0, 0, 0.5, 1, 1, 0.5),
        "exact": (0, 0, 0, 1, 1, 0),
        "strict": (0, 0, 0, 0, 1, 0),
    }
    for scheme, credits in right.items():
        table = np.array(rows(scheme, texts)).reshape(len(texts), len(TAGS), 3).sum(axis=1)
        assert table[:, 0].tolist() == list(credits)
        assert (table[:, 0] + table[:, 1]).tolist() == [0, 1, 1, 1, 1, 1]
        assert (table[:, 0] + table[:, 2]).tolist() == [1, 0, 1, 1, 1, 1]
        assert ours(scheme, texts)[f"span_f1_{scheme}"] == pytest.approx(sum(credits) / 5)


def test_credit_is_the_references_and_what_a_prediction_lacks_its_own() -> None:
    drug, brand = [Span(0, 9, "DRUG")], [Span(0, 9, "BRAND")]
    longer = [Span(0, 12, "DRUG")]
    none = (0.0, 0.0, 0.0)
    assert rows("exact", [(drug, brand)])[0] == (*none, 1.0, 0.0, 0.0, *none)
    assert rows("strict", [(drug, brand)])[0] == (0.0, 1.0, 0.0, 0.0, 0.0, 1.0, *none)
    assert rows("partial", [(longer, brand)])[0] == (0.0, 0.5, 0.0, 0.5, 0.0, 0.5, *none)


def test_a_prediction_takes_the_span_that_is_its_own() -> None:
    nested = [Span(0, 4, "DRUG"), Span(0, 9, "DRUG"), Span(5, 9, "GROUP")]
    for scheme in SCHEMES:
        assert ours(scheme, [(nested[::-1], nested)])[f"span_f1_{scheme}"] == 1.0


def test_ends_are_exclusive() -> None:
    for scheme in SCHEMES:
        assert rows(scheme, [([Span(0, 4, "DRUG")], [Span(4, 8, "DRUG")])])[0][:3] == (0, 1, 1)


def test_a_label_that_is_no_class_is_a_fault_of_the_program_of_entity_spans() -> None:
    with pytest.raises(ValueError, match="'HERB'"):
        rows("strict", [([Span(0, 4, "HERB")], [])])
