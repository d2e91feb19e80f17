import tracemalloc

import numpy as np
import pytest
from scipy import stats

from harness.aggregates import FORMS
from harness.analysis import bootstrap
from harness.analysis import bootstrap as resampling
from harness.analysis.multiple_comparisons import intervals, p_values, pair_matrix
from harness.analysis.scores import metric_function
from harness.results import Objective

F1 = FORMS["f1"].value
MEAN = FORMS["mean"].value


def counts(configurations=3, seeds=4, examples=7, width=3):
    rng = np.random.default_rng(1)
    return rng.poisson(2.0, (configurations, seeds, examples, width)).astype(float)


def means(values):
    """Statistics of the form "mean" for scores of each (configuration, seed, example)."""
    return np.stack([values, np.ones_like(values)], axis=-1)


def test_weights_of_a_resample_add_up_to_the_number_of_examples():
    weights = bootstrap.example_weights(9, 50)
    assert weights.shape == (50, 9)
    assert (weights.sum(axis=1) == 9).all()
    assert abs(bootstrap.example_weights(9, 20_000).mean(axis=0) - 1).max() < 0.05


def test_vectorised_resamples_equal_a_plain_loop():
    statistics, weights = counts(), bootstrap.example_weights(7, 25)
    statistics[1, 2] = np.nan
    found = bootstrap.resampled_scores(statistics, F1, weights)
    for c in range(3):
        for s in range(4):
            for b in range(25):
                tp = fp = fn = 0.0
                for example in range(7):
                    for _ in range(int(weights[b, example])):
                        tp += statistics[c, s, example, 0]
                        fp += statistics[c, s, example, 1]
                        fn += statistics[c, s, example, 2]
                expected = 2 * tp / (2 * tp + fp + fn)
                assert found[c, s, b] == pytest.approx(expected, nan_ok=True)


def test_seeds_that_agree_by_chance_do_not_hide_what_the_examples_cannot_tell():
    # Two adapters of two seeds disagree on many examples, and their means fall on one another.
    rng = np.random.default_rng(3)
    values = rng.normal(0.4, 0.2, (2, 2, 64))
    gaps = values[0] - values[1]
    values[0] -= gaps.mean(axis=1, keepdims=True) + np.array([[1e-4], [-1e-4]])
    found = bootstrap.contrasts(means(values), MEAN, pair_matrix(2), 2000)
    bounds = intervals(found, 0.95)
    apart = (values[0] - values[1]).mean(axis=0)
    fixed = apart.std(ddof=1) / np.sqrt(64)  # of these adapters, over examples alone
    assert fixed > 0.01
    assert bounds.high[0] - bounds.low[0] >= 2 * 1.95 * fixed


def choices(configurations=2, seeds=3, examples=30, classes=9):
    """Statistics of macro F1 on one class of several; the last class has a single example."""
    rng = np.random.default_rng(2)
    wanted = rng.integers(0, classes - 1, examples)
    wanted[0] = classes - 1
    table = np.zeros((configurations, seeds, examples, classes, 3))
    for c, s, e in np.ndindex(configurations, seeds, examples):
        found = wanted[e] if rng.random() < 0.7 else rng.integers(classes)
        table[c, s, e, wanted[e], 0 if found == wanted[e] else 2] += 1
        if found != wanted[e]:
            table[c, s, e, found, 1] += 1
    return table.reshape(configurations, seeds, examples, -1)


def macro(rows):
    """Macro F1 of rows (E, classes x 3), class by class."""
    sums = rows.reshape(len(rows), -1, 3).sum(axis=0)
    return np.mean([2 * tp / (2 * tp + fp + fn) for tp, fp, fn in sums if tp + fp + fn])


MACRO_OF_9 = metric_function(Objective("m", "maximize", 0.0, "macro_f1", tuple("abcdefghi")))


@pytest.mark.parametrize("sparse", [0.0, 1.1], ids=["dense", "sparse"])
@pytest.mark.parametrize("held", [1, 2**24], ids=["one at a time", "all"])
def test_a_mean_over_classes_is_redone_in_every_resample(monkeypatch, sparse, held):
    monkeypatch.setattr(resampling, "_SPARSE", sparse)
    monkeypatch.setattr(resampling, "_SUMS_AT_ONCE", held)
    statistics, weights = choices(), bootstrap.example_weights(30, 40)
    statistics[1, 2] = np.nan
    found = bootstrap.resampled_scores(statistics, MACRO_OF_9, weights)
    assert np.isnan(found[1, 2]).all()
    assert (weights[:, 0] == 0).any()  # so that some resample lacks a class that there is
    for c, s in ((0, 0), (0, 2), (1, 1)):
        for b in range(40):
            drawn = np.repeat(statistics[c, s], weights[b].astype(int), axis=0)
            assert found[c, s, b] == pytest.approx(macro(drawn))


def test_the_influence_of_the_only_example_of_a_class_leaves_the_class_out():
    statistics = choices()
    whole, found = macro(statistics[0, 1]), bootstrap.influence(statistics, MACRO_OF_9)
    rest = [macro(np.delete(statistics[0, 1], e, axis=0)) for e in range(30)]
    assert found[0, 1] == pytest.approx(29 * (whole - np.array(rest)))


def test_many_classes_do_not_multiply_the_memory(monkeypatch):
    monkeypatch.setattr(resampling, "_SUMS_AT_ONCE", 2**18)  # 2 MiB of sums at a time
    statistics, weights = choices(8, 3, 60, 77), bootstrap.example_weights(60, 1000)
    value = metric_function(
        Objective("m", "maximize", 0.0, "macro_f1", tuple(map(str, range(77))))
    )
    tracemalloc.start()
    bootstrap.resampled_scores(statistics, value, weights)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 8 * 3 * 1000 * 77 * 3 * 8 > 40e6  # the sums of all adapters
    assert peak < 16e6


def test_influence_of_a_mean_is_the_distance_from_it():
    values = np.random.default_rng(0).normal(size=(2, 3, 6))
    expected = values - values.mean(axis=2, keepdims=True)
    assert bootstrap.influence(means(values), MEAN) == pytest.approx(expected)


def test_spread_over_seeds_alone_gives_students_t():
    # Every example of a training has the same score: the examples add nothing.
    table = np.array([[1.0, 2.0, 4.0, 3.0], [0.5, 1.0, 3.5, 1.0]])
    values = means(np.repeat(table[:, :, None], 30, axis=2))
    found = bootstrap.contrasts(values, MEAN, np.array([[1.0, -1.0]]), resamples=100_000)
    gaps = table[0] - table[1]
    assert found.estimate[0] == pytest.approx(gaps.mean())
    assert found.error[0] == pytest.approx(gaps.std(ddof=1) / 2)
    bounds = intervals(found, 0.95)
    assert bounds.high[0] - gaps.mean() == pytest.approx(
        stats.t.ppf(0.975, 3) * gaps.std(ddof=1) / 2, rel=0.03
    )
    assert p_values(found)[0] == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue, abs=0.01)


def test_spread_over_examples_alone_gives_their_standard_error():
    # All seeds are alike: the seeds add nothing.
    scores = np.random.default_rng(2).normal(size=200)
    values = means(np.broadcast_to(scores, (1, 5, 200)).copy())
    found = bootstrap.contrasts(values, MEAN, np.eye(1), resamples=20_000)
    assert found.error[0] == pytest.approx(scores.std(ddof=1) / np.sqrt(200))
    bounds = intervals(found, 0.95)
    assert bounds.high[0] - bounds.low[0] == pytest.approx(2 * 1.97 * found.error[0], rel=0.03)


def test_noise_of_seed_and_example_together_is_counted_once():
    # Pure interaction noise of sd 1: the mean of S E numbers has the variance 1/(S E).
    rng = np.random.default_rng(3)
    errors = []
    for _ in range(200):
        values = means(rng.normal(size=(1, 10, 40)))
        errors.append(bootstrap.contrasts(values, MEAN, np.eye(1), resamples=400).error[0] ** 2)
    # Counted twice it would be 2; the part of the examples is cut at 0, which adds a little.
    assert 0.9 < np.mean(errors) * 400 < 1.35


def test_the_pool_never_narrows_the_one_that_spreads_more():
    table = np.array([[0.1, 0.9, 0.2, 0.8], [0.50, 0.51, 0.50, 0.51], [0.4, 0.41, 0.41, 0.4]])
    values = means(np.repeat(table[:, :, None], 10, axis=2))
    found = bootstrap.contrasts(values, MEAN, np.eye(3), resamples=10)
    own = table.var(axis=1, ddof=1)
    assert found.seed_variance[0] == pytest.approx(own[0])
    assert found.seed_variance[1:] == pytest.approx(own.mean())


def test_pairs_use_the_seeds_that_both_have():
    values = means(np.random.default_rng(4).normal(size=(3, 6, 20)))
    values[2, 3:] = np.nan
    found = bootstrap.contrasts(values, MEAN, pair_matrix(3), resamples=50)
    assert found.seeds.tolist() == [6, 3, 3]
    scores = bootstrap.scores(values, MEAN)
    assert found.estimate[1] == pytest.approx((scores[0, :3] - scores[2, :3]).mean())


@pytest.mark.parametrize("shape", [(2, 1, 50), (2, 5, 1), (2, 1, 1)])
def test_one_seed_or_one_example_tells_no_error(shape):
    values = means(np.random.default_rng(5).normal(size=shape))
    found = bootstrap.contrasts(values, MEAN, pair_matrix(2), resamples=50)
    assert np.isinf(found.error).all()
    assert p_values(found).tolist() == [1.0]
    assert intervals(found, 0.95).low[0] == -np.inf


def test_no_common_seed_gives_no_estimate():
    values = means(np.random.default_rng(5).normal(size=(2, 2, 9)))
    values[0, 0] = values[1, 1] = np.nan
    found = bootstrap.contrasts(values, MEAN, pair_matrix(2), resamples=50)
    assert np.isnan(found.estimate[0])
    assert np.isinf(found.error[0])


def test_twins_differ_by_nothing_with_certainty():
    one = counts(1, 3, 20)
    found = bootstrap.contrasts(np.concatenate([one, one]), F1, pair_matrix(2), resamples=50)
    assert found.estimate[0] == found.error[0] == 0
    assert p_values(found)[0] == 1


def test_equal_seeds_give_equal_draws():
    first = bootstrap.contrasts(counts(), F1, pair_matrix(3), resamples=20)
    again = bootstrap.contrasts(counts(), F1, pair_matrix(3), resamples=20)
    other = bootstrap.contrasts(counts(), F1, pair_matrix(3), resamples=20, seed=1)
    assert (first.draws == again.draws).all()
    assert not (first.draws == other.draws).all()
