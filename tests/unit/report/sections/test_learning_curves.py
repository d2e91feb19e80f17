"""Tests of the section `curves`."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from harness.report.sections import learning_curves
from harness.results import MEASUREMENT_COLUMNS
from tests import studies
from tests.figures import figures_in, series_of

if TYPE_CHECKING:
    from harness.results import StudyResults


def diverging(results: StudyResults, numbers: list[int]) -> StudyResults:
    """The study with these trials failed, as a training tells it."""
    trials = results.trials.copy()
    trials["error"] = trials["error"].astype(object)
    chosen = trials["number"].isin(numbers)
    trials.loc[chosen, "state"] = "failed"
    trials.loc[chosen, "error"] = "diverged at step 12: loss nan"
    return dataclasses.replace(results, trials=trials)


def falling(results: StudyResults, numbers: list[int], by: float) -> StudyResults:
    """The study with the last reading of these trials that much worse than the one before."""
    rows = results.measurements.copy()
    for number in numbers:
        *_, before, last = rows.index[rows["trial"] == number]
        rows.loc[last, "value"] = rows.loc[before, "value"] - results.objective.sign * by
    return dataclasses.replace(results, measurements=rows)


def test_the_finalists_losses_are_drawn_at_most_six(full: StudyResults) -> None:
    frame = learning_curves.tables(full)["loss"]
    assert set(frame["stage"]) == {"confirm"}
    assert set(frame["key"]) <= set(full.attributes["finalists"])
    text = learning_curves.render(full)
    bands = [trace for trace in figures_in(text)[0]["data"] if trace.get("fill")]
    assert len(bands) == frame["key"].nunique() == 6
    assert "Loss of the finalists" in text


def test_the_mean_is_that_of_the_trials(full: StudyResults) -> None:
    rows = full.measurements.copy()
    rows["loss"] = [0.1 + (7 * place % 11) / 10 for place in range(len(rows))]
    varied = dataclasses.replace(full, measurements=rows)
    frame = learning_curves.tables(varied)["loss"]
    one = frame.iloc[5]
    trials = full.trials.query("stage == 'confirm' and key == @one.key")["number"]
    mine = [
        row["loss"]
        for row in rows.to_dict("records")
        if row["trial"] in set(trials) and row["step"] == one["step"]
    ]
    assert one["mean"] == pytest.approx(sum(mine) / len(mine))
    assert (one["low"], one["high"], one["seeds"]) == (min(mine), max(mine), len(mine))


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ("ablated", "Loss of the ablation"),
        ("searched", "Loss of the search"),
        ("one", "Loss of the search"),
    ],
)
def test_before_the_end_the_stage_is_named(
    study: str, words: str, request: pytest.FixtureRequest
) -> None:
    assert words in learning_curves.render(request.getfixturevalue(study))


@pytest.mark.parametrize("study", ["searched", "perplexity"])
def test_the_best_of_the_search_are_drawn_strong(
    study: str, request: pytest.FixtureRequest
) -> None:
    results: StudyResults = request.getfixturevalue(study)
    search = results.trials.query("stage == 'search' and state == 'complete'")
    search = search[search["duplicate_of"].isna()]
    best = search.sort_values("value", ascending=results.objective.sign < 0)["number"].head(3)
    readings = figures_in(learning_curves.render(results))[1]
    names = [name for name in series_of(readings) if name.startswith("trial ")]
    assert names[::-1] == [f"trial {number}" for number in best]  # the best on top


@pytest.mark.parametrize("study", ["searched", "perplexity"])
def test_a_trial_that_fell_by_more_than_the_margin_is_ringed(
    study: str, request: pytest.FixtureRequest
) -> None:
    results: StudyResults = request.getfixturevalue(study)
    margin = results.objective.margin
    assert "no sign of overfitting" in learning_curves.render(results)
    assert "no sign of overfitting" in learning_curves.render(
        falling(results, [3, 4], 0.9 * margin)
    )
    text = learning_curves.render(falling(results, [3, 4], 1.1 * margin))
    readings = results.measurements.dropna(subset=["value"])
    search = results.trials.query("stage == 'search'")["number"]
    counts = readings[readings["trial"].isin(search)].groupby("trial").size()
    assert f"<b>2 of {(counts > 1).sum()}</b> trials" in text
    rings = [trace for trace in figures_in(text)[1]["data"] if trace["mode"] == "markers"]
    assert sum(len(trace["x"]) for trace in rings) == 2
    assert text.count(">step 93<") == 2  # of four readings over 124 steps the third was the best


def test_where_nothing_diverged_a_sentence_says_so(full: StudyResults) -> None:
    text = learning_curves.render(full)
    frame = learning_curves.tables(full)["divergence"]
    ran = full.trials[full.trials["duplicate_of"].isna()]
    known = ran["state"].isin(["complete", "pruned"]).sum()  # the one that failed did not diverge
    assert frame["trials"].sum() == known
    assert f"Training never diverged: in none of {known} trials" in text
    assert len(figures_in(text)) == 2


def test_what_diverged_is_drawn_by_learning_rate(full: StudyResults) -> None:
    high = full.trials.query("stage == 'search' and learning_rate >= 0.01 and state == 'complete'")
    high = high[high["duplicate_of"].isna()]
    results = diverging(full, list(high["number"]))
    frame = learning_curves.tables(results)["divergence"]
    assert frame["diverged"].sum() == len(high) > 1
    assert (frame.loc[frame["low_rate"] < 0.0099, "diverged"] == 0).all()
    text = learning_curves.render(results)
    assert f"<b>{len(high)} of {frame['trials'].sum()}</b> trials" in text
    chart = figures_in(text)[2]
    assert sum(len(trace["x"]) for trace in chart["data"]) == len(frame)
    assert "from 1e-2" in chart["layout"]["yaxis"]["ticktext"]


def test_a_study_without_a_reading_says_so(empty: StudyResults) -> None:
    assert "No evaluation during training has been recorded yet" in learning_curves.render(empty)
    assert all(frame.empty for frame in learning_curves.tables(empty).values())


def test_without_readings_on_validation_the_rest_is_shown(full: StudyResults) -> None:
    rows = full.measurements.assign(value=float("nan"))
    text = learning_curves.render(dataclasses.replace(full, measurements=rows))
    assert "No search trial was evaluated during training" in text
    assert "Loss of the finalists" in text


def test_what_comes_from_outside_is_escaped(searched: StudyResults) -> None:
    trials = searched.trials.assign(extras="<b>&", variant="<script>")
    text = learning_curves.render(dataclasses.replace(searched, trials=trials))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<b>" not in str(figures_in(text))


def test_configurations_are_named_by_what_tells_them_apart() -> None:
    rows = pd.DataFrame(
        [
            {**dataclasses.asdict(one), "extras": ""}
            for one in (
                studies.config(rank=4),
                studies.config(rank=8),
                studies.config(rank=8, target_modules="qv"),
            )
        ]
    ).to_dict("records")
    assert learning_curves.short_names(rows[:2]) == ["r=4", "r=8"]
    assert learning_curves.short_names(rows) == ["r=4 all_linear", "r=8 all_linear", "r=8 qv"]
    twice = [{**rows[0], "dropout": 0.0}, {**rows[0], "dropout": 0.05}]
    assert learning_curves.short_names(twice) == ["r=4", "r=4 dropout 0.05"]


def test_of_a_crowd_an_even_sample_is_drawn(full: StudyResults) -> None:
    first = full.trials[full.trials["stage"] == "search"].iloc[0]
    numbers = range(10_000, 10_500)
    trials = pd.DataFrame([{**first.to_dict(), "number": n, "state": "pruned"} for n in numbers])
    readings = pd.DataFrame(
        [
            (n, step, step / 10, 1.0, 0.3 + 0.1 * step / 20, 1.0, 10)
            for n in numbers
            for step in (10, 20)
        ],
        columns=list(MEASUREMENT_COLUMNS),
    )
    many = dataclasses.replace(
        full,
        trials=pd.concat([full.trials, trials], ignore_index=True),
        measurements=pd.concat([full.measurements, readings], ignore_index=True),
    )
    text = learning_curves.render(many)
    told = re.search(r"Of (\d+) faint ones (\d+) are drawn", text)
    assert told
    assert int(told[1]) >= 500
    assert 150 <= int(told[2]) <= 200
    assert "faint ones" not in learning_curves.render(full)
