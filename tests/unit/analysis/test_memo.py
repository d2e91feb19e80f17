"""What is kept of a study: once, for itself alone, as long as it lives."""

import dataclasses
import gc

import pandas as pd

from harness.analysis import scores as memo
from harness.analysis.scores import complete, configurations, panel
from tests.studies import empty_results, make_results


def test_a_thing_is_made_once_for_each_study_and_name() -> None:
    made: list[str] = []

    def make() -> int:
        made.append("once")
        return len(made)

    one, other = empty_results(), empty_results()
    assert [memo.once(one, "a", make), memo.once(one, "a", make)] == [1, 1]
    assert memo.once(one, "b", make) == 2
    assert memo.once(other, "a", make) == 3


def test_a_study_that_is_gone_is_forgotten() -> None:
    gc.collect()
    before = len(memo._kept)
    results = empty_results()
    complete(results, "search")
    assert len(memo._kept) == before + 1
    del results
    gc.collect()
    assert len(memo._kept) == before


def test_whoever_changes_a_table_changes_it_for_nobody_else() -> None:
    results = make_results(trials=6, stages=("search", "ablate"))
    for read in (complete, configurations):
        mine = read(results, "ablate")
        first = mine.copy(deep=True)
        mine["rank"] = 99
        mine.loc[mine.index[0], "variant"] = "other"
        del mine["alpha"]
        pd.testing.assert_frame_equal(read(results, "ablate"), first)
    assert not panel(results, "ablate", "validation").statistics.flags.writeable


def test_a_study_that_is_the_same_shares_what_is_kept() -> None:
    first = empty_results()
    memo.once(first, "a", lambda: 1)
    second = memo.shared(dataclasses.replace(first, name="other"), first)
    assert memo.once(second, "a", lambda: 2) == 1
    assert memo.once(second, "b", lambda: 3) == 3
    assert memo.once(first, "b", lambda: 4) == 3
    assert memo.once(dataclasses.replace(first), "a", lambda: 5) == 5
