import pytest

from harness.analysis.formatting import (
    COST_NAMES,
    cost_text,
    highest,
    label_with_cost,
    labels,
    metric_format,
    worse_side,
)
from harness.analysis.scores import COSTS
from harness.results import Objective
from tests.studies import F1, PERPLEXITY

ROW = {
    "rank": 16,
    "variant": "lora",
    "target_modules": "qv",
    "alpha": 32.0,
    "dropout": 0.0,
    "learning_rate": 0.005,
}


@pytest.mark.parametrize(
    ("value", "text"), [(-0.003, "-0.3"), (0.008, "+0.8"), (-0.0001, "0.0"), (0.0, "0.0")]
)
def test_differences_carry_a_sign_and_one_decimal(value, text):
    assert metric_format(F1).gap(value) == text


def test_figures_follow_the_unit_of_the_metric():
    assert metric_format(F1).show(0.8512) == "85.1"
    assert F1.margin_text == "2 points of F1"
    assert metric_format(PERPLEXITY).show(5.1234) == "5.12"
    assert metric_format(F1).gap_interval(float("nan"), float("nan")) == "unknown"
    assert metric_format(F1).gap_interval(float("nan"), 0.01) == "up to +1.0"
    assert (highest(F1), worse_side(F1)) == ("highest", "below")
    assert (highest(PERPLEXITY), worse_side(PERPLEXITY)) == ("lowest", "above")


@pytest.mark.parametrize(
    ("margin", "scale", "unit", "told", "value"),
    [
        (0.02, 100.0, "points of F1", "2 points of F1", "85.1"),
        (0.01, 100.0, "points of ROUGE-L", "1 point of ROUGE-L", "85.1"),
        (0.5, 1.0, "perplexity", "0.5 perplexity", "0.85"),
        (0.005, 1.0, "bits per byte", "0.005 bits per byte", "0.8512"),
        (2.0, 1.0, "word perplexity", "2 word perplexity", "0.9"),
    ],
)
def test_digits_follow_the_margin(margin, scale, unit, told, value):
    objective = Objective("m", "maximize", margin, "mean", ("all",), scale, unit)
    assert (objective.margin_text, metric_format(objective).show(0.8512)) == (told, value)


def test_labels_name_only_what_tells_twins_apart():
    assert labels([ROW]) == ["r=16 (lora, qv)"]
    twins = labels([ROW, {**ROW, "alpha": 64.0}, {**ROW, "rank": 4}])
    assert twins == ["r=16 (lora, qv, alpha=32)", "r=16 (lora, qv, alpha=64)", "r=4 (lora, qv)"]


def test_a_price_goes_inside_the_label():
    name = "r=16 (lora, qv)"
    assert label_with_cost(name, "parameters", 345_600) == "r=16 (lora, qv, 345,600 parameters)"
    assert label_with_cost(name, "train_seconds", 12.34) == "r=16 (lora, qv, 12.3 s of training)"
    assert label_with_cost(name, "inference_memory", 2**21) == "r=16 (lora, qv, 2.0 MiB to serve)"
    assert label_with_cost(name, "peak_memory", float("inf")) == name


def test_every_cost_has_words():
    assert {*COST_NAMES} == {*COSTS}
    for cost in COSTS:
        assert cost_text(cost, 1.0)
        assert cost_text(cost, float("nan")) == "unknown cost"
