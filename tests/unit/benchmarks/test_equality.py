import numpy as np
import pytest
from scipy.stats import ttest_rel

from benchmarks.equality import Difference, configurations


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    drawn = np.random.default_rng(0).normal(size=(2, 10))
    found = Difference.of([*drawn[0]], [*drawn[1]])
    wanted = ttest_rel(drawn[1], drawn[0]).confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(drawn[1] - drawn[0]))
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert found.largest == pytest.approx(np.abs(drawn[1] - drawn[0]).max())


def test_runs_are_configurations_in_turn_and_no_two_are_the_same() -> None:
    found = configurations(12)
    assert len(set(found)) == 12
    assert [each.seed for each in found] == [*range(12)]
    assert found[5:] == configurations(7, first=5)
    assert {each.variant for each in found} == {"lora", "dora", "rslora", "lora_plus"}
