"""Studies side by side: against slow sums, and against simulated studies whose truth is known."""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.aggregates import FORMS
from harness.analysis import study_comparison
from harness.analysis.ablation import ablation_table
from tests import studies
from tests.studies import config

if TYPE_CHECKING:
    from harness.results import Objective, StudyResults

MEAN = FORMS["mean"].value


def trained(rng, mean, seeds, easy, *, seed_sd=0.02, spread=0.03, noise=0.08):
    """Statistics (S, E, 2) of one configuration on examples of a difficulty shared by all."""
    liking = spread * rng.standard_normal(len(easy))
    values = mean + seed_sd * rng.standard_normal((seeds, 1)) + easy + liking
    values = values + noise * rng.standard_normal((seeds, len(easy)))
    return np.stack([values, np.ones_like(values)], axis=-1)


@pytest.mark.parametrize("seeds", [(3, 3), (5, 10), (3, 20)])
def test_intervals_of_independent_seeds_cover_the_truth(seeds: tuple[int, int]) -> None:
    rng = np.random.default_rng(seeds)
    covered = []
    for number in range(500):
        easy = 0.1 * rng.standard_normal(40)
        ours, theirs = trained(rng, 0.8, seeds[0], easy), trained(rng, 0.77, seeds[1], easy)
        found = study_comparison.unpaired_seeds_difference(
            ours, theirs, MEAN, resamples=400, seed=3 * number
        )
        covered.append(found.low <= 0.03 <= found.high)
    # 95 %, less two standard errors of the simulation; Behrens and Fisher's are a little wide.
    assert 0.93 <= np.mean(covered) <= 0.995


def test_the_difference_is_that_of_plain_means() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = (rng.integers(0, 5, (seeds, 30, 3)).astype(float) for seeds in (4, 7))

    def f1(one: Any) -> float:
        found, wrong, lost = (sum(float(row[part]) for row in one) for part in range(3))
        return 2 * found / (2 * found + wrong + lost)

    wanted = statistics.fmean(map(f1, ours)) - statistics.fmean(map(f1, theirs))
    found = study_comparison.unpaired_seeds_difference(
        ours, theirs, FORMS["f1"].value, resamples=100
    )
    assert found.value == pytest.approx(wanted)
    assert found.low < wanted < found.high
    assert found.value - found.low == pytest.approx(found.high - found.value)


def test_with_many_seeds_the_width_is_the_textbooks() -> None:
    rng = np.random.default_rng(2)
    easy = 0.1 * rng.standard_normal(80)
    # What neither seed nor example explains is half of it: counted twice, it would show.
    spread = {"seed_sd": 0.005, "spread": 0.01}
    sides = trained(rng, 0.8, 40, easy, **spread), trained(rng, 0.8, 60, easy, **spread)
    variance, twice = 0.0, 0.0
    for side in sides:
        table = side[:, :, 0].tolist()
        rows, columns = [statistics.fmean(row) for row in table], [*zip(*table, strict=True)]
        means, whole = [statistics.fmean(one) for one in columns], statistics.fmean(rows)
        rest = sum(
            (table[s][e] - rows[s] - means[e] + whole) ** 2
            for s in range(len(rows))
            for e in range(len(means))
        )
        freedom = (len(rows) - 1) * (len(means) - 1)
        variance += statistics.variance(rows) / len(rows)
        twice += rest / freedom / (len(rows) * len(means))
    gaps = [
        statistics.fmean(a) - statistics.fmean(b)
        for a, b in zip(sides[0][:, :, 0].T, sides[1][:, :, 0].T, strict=True)
    ]
    variance += statistics.variance(gaps) / len(gaps) - twice
    found = study_comparison.unpaired_seeds_difference(*sides, MEAN, resamples=20_000)
    # Student's quantiles of 39 and more degrees of freedom are up to 3 % above the normal one.
    assert found.high - found.value == pytest.approx(2.0 * math.sqrt(variance), rel=0.04)


def test_examples_are_paired_and_seeds_are_not() -> None:
    rng = np.random.default_rng(3)
    easy = 0.5 * rng.standard_normal(60)
    ours, theirs = trained(rng, 0.8, 5, easy), trained(rng, 0.8, 5, easy)
    found = study_comparison.unpaired_seeds_difference(ours, theirs, MEAN)
    mixed = study_comparison.unpaired_seeds_difference(ours, theirs[:, rng.permutation(60)], MEAN)
    turned = study_comparison.unpaired_seeds_difference(ours, theirs[::-1], MEAN)
    assert mixed.high - mixed.low > 2 * (found.high - found.low)
    assert turned == pytest.approx(found)


@pytest.mark.parametrize("shape", [(1, 20), (5, 1)])
def test_one_seed_or_one_example_has_no_interval(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    ours = trained(rng, 0.8, shape[0], np.zeros(shape[1]))
    found = study_comparison.unpaired_seeds_difference(
        ours, trained(rng, 0.8, 5, np.zeros(shape[1])), MEAN
    )
    assert math.isfinite(found.value)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize("objective", [studies.F1, studies.PERPLEXITY], ids=lambda one: one.name)
def test_levels_stand_to_the_best_other_as_plain_means_do(objective: Objective) -> None:
    results = studies.make_results(objective=objective)
    done = results.trials[results.trials["stage"] == "ablate"]
    means = done.groupby("key")["value"].apply(lambda values: statistics.fmean(values))
    found = study_comparison.factor_levels(results)
    assert [*found] == ["rank", "alpha_ratio", "target_modules", "dropout", "variant"]
    for name, frame in found.items():
        near = ablation_table(results, name)["near_best"]
        assert [*(frame["standing"] == "within")] == [*near]
        for row in frame.to_dict("records"):
            others = [means[key] for key in frame["key"] if key != row["key"]]
            best = max(others) if objective.sign > 0 else min(others)
            wanted = means[row["key"]] - best
            assert row["difference_to_best"] == pytest.approx(wanted)
            ends = sorted(objective.sign * end for end in (row["lower"], row["upper"]))
            inside = ends[0] <= objective.sign * wanted <= ends[1]
            assert inside
            if row["standing"] == "within":
                assert ends[0] >= -objective.margin
            if row["standing"] == "worse":
                assert objective.sign * wanted < -objective.margin
    assert set(found["target_modules"]["standing"]) >= {"within", "worse"}


def changed(results: StudyResults, name: str, **paths: Any) -> StudyResults:
    """The study under another name, with settings such as `model__quantization`."""
    sweep = {**results.sweep}
    for path, value in paths.items():
        section, _, key = path.partition("__")
        sweep[section] = {**sweep[section], key: value} if key else value
    return dataclasses.replace(results, name=name, sweep=sweep)


def test_votes_are_counted_level_by_level() -> None:
    whole, other = studies.make_results(), studies.make_results(name="other", seed=5)
    cells = [dict(one) for one in other.attributes["cells"]]
    for cell in cells:
        if cell["factor"] == "rank":
            cell["level"] = float(cell["level"])  # as another YAML may have it
    cells = [one for one in cells if (one["factor"], one["level"]) != ("rank", 8.0)]
    noted = {**other.attributes, "cells": cells}
    three = [whole, dataclasses.replace(other, attributes=noted), studies.empty_results()]
    found = study_comparison.best_level_votes(three, "rank")
    assert [*found["level"]] == [4.0, 8.0, 16.0, 32.0]
    for row in found.to_dict("records"):
        standings = [
            one["standing"]
            for study in three[:2]
            for one in study_comparison.factor_levels(study)["rank"].to_dict("records")
            if one["level"] == row["level"]
        ]
        assert len(standings) == (1 if row["level"] == 8 else 2)
        assert {name: standings.count(name) for name in study_comparison.STANDINGS} == {
            name: row[name] for name in study_comparison.STANDINGS
        }


def test_factors_of_one_study_alone_are_not_shared() -> None:
    whole = studies.make_results()
    cells = [one for one in whole.attributes["cells"] if one["factor"] in {"rank", "dropout"}]
    few = dataclasses.replace(whole, attributes={**whole.attributes, "cells": cells})
    assert study_comparison.shared_factors([whole, few]) == ("rank", "dropout")
    assert study_comparison.shared_factors([whole, studies.one_trial_results()]) == ()


def confirmed(
    name: str,
    score: float,
    *,
    seeds: int = 10,
    objective: Objective = studies.F1,
    **paths: Any,
) -> StudyResults:
    """A study with one finalist of that true score, 600 test examples."""
    scores = {config(): [score] * seeds}
    results = studies.confirm_results(scores, examples=600, objective=objective)
    return changed(results, name, **paths)


KEY = config().key
PLAIN = {"model__quantization": "none", "training__epochs": 3}


def one_pair(first: StudyResults, second: StudyResults) -> study_comparison.Pair:
    (found,) = study_comparison.compare_picks([first, second], {first.name: KEY, second.name: KEY})
    return found


@pytest.mark.parametrize(
    ("score", "verdict"), [(0.85, "supported"), (0.70, "contradicted"), (0.83, "not decided")]
)
def test_four_bits_against_a_plain_base_is_a_test_of_qlora(score: float, verdict: str) -> None:
    plain = confirmed("plain", 0.85, seeds=6, **PLAIN)
    coarse = confirmed("coarse", score, **{**PLAIN, "model__quantization": "nf4"})
    found = one_pair(plain, coarse)
    assert (found.first, found.second) == ("coarse", "plain")
    assert (found.claim, found.verdict) == ("qlora_free", verdict)
    assert found.subjects == {"model.quantization": ("nf4", "none")}
    assert (found.seeds_first, found.seeds_second, found.examples) == (10, 6, 600)
    means = [one.trials["test"].astype(float).mean() for one in (coarse, plain)]
    assert found.difference == pytest.approx(means[0] - means[1])
    assert found.low < score - 0.85 < found.high


@pytest.mark.parametrize(("score", "verdict"), [(0.90, "supported"), (0.70, "contradicted")])
def test_where_less_is_better_more_is_worse(score: float, verdict: str) -> None:
    settings = {"objective": studies.PERPLEXITY, "training__epochs": 3}
    plain = confirmed("plain", 0.85, **settings, model__quantization="none")
    found = one_pair(plain, confirmed("b", score, **settings, model__quantization="nf4"))
    assert found.verdict == verdict
    assert (found.difference > 0) == (verdict == "contradicted")


def test_longer_training_tests_three_epochs_if_the_shorter_had_three() -> None:
    short = confirmed("short", 0.80, **PLAIN)
    long = confirmed("long", 0.90, **{**PLAIN, "training__epochs": 6})
    found = one_pair(short, long)
    assert (found.first, found.claim, found.verdict) == ("long", "three_epochs", "contradicted")
    longer = confirmed("longer", 0.90, **{**PLAIN, "training__epochs": 9})
    found = one_pair(long, longer)
    assert (found.first, found.claim, found.verdict) == ("longer", "three_epochs", "")
    assert math.isfinite(found.low)


def test_where_more_than_one_setting_differs_no_claim_is_tested() -> None:
    plain = confirmed("plain", 0.85, **PLAIN)
    other = confirmed("b", 0.85, model__quantization="nf4", training__epochs=3)
    other = changed(other, "b", training__batch_size=64, training__score_batch_size=7)
    found = one_pair(plain, other)
    assert [*found.others] == ["training.batch_size"]
    assert (found.claim, found.verdict) == ("qlora_free", "")
    base = one_pair(plain, confirmed("c", 0.85, **PLAIN, model__name="another"))
    assert (base.claim, base.verdict) == ("", "")
    assert math.isfinite(base.low)


def test_a_setting_that_an_older_study_lacks_is_off() -> None:
    plain = confirmed("plain", 0.85, **PLAIN)
    newer = confirmed("newer", 0.85, **PLAIN, training__packing=False, model__revision=None)
    assert study_comparison.compare_picks([plain, newer], {}) == []


def test_other_tasks_and_metrics_are_not_compared() -> None:
    plain = confirmed("plain", 0.85, **PLAIN)
    other = confirmed("other", 0.85, model__quantization="nf4", task="another")
    assert study_comparison.compare_picks([plain, other], {"plain": KEY, "other": KEY}) == []
    metric = dataclasses.replace(plain.objective, name="another")
    other = changed(dataclasses.replace(plain, objective=metric), "b", model__quantization="nf4")
    assert study_comparison.compare_picks([plain, other], {"plain": KEY, "b": KEY}) == []


def test_what_stands_in_the_way_is_said() -> None:
    plain = confirmed("plain", 0.85, **PLAIN)
    other = confirmed("other", 0.85, model__quantization="nf4", training__epochs=3)
    named = other.examples.assign(example="new-" + other.examples["example"].astype(str))
    renamed = dataclasses.replace(other, examples=named)
    assert "ids of their test examples" in one_pair(plain, renamed).obstacle
    stamped = [
        dataclasses.replace(one, provenance={"task_digest": one.name}) for one in (plain, other)
    ]
    assert "the task changed" in one_pair(*stamped).obstacle
    empty = changed(studies.empty_results(), "empty", model__quantization="nf4")
    found = one_pair(plain, empty)
    assert found.obstacle == "empty has no configuration scored on test"
    assert math.isnan(found.difference)
    assert found.verdict == ""


def test_intervals_of_several_pairs_hold_together() -> None:
    three = [
        confirmed(name, 0.85, **{**PLAIN, "model__name": name}) for name in ("one", "two", "three")
    ]
    keys = {one.name: KEY for one in three}
    alone, together = (
        study_comparison.compare_picks(three[:2], keys),
        study_comparison.compare_picks(three, keys),
    )
    assert len(together) == 3
    assert together[0].difference == alone[0].difference
    wider = (together[0].high - together[0].low) / (alone[0].high - alone[0].low)
    assert 1.15 < wider < 1.45  # normal quantiles of 1 - 0.05/6 and 0.975: 1.22
