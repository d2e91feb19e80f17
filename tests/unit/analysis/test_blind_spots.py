"""What a study could not have seen, from its rows."""

import dataclasses

import numpy as np
import pytest

from harness.analysis.limitations import RARE, blind_spots, detectable
from harness.analysis.verdict import standing
from harness.results import StudyResults
from tests.studies import PERPLEXITY, config, confirm_results, empty_results, make_results


def noisy(gap: float, seed: int) -> StudyResults:
    rng = np.random.default_rng(seed)
    scores = {
        config(rank=8): [*(0.80 + 0.012 * rng.standard_normal(5))],
        config(rank=32): [*(0.80 + gap + 0.012 * rng.standard_normal(5))],
    }
    return confirm_results(scores, examples=150, looks=(5,), seed=seed)


def test_what_is_called_detectable_is_found_in_most_studies() -> None:
    sizes = [detectable(now) for seed in range(6) if (now := standing(noisy(0.0, seed)))]
    size = float(np.mean(sizes))
    assert 0.01 < size < 0.12
    found = 0
    for seed in range(20):
        now = standing(noisy(size, 100 + seed))
        assert now is not None
        found += bool((now.joint.low > 0).any())
    assert found >= 12  # 16 are expected


def test_the_difference_is_told_with_seeds_and_examples() -> None:
    results = noisy(0.0, 1)
    (said,) = [line for line in blind_spots(results, standing(results)) if "missed" in line]
    assert "points of F1" in said
    assert "5 seeds and 150 examples" in said
    assert not [line for line in blind_spots(results, None) if "missed" in line]


@pytest.mark.parametrize(("examples", "rare"), [(10, True), (200, False)])
def test_rare_classes_are_named(examples: int, rare: bool) -> None:
    scores = {config(rank=rank): [0.8, 0.81] for rank in (8, 32)}
    results = confirm_results(scores, examples=examples)
    said = [line for line in blind_spots(results, None) if f"fewer than {RARE} mentions" in line]
    assert bool(said) == rare
    if rare:
        rows = results.examples
        rows = rows[(rows["trial"] == 0) & (rows["split"] == "test")]
        count = int(rows["DOSAGE.tp"].sum() + rows["DOSAGE.fn"].sum())
        assert f"DOSAGE ({count})" in said[0]


def test_metrics_without_classes_have_no_rare_ones() -> None:
    scores = {config(rank=rank): [0.8, 0.81] for rank in (8, 32)}
    results = confirm_results(scores, examples=10, objective=PERPLEXITY)
    assert not [line for line in blind_spots(results, None) if "mentions" in line]


def test_what_was_never_scored_is_told() -> None:
    study = make_results(trials=5, sizes={"validation": 20, "test": 20})
    assert not [line for line in blind_spots(study, None) if "not known" in line]
    bare = dataclasses.replace(study, baselines=study.baselines.iloc[:0])
    assert any("was not scored" in line for line in blind_spots(bare, None))
    asked = dataclasses.replace(study, sweep={**study.sweep, "baselines": {"full": True}})
    assert any("Full fine-tuning has no" in line for line in blind_spots(asked, None))
    assert blind_spots(empty_results(), None) == []


def test_cells_with_one_seed_are_counted() -> None:
    study = make_results(
        trials=5, sizes={"validation": 20, "test": 20}, stages=("search", "ablate")
    )
    trials = study.trials.copy()
    first = trials[trials["stage"] == "ablate"].drop_duplicates("key").head(2)["key"]
    lost = trials["key"].isin(first) & (trials["stage"] == "ablate") & (trials["seed"] > 2000)
    trials.loc[lost, "state"] = "failed"
    (said,) = [
        line
        for line in blind_spots(dataclasses.replace(study, trials=trials), None)
        if "one complete seed" in line
    ]
    assert said.startswith("2 cells of the ablation have")
