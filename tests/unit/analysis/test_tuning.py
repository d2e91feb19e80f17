import math

import pytest

from harness.analysis.ablation import tuned_rate
from tests.simulation import World
from tests.studies import F1, PERPLEXITY, config, empty_results
from tests.studies import sweep as frozen
from tests.tables import Study

RATES = (1e-3, 2e-3, 4e-3)


def tuned(scores, objective=F1, examples=200):
    """The rate chosen where the true scores at `RATES` are these, NaN for a run that failed."""
    study = Study(World(objective, {"validation": examples}, seed=1), frozen(), "tuning")
    keys = {}
    for rate, score in zip(RATES, scores, strict=True):
        cell = config(learning_rate=rate)
        keys[rate] = cell.key
        study.add("tune", cell, "failed" if math.isnan(score) else "complete", score=score)
    return tuned_rate(study.results(), keys)


@pytest.mark.parametrize("objective", [F1, PERPLEXITY], ids=["maximise", "minimise"])
def test_a_rate_that_is_clearly_better_is_taken(objective):
    assert tuned((0.6, 0.7, 0.85), objective) == 4e-3
    assert tuned((0.6, 0.85, 0.7), objective) == 2e-3
    assert tuned((0.85, 0.7, 0.6), objective) == 1e-3


@pytest.mark.parametrize("objective", [F1, PERPLEXITY], ids=["maximise", "minimise"])
def test_of_rates_that_cannot_be_told_apart_the_lowest_is_taken(objective):
    assert tuned((0.6, 0.8495, 0.8505), objective) == 2e-3
    assert tuned((0.8495, 0.85, 0.8505), objective) == 1e-3


def test_more_examples_tell_more_apart():
    assert tuned((0.6, 0.82, 0.84), examples=100) == 2e-3
    assert tuned((0.6, 0.82, 0.84), examples=4000) == 4e-3


def test_failed_runs_do_not_count():
    assert tuned((math.nan, 0.7, math.nan)) == 2e-3
    assert tuned((math.nan, math.nan, math.nan)) is None
    assert tuned_rate(empty_results(), {1e-3: config().key}) is None


def test_one_example_is_no_evidence_for_equality():
    assert tuned((0.01, 0.01, 0.98), examples=1) == 4e-3
