"""Tests of the section `cost`."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from harness.report import formatting
from harness.report.sections import cost

if TYPE_CHECKING:
    from harness.results import StudyResults

_HAIR = "\N{NARROW NO-BREAK SPACE}"


def cells(page: str, row: str) -> list[str]:
    """What stands in the first table's row of this stage, without the stage."""
    found = re.search(rf'<th scope="row">{row}</th>(.*?)</tr>', page, re.DOTALL)
    assert found is not None
    return re.findall(r"<td[^>]*>(.*?)</td>", found.group(1))


def asked(results: StudyResults, price: float) -> StudyResults:
    noted = {**results.attributes, "asked": {"price": price}}
    return dataclasses.replace(results, attributes=noted)


def test_each_stage_has_a_row_and_the_sum_is_last(full: StudyResults) -> None:
    page = cost.render(full)
    order = re.findall(r'<th scope="row">(\w+)</th>', page)
    later = ["tune", "ablate", "confirm", "all"]
    assert order == ["search", *later, *later]
    assert page.count('class="total"') == 2
    search = cells(page, "search")
    numbers = full.trials.loc[full.trials["stage"] == "search", "number"]
    mine = full.costs[full.costs["trial"].isin(numbers)]
    assert search[:4] == ["27", "2", "1", "1"]  # complete, pruned, failed, not run
    assert search[4] == f"{mine['train_seconds'].sum() / 60:.1f}"
    assert search[5] == f"{mine['score_seconds'].sum() / 60:.1f}"
    assert search[8] == formatting.memory(mine["peak_memory"].max())


def test_the_forecast_says_where_it_comes_from(full: StudyResults) -> None:
    page = cost.render(full)
    seconds = full.costs["train_seconds"] + full.costs["score_seconds"]
    done = full.trials[
        (full.trials["stage"] == "search")
        & (full.trials["state"] == "complete")
        & full.trials["duplicate_of"].isna()
    ]
    median = seconds[full.costs["trial"].isin(done["number"])].median()
    assert (
        f"Its {len(done)} complete trials took {formatting.seconds(median)} in the median" in page
    )
    confirm = seconds[full.costs["trial"].isin(full.trials.query("stage == 'confirm'")["number"])]
    second = page[page.index("Forecast and actual") :]
    assert cells(second, "confirm")[-1] == f"{confirm.sum() / (median * len(confirm)):.2f}"


def test_the_grid_is_told_with_its_assumption(full: StudyResults) -> None:
    page = cost.render(full).replace("\N{NO-BREAK SPACE}", " ")
    space = full.sweep["space"]
    count = 3 * 3  # rates and seeds of the ablation
    for name in ("variant", "rank", "alpha_ratio", "target_modules", "dropout"):
        count *= len(space[name])
    assert f"{len(space['rank'])} ranks" in page
    assert "3 learning rates make" in page
    assert f"<dd>{formatting.count(count)}</dd>" in page
    assert "Assumed: every trial takes as long as the median of the 27 complete trials" in page
    assert "the range of learning rates counts as 3" in page


def test_money_is_shown_where_a_price_was_told(full: StudyResults) -> None:
    plain = cost.render(full)
    assert "report STUDY --price P" in plain
    assert ">Price<" not in plain
    page = cost.render(asked(full, 6.0))
    hours = 38 * (len(full.trials) - 1) / 3600  # the simulation runs one trial at a time
    assert f"it cost <b>{6 * hours:.2f}</b>" in page
    assert cells(page, "all")[-1] == f"{6 * hours:.2f}"
    assert "--price" not in page


def test_trials_under_way_are_told(full: StudyResults) -> None:
    trials = full.trials.copy()
    last = trials.index[-1]
    trials.loc[last, "state"] = "running"
    trials.loc[last, "finished"] = pd.NaT
    costs = full.costs[full.costs["trial"] != trials.loc[last, "number"]]
    page = cost.render(dataclasses.replace(full, trials=trials, costs=costs))
    assert "1 trial without a cost record" in page
    assert f"<p>{len(costs)} trials took" in page
    assert "without a cost record" not in cost.render(full)


def test_other_pack_sizes_are_pointed_out(full: StudyResults) -> None:
    words = "did not train as many adapters together"
    assert words not in cost.render(full)
    searched = full.trials.query("stage == 'search'")["number"]
    pack = full.costs["pack"].where(~full.costs["trial"].isin(searched), 8)
    page = cost.render(dataclasses.replace(full, costs=full.costs.assign(pack=pack)))
    assert words in page
    assert "<small>adapters</small>" in page


def test_small_studies(one: StudyResults, empty: StudyResults, searched: StudyResults) -> None:
    assert "No trial has been run yet" in cost.render(empty)
    assert all(frame.empty for frame in cost.tables(empty).values())
    page = cost.render(one)
    assert "<p>1 trial took" in page
    assert "nothing to compare a forecast with" in page
    assert "the only complete trial of the search stage" in page
    assert "nothing to compare a forecast with" in cost.render(searched)


def test_a_study_without_costs(full: StudyResults) -> None:
    bare = dataclasses.replace(full, costs=full.costs.iloc[:0])
    page = cost.render(bare)
    assert "The cost of the trials is unknown" in page
    assert "No forecast" in page
    assert "Not known: it takes" in page
    assert "nan" not in page.lower()


def test_names_from_outside_are_escaped(full: StudyResults) -> None:
    trials = full.trials.assign(stage=full.trials["stage"].replace("tune", "<script>"))
    sweep = {**full.sweep, "space": {**full.sweep["space"], "<b>": [1, 2]}}
    page = cost.render(dataclasses.replace(full, trials=trials, sweep=sweep))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;s" in page


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (90, "90.0 s"),
        (600, "10.0 min"),
        (4 * 3600, "4.0 h"),
        (47 * 3600, "47.0 h"),
        (60 * 3600, "2.5 days"),
        (86400 * 1234.4, f"1{_HAIR}234 days"),
        (math.nan, formatting.MISSING),
    ],
)
def test_durations_can_be_read(seconds: float, words: str) -> None:
    assert cost.duration(seconds) == words.replace(" ", _HAIR)


@pytest.mark.parametrize(
    ("longest", "name", "text"),
    [(100.0, "s", "50.0"), (3000.0, "min", "0.8"), (9000.0, "h", "0.01"), (math.nan, "s", "50.0")],
)
def test_a_table_has_one_unit(longest: float, name: str, text: str) -> None:
    frame = pd.DataFrame({"a": [1.0, math.nan], "b": [50.0, longest]})
    found = cost.unit(frame, "a", "b")
    assert found.name == name
    assert found.show(50.0) == text
    assert found.show(math.nan) == formatting.MISSING


def test_small_money_is_not_nought() -> None:
    assert [cost.money(value) for value in (0, 0.001, 12.345)] == ["0.00", "< 0.01", "12.35"]
