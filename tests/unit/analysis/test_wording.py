import pytest

from harness.analysis.formatting import BY_COST, cost_words, labels, priced
from harness.analysis.scores import COSTS
from harness.analysis.wording import MetricFormat
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
    ("value", "text"), [(-0.003, "-0.3"), (0.008, "+0.8"), (-0.0001, "+0.0"), (0.0, "+0.0")]
)
def test_differences_carry_a_sign_and_one_decimal(value, text):
    assert MetricFormat(F1).signed(value) == text


def test_figures_follow_the_unit_of_the_metric():
    assert MetricFormat(F1).plain(0.8512) == "85.1"
    assert MetricFormat(F1).margin == "2 points of F1"
    assert MetricFormat(PERPLEXITY).plain(5.1234) == "5.12"
    assert MetricFormat(PERPLEXITY).behind == "above"
    assert MetricFormat(F1).range(float("nan"), 1.0) == "unknown"


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
    show = MetricFormat(Objective("m", "maximize", margin, "mean", ("all",), scale, unit))
    assert (show.margin, show.plain(0.8512)) == (told, value)


def test_labels_name_only_what_tells_twins_apart():
    assert labels([ROW]) == ["r=16 (lora, qv)"]
    twins = labels([ROW, {**ROW, "alpha": 64.0}, {**ROW, "rank": 4}])
    assert twins == ["r=16 (lora, qv, alpha=32)", "r=16 (lora, qv, alpha=64)", "r=4 (lora, qv)"]


def test_a_price_goes_inside_the_label():
    name = "r=16 (lora, qv)"
    assert priced(name, "parameters", 345_600) == "r=16 (lora, qv, 345,600 parameters)"
    assert priced(name, "train_seconds", 12.34) == "r=16 (lora, qv, 12.3 s of training)"
    assert priced(name, "inference_memory", 2**21) == "r=16 (lora, qv, 2.0 MiB to serve)"
    assert priced(name, "peak_memory", float("inf")) == name


def test_every_cost_has_words():
    assert {*BY_COST} == {*COSTS}
    for cost in COSTS:
        assert cost_words(cost, 1.0)
        assert cost_words(cost, float("nan")) == "unknown cost"
