"""The contract of every metric: perfect is best, order does not matter, sums are enough."""

from __future__ import annotations

import itertools
import random
from typing import Any, NamedTuple

import numpy as np
import pytest

from harness.aggregates import FORMS
from harness.data.rows import Span
from harness.metrics.metric import METRICS, Metric
from harness.metrics.text import Likelihood
from harness.results import Objective


class Sample(NamedTuple):
    """References of a few examples, and predictions from perfect to poor, one list each."""

    classes: tuple[str, ...]
    references: list[Any]
    predictions: list[list[Any]]


SAMPLES: dict[str, Sample] = {
    "entity_f1": Sample(
        ("MEDICATION", "CONDITION"),
        [
            [("MEDICATION", "heparin"), ("CONDITION", "gout")],
            [("CONDITION", "gout"), ("CONDITION", "gout")],
            [],
        ],
        [
            [
                [("MEDICATION", "heparin"), ("CONDITION", "gout")],
                [("CONDITION", "gout"), ("CONDITION", "gout")],
                [],
            ],
            [[("MEDICATION", "heparin")], [("CONDITION", "gout")], []],
            [[("CONDITION", "heparin")], [("MEDICATION", "gout")], [("CONDITION", "asthma")]],
            [[], [], []],
        ],
    ),
}
TEXTS = Sample(
    ("text",),
    ["the pain is gone", "give 5 mg", "#### 7"],
    [
        ["the pain is gone", "give 5 mg", "#### 7"],
        ["the pain is back", "give 5 mg", "#### 7"],
        ["no", "give 6 mg", "seven or 8"],
        ["", "", ""],
    ],
)
CHOICES = Sample(
    ("ask", "tell"),
    ["ask", "tell", "tell"],
    [["ask", "tell", "tell"], ["ask", "tell", "ask"], ["tell", "ask", "ask"], [None] * 3],
)
SAMPLES |= {name: TEXTS for name in ("rouge1", "rouge2", "rougeL", "rougeLsum", "exact_match")}
SAMPLES["number_match"] = TEXTS._replace(
    references=["3", "5 mg", "#### 7"],
    predictions=[["3", "5", "7"], ["3", "5", "8"], ["1", "5.5", "8"], ["", "", ""]],
)
SAMPLES |= {"accuracy": CHOICES, "class_f1": CHOICES, "macro_f1": CHOICES}
SAMPLES["entity_macro_f1"] = SAMPLES["entity_f1"]
LIKELIHOODS = Sample(
    ("all",),
    ["the pain is gone", "give 5 mg"],
    [
        [Likelihood(0.5, 4), Likelihood(1.5, 4)],
        [Likelihood(9.0, 4), Likelihood(1.5, 4)],
        [Likelihood(40.0, 4), Likelihood(30.0, 4)],
    ],
)
SAMPLES |= {name: LIKELIHOODS for name in ("perplexity", "word_perplexity", "bits_per_byte")}
SPANS = Sample(
    ("DRUG", "GROUP"),
    [[Span(0, 7, "DRUG", "heparin"), Span(9, 17, "GROUP", "steroids")], []],
    [
        [[Span(0, 7, "DRUG", "heparin"), Span(9, 17, "GROUP", "steroids")], []],
        [[Span(0, 7, "DRUG", "heparin")], []],
        [[Span(20, 27, "DRUG", "aspirin")], [Span(0, 4, "GROUP", "acid")]],
        [[], []],
    ],
)
SAMPLES |= {f"span_f1_{name}": SPANS for name in ("strict", "exact", "partial", "type")}


@pytest.fixture(params=METRICS.names())
def metric(request: pytest.FixtureRequest) -> Metric:
    return METRICS.get(request.param)


@pytest.fixture
def sample(metric: Metric) -> Sample:
    assert metric.name in SAMPLES, f"give '{metric.name}' a sample, so that its contract is tested"
    return SAMPLES[metric.name]


def rows(metric: Metric, sample: Sample, predictions: list[Any]) -> list[tuple[float, ...]]:
    return [
        metric.score(one, gold, sample.classes)
        for one, gold in zip(predictions, sample.references, strict=True)
    ]


def objective(metric: Metric, sample: Sample) -> Objective:
    return Objective(
        metric.name, metric.direction, 0.0, metric.form, sample.classes, metric.scale, metric.unit
    )


def test_it_is_registered_under_its_own_name(metric: Metric) -> None:
    assert METRICS.get(metric.name) is metric


def test_its_form_and_direction_are_known(metric: Metric) -> None:
    assert metric.form in FORMS
    assert metric.direction in {"maximize", "minimize"}
    assert metric.scale > 0
    assert metric.reads in {"answer", "spans"}


def test_a_row_has_one_number_for_each_column(metric: Metric, sample: Sample) -> None:
    width = len(objective(metric, sample).columns)
    for predictions in sample.predictions:
        for row in rows(metric, sample, predictions):
            assert len(row) == width
            assert all(isinstance(number, float) for number in row)


def test_perfect_is_best(metric: Metric, sample: Sample) -> None:
    sign = 1 if metric.direction == "maximize" else -1
    perfect, *others = (
        sign * metric.aggregate(rows(metric, sample, predictions), sample.classes)
        for predictions in sample.predictions
    )
    assert all(perfect > other for other in others)


def test_the_order_of_examples_does_not_matter(metric: Metric, sample: Sample) -> None:
    found = rows(metric, sample, sample.predictions[1])
    values = {
        metric.aggregate(list(order), sample.classes) for order in itertools.permutations(found)
    }
    assert len(values) == 1


def test_sums_of_any_multiset_give_the_objectives_value(metric: Metric, sample: Sample) -> None:
    rng = random.Random(0)
    for predictions in sample.predictions:
        found = rows(metric, sample, predictions)
        for _ in range(20):
            drawn = rng.choices(found, k=len(found))
            sums = np.asarray(drawn).sum(axis=0)
            assert metric.aggregate(drawn, sample.classes) == pytest.approx(
                float(objective(metric, sample).value(sums)), nan_ok=True
            )


def test_values_have_the_metric_its_breakdown_and_the_share_unparsed(
    metric: Metric, sample: Sample
) -> None:
    found = rows(metric, sample, sample.predictions[1])
    values = metric.values(found, sample.classes, [True] + [False] * (len(found) - 1))
    assert values[metric.name] == metric.aggregate(found, sample.classes)
    assert values["unparsed"] == pytest.approx(1 / len(found))
    assert "unparsed" not in metric.values(found, sample.classes)
