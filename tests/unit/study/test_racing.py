"""Racing against scipy's paired t test, and how often it ends one that is as good."""

import itertools

import numpy as np
import pytest
from scipy.stats import ttest_rel

from harness.results import Objective
from harness.study.racing import MIN_EXAMPLES, error_to_spend, is_behind
from tests.studies import F1, PERPLEXITY, ROUGE

ALPHA = 0.05


def texts(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.ones(len(values))], axis=1)


def test_of_a_mean_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(60):
        leader = rng.uniform(0.3, 0.9, 40)
        candidate = leader - 0.02 + 0.1 * rng.standard_normal(40)
        wanted = ttest_rel(leader, candidate, alternative="greater").pvalue
        found = is_behind(texts(candidate), texts(leader), ROUGE, ALPHA)
        assert found == bool(wanted < ALPHA)
        verdicts.append(found)
    assert 5 < sum(verdicts) < 55  # both happen


def test_less_is_better_turns_it_round() -> None:
    tokens = np.full(50, 40.0)
    low, high = (np.stack([tokens * each, tokens], axis=1) for each in (1.0, 1.5))
    noise = np.random.default_rng(1).normal(0, 1, 50)
    high[:, 0] += noise
    assert is_behind(high, low, PERPLEXITY, ALPHA)
    assert not is_behind(low, high, PERPLEXITY, ALPHA)


@pytest.mark.parametrize("objective", [F1, ROUGE, PERPLEXITY], ids=lambda each: each.name)
def test_equal_answers_are_never_behind(objective: Objective) -> None:
    rng = np.random.default_rng(2)
    given = rng.poisson(2.0, (60, len(objective.columns))).astype(float) + 1
    assert not is_behind(given, given.copy(), objective, 0.4)


def test_few_examples_say_nothing() -> None:
    few = np.linspace(0.5, 0.9, MIN_EXAMPLES - 1)
    assert not is_behind(texts(few - 0.4), texts(few), ROUGE, ALPHA)
    assert is_behind(
        texts(np.linspace(0.1, 0.4, MIN_EXAMPLES)), texts(np.ones(MIN_EXAMPLES)), ROUGE, ALPHA
    )


def test_the_errors_of_all_looks_add_up_to_what_may_be_spent() -> None:
    shares = [0.0, 0.25, 0.5, 0.75, 1.0]
    spent = [error_to_spend(a, b, 0.01) for a, b in itertools.pairwise(shares)]
    assert sum(spent) == pytest.approx(0.01)
    assert spent == sorted(spent)


def test_one_that_is_as_good_is_ended_no_more_often_than_it_says() -> None:
    rng = np.random.default_rng(3)
    ended = 0
    for _ in range(400):
        hard = rng.standard_normal(200)
        both = [texts(0.6 + 0.1 * hard + 0.1 * rng.standard_normal(200)) for _ in range(2)]
        for part in (1, 2, 3):
            rows = np.concatenate([np.arange(200)[at::4] for at in range(part)])
            error = error_to_spend((part - 1) / 4, part / 4, ALPHA)
            if is_behind(both[0][rows], both[1][rows], ROUGE, error):
                ended += 1
                break
    # Of 0.05 the three looks may spend 9/16; two standard errors of 400 draws on top.
    assert ended / 400 <= 0.05 * 9 / 16 + 0.017
