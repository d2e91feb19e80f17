"""What is said of copies, on simulated ones."""

import numpy as np

from benchmarks.copies import told
from benchmarks.simulated import OBJECTIVES, Noise, panel


def test_quiet_copies_are_a_tie_and_one_that_is_none_is_found() -> None:
    rng = np.random.default_rng(0)
    alike = panel("f1", np.full(6, 0.9), 10, 600, Noise(0.005, 0.0), rng)
    found = told(alike.statistics, OBJECTIVES["f1"])
    assert found["tie"]
    assert found["p < 0.05, Holm"] == found["joint bounds that exclude 0"] == 0
    assert found["pairs"] == 15
    odd = panel("f1", np.array([0.9] * 5 + [0.8]), 10, 600, Noise(0.005, 0.0), rng)
    found = told(odd.statistics, OBJECTIVES["f1"])
    assert not found["tie"]
    assert found["p < 0.05, Holm"] >= 5
    assert found["shown worse by more than the margin"] == 1
