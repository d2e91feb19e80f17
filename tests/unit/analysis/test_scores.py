"""Tests of `harness.analysis.scores`."""

from __future__ import annotations

import dataclasses
import gc
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from harness.analysis import ablation, estimates, scores
from harness.analysis.recommendation import recommend
from harness.analysis.scores import (
    cached_per_study,
    complete,
    configurations,
    score_array,
    share_cache,
)
from tests.studies import (
    F1,
    PERPLEXITY,
    config,
    empty_results,
    make_results,
    one_trial_results,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from harness.results import StudyResults


@pytest.fixture(scope="module")
def study():
    return make_results(sizes={"validation": 12, "test": 15}, trials=10)


def test_an_array_is_nan_where_a_configuration_lacks_a_seed(study):
    array = scores.score_array(study, "confirm", "test")
    assert array.statistics.shape == (6, 10, 15, len(F1.parts))
    missing = np.isnan(array.statistics).any(axis=(0, 2, 3))
    assert missing.sum() == 5


def test_an_array_gives_the_stored_scores_again(study):
    array = scores.score_array(study, "confirm", "test")
    trials = study.trials[study.trials["stage"] == "confirm"].set_index(["key", "seed"])
    for c, key in enumerate(array.keys):
        for s, seed in enumerate(array.seeds):
            if (key, seed) not in trials.index:
                assert np.isnan(array.statistics[c, s]).all()
                continue
            value = scores.metric_function(F1)(array.statistics[c, s].sum(axis=0))
            assert value == pytest.approx(trials.loc[(key, seed), "test"])


def test_keys_are_taken_in_the_order_asked_for(study):
    keys = scores.score_array(study, "confirm", "test").keys
    assert scores.score_array(study, "confirm", "test", keys[::-1]).keys == keys[::-1]
    assert scores.score_array(study, "confirm", "test", ("unheard-of", keys[0])).keys == (keys[0],)


def test_an_example_that_one_trial_lacks_is_left_out(study):
    number = study.trials.loc[study.trials["stage"] == "confirm", "number"].iloc[0]
    rows = study.examples
    gone = (rows["trial"] == number) & (rows["example"] == "test-0003")
    less = dataclasses.replace(study, examples=rows[~gone])
    assert "test-0003" not in scores.score_array(less, "confirm", "test").examples


def test_nothing_to_take_is_said():
    with pytest.raises(ValueError, match="no complete confirm trial with scores on test"):
        scores.score_array(empty_results(), "confirm", "test")


def test_duplicates_and_retries_count_once(study):
    rows = scores.complete(study, "search")
    assert rows["duplicate_of"].isna().all()
    again = study.trials[study.trials["stage"] == "confirm"].head(1).assign(number=10_000)
    twice = dataclasses.replace(study, trials=pd.concat([study.trials, again]))
    assert 10_000 not in set(scores.complete(twice, "confirm")["number"])


MACRO = dataclasses.replace(F1, name="entity_macro_f1", form="macro_f1")


@pytest.mark.parametrize(("objective", "width"), [(F1, 3), (MACRO, 12), (PERPLEXITY, 2)])
def test_kept_is_what_the_score_needs(objective, width):
    columns = len(objective.columns)
    statistics = 1.0 + np.random.default_rng(0).poisson(0.3, (4, columns))
    left = scores.reduce_statistics(statistics, objective)
    assert left.shape == (4, width)
    found = scores.metric_function(objective)(left.sum(axis=0))
    assert found == objective.value(statistics.sum(axis=0))


def test_configurations_have_one_row_a_key_with_medians(study):
    table = scores.configurations(study, "confirm").set_index("key")
    assert sorted(table["seeds"]) == [5, 5, 5, 10, 10, 10]
    assert table.loc[config().key, "parameters"] == 10240 * 16
    assert scores.configurations(empty_results(), "confirm").empty


def test_score_from_rows_is_the_objective():
    rows = pd.DataFrame([[1.0, 1.0, 0.0] * 4, [2.0, 0.0, 1.0] * 4], columns=list(F1.columns))
    assert scores.score_from_rows(rows, F1) == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert np.isnan(scores.score_from_rows(rows.head(0), F1))


def counter() -> Callable[..., int]:
    """A cached function of a study that returns how often it was computed."""
    computed: list[Hashable] = []

    @cached_per_study
    def count(results: StudyResults, name: Hashable = "", *, more: str = "") -> int:
        computed.append((results.name, name, more))
        return len(computed)

    return count


def test_a_function_is_computed_once_for_each_study_and_arguments() -> None:
    count = counter()
    study, twin = empty_results(), empty_results()
    assert [count(study, "a"), count(study, name="a"), count(study, "a", more="")] == [1, 1, 1]
    assert count(study, "b") == 2
    assert count(twin, "a") == 3
    assert [count(study, ["a", "b"]), count(study, ("a", "b"))] == [4, 4]
    assert counter()(study, "a") == 1


def test_what_is_recommended_is_computed_once() -> None:
    study = one_trial_results()
    assert recommend(study).evidence is recommend(study).evidence
    assert recommend(study) is not recommend(one_trial_results())
    del recommend(study).comparison["value"]
    assert "value" in recommend(study).comparison


def test_ablation_tables_of_all_factors_read_the_examples_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[Sequence[object]] = []

    def counted(*args: object) -> object:
        calls.append(args)
        return score_array(*args)  # type: ignore[arg-type]

    for module in (ablation, estimates):
        monkeypatch.setattr(module, "score_array", counted)
    study = make_results()
    for name in ("rank", "variant", "dropout"):
        assert len(ablation.ablation_table(study, name)) > 1
    assert len(calls) == 1


def test_a_study_that_is_freed_leaves_no_cache() -> None:
    gc.collect()
    before = len(scores._caches)
    results = empty_results()
    complete(results, "search")
    assert len(scores._caches) == before + 1
    del results
    gc.collect()
    assert len(scores._caches) == before


def test_a_changed_table_is_a_copy() -> None:
    results = make_results(trials=6, stages=("search", "ablate"))
    for read in (complete, configurations):
        mine = read(results, "ablate")
        first = mine.copy(deep=True)
        mine["rank"] = 99
        mine.loc[mine.index[0], "variant"] = "other"
        del mine["alpha"]
        pd.testing.assert_frame_equal(read(results, "ablate"), first)
    assert not score_array(results, "ablate", "validation").statistics.flags.writeable


def test_studies_that_share_a_cache_compute_once() -> None:
    count, study = counter(), empty_results()
    count(study, "a")
    twin = share_cache(dataclasses.replace(study, name="other"), study)
    assert count(twin, "a") == 1
    assert [count(twin, "b"), count(study, "b")] == [2, 2]
    assert count(dataclasses.replace(study), "a") == 3
