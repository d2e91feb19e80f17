"""The simulated studies have the truth that is said, and are judged by a study's own rule."""

import numpy as np
import pytest

from benchmarks import calibration, calibration_report
from benchmarks.calibration import Design
from benchmarks.calibration_report import Outcome
from benchmarks.simulated import OBJECTIVES, Noise, panel, truth
from harness.analysis.bootstrap import scores
from harness.analysis.scores import metric_function


@pytest.mark.parametrize("metric", ["f1", "rouge", "perplexity"])
def test_scores_scatter_around_the_truth(metric: str) -> None:
    rng = np.random.default_rng(0)
    given = np.array([0.9, 0.8])
    found = panel(metric, given, 60, 1500, Noise(0.01, 0.5), rng)
    table = scores(found.statistics, metric_function(OBJECTIVES[metric]))
    wanted = np.array([truth(metric, each) for each in given])
    scale = 8 if metric == "perplexity" else 1
    assert table.mean(axis=1) == pytest.approx(wanted, abs=0.01 * scale)
    assert 0.007 * scale < table.std(axis=1).mean() < 0.016 * scale
    assert 0.2 < np.corrcoef(table)[0, 1] < 0.9


def test_a_clear_winner_is_picked_at_the_first_look_and_nothing_wrong() -> None:
    clear = Design((-5.0, 0.0), Noise(0.005), (5, 10), 200)
    for number in range(3):
        assert calibration.study(clear, 200, number) == Outcome(True, False, False, 5)


def test_what_is_too_noisy_is_not_decided() -> None:
    noisy = Design((0.0, 0.0), Noise(0.2), (3,), 100)
    found = [calibration.study(noisy, 200, number) for number in range(3)]
    assert not any(one.picked for one in found)
    assert calibration_report.picks(found)["picked"] == 0


def test_rates_are_shares_over_all_studies() -> None:
    found = [{"a": [True, False]}, {"a": [True, True]}]
    assert calibration_report.rates(found) == {"a": 0.75}
    told = calibration_report.markdown(
        {"machine": {"cores": 2}, "studies": 2, "draws": 10, "set": {"3 seeds": {"a": 0.75}}}, "x"
    )
    assert "| 3 seeds | 75.0 % |" in told


def test_coverage_names_each_way_and_kind() -> None:
    found = calibration.coverage("f1", 3, 100, 0)
    assert set(found) == {
        f"{kind}, {way}"
        for kind in ("score", "difference")
        for way in ("ours", "percentile", "bca")
    }
    assert all(len(each) == 3 for each in found.values())


def test_racing_ends_what_is_far_behind_and_hardly_what_would_have_won() -> None:
    far = calibration_report.rates(
        [calibration.raced("f1", 5.0, 0.01, number) for number in range(10)]
    )
    assert far["ended"] > 0.6
    assert far["examples spared"] > 0.2
    equal = calibration_report.rates([calibration.raced("f1", 0.0, 0.01, n) for n in range(20)])
    assert equal["would have won"] <= 0.02
    assert equal["ended"] < 0.1
