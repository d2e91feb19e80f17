"""Tests of the section `ablation`."""

from __future__ import annotations

import dataclasses
import html
import re
from typing import TYPE_CHECKING

import pytest

from harness.analysis.ablation import FACTORS, base_score, crossed_scores
from harness.analysis.scores import complete
from harness.report import formatting
from harness.report.sections import ablation

if TYPE_CHECKING:
    import pandas as pd

    from harness.results import StudyResults


@pytest.fixture(scope="module")
def shown(full: StudyResults) -> str:
    return html.unescape(ablation.render(full))


def one_way(results: StudyResults) -> list[pd.DataFrame]:
    frames = ablation.tables(results).items()
    return [frame for name, frame in frames if not name.startswith("interaction")]


def test_five_factors_and_the_pair_have_a_table_and_a_plot(full: StudyResults, shown: str) -> None:
    names = ablation.factors(full)
    assert names == (*FACTORS, "rank@target_modules=qv")
    assert shown.count("<figure") == len(names) + 1  # the pair has a heat map, too
    assert shown.count("<table") == len(names) + 1  # and the pair's interaction
    assert "Rank at target modules qv" in shown


def test_each_level_shows_its_own_numbers(full: StudyResults, shown: str) -> None:
    scale = formatting.scale(full.objective)
    for frame in one_way(full):
        for row in frame.to_dict("records"):
            own = f"{scale.show(row['value'])}<small>{scale.interval(row['low'], row['high'])}"
            assert f">{own}</small></td>" in shown


def test_one_reference_a_table_is_marked_and_levels_near_the_best_are_shaded(
    full: StudyResults, shown: str
) -> None:
    frames = one_way(full)
    assert shown.count("tag-reference") == sum(int(frame["reference"].sum()) for frame in frames)
    near = sum(int(frame["near_best"].sum()) for frame in frames)
    assert len(re.findall(r'<tr class="near"', shown)) == near > 0


def test_the_interaction_of_a_pair_shows_its_numbers(full: StudyResults, shown: str) -> None:
    scale = formatting.scale(full.objective)
    frame = ablation.tables(full)["interaction: rank@target_modules=qv"]
    assert len(frame) == 3
    for row in frame.to_dict("records"):
        assert scale.gap(row["interaction"]) in shown
        assert scale.gap_interval(row["low"], row["high"]) in shown
    assert "Rank by target modules qv" in shown


def test_rates_at_the_edge_are_marked(full: StudyResults, shown: str) -> None:
    edges = sum(int(frame["rate_at_edge"].sum()) for frame in one_way(full))
    assert shown.count("tag-open") == edges + 1  # one more in the text that explains it


def test_it_says_that_rates_were_tuned_elsewhere(shown: str) -> None:
    assert "rates were tuned on a seed that is not reported here" in shown


def test_without_an_ablation_it_says_so(searched: StudyResults) -> None:
    text = ablation.render(searched)
    assert "there is no ablation" in text
    assert "<table" not in text


def test_factors_that_nobody_asked_for_have_no_heading(full: StudyResults) -> None:
    cells = [cell for cell in full.attributes["cells"] if cell["factor"] == "variant"]
    settings = {**full.sweep["ablation"], "factors": {"variant": ["lora", "dora"]}}
    study = dataclasses.replace(
        full,
        attributes={**full.attributes, "cells": cells},
        sweep={**full.sweep, "ablation": settings},
    )
    assert ablation.factors(study) == ("variant",)
    assert ablation.render(study).count("<h3>") == 1


def test_what_the_levels_are_held_against_is_told(full: StudyResults) -> None:
    text = ablation.render(full)
    scale = formatting.scale(full.objective)
    assert f"The base model scores {scale.show(base_score(full))} {scale.unit}." in text
    assert "Full fine-tuning" not in text  # this study has none


def test_a_grid_that_is_too_narrow_names_the_way_out(shown: str) -> None:
    assert "--extend-grid" in shown


def test_what_was_checked_is_named_in_words(shown: str) -> None:
    assert ">starts as base, B zero, scale</td>" in shown


def test_shares_of_full_fine_tuning_are_told_where_they_say_something(
    likelihoods: StudyResults, intents: StudyResults, full: StudyResults
) -> None:
    share, gain = "Of\u00a0full<small>%</small>", "Of\u00a0full<small>% of its gain</small>"
    told = {name: html.unescape(ablation.render(study)) for name, study in (
        ("perplexity", likelihoods), ("accuracy", intents), ("without", full),
    )}  # fmt: skip
    assert {name: (share in text, gain in text) for name, text in told.items()} == {
        "perplexity": (False, True),
        "accuracy": (True, False),
        "without": (False, False),
    }
    assert "Gain<small>below the base</small>" in told["perplexity"]
    assert "Gain<small>over the base</small>" in told["accuracy"]


def test_the_band_is_above_the_lowest_mean_where_less_is_better(
    likelihoods: StudyResults,
) -> None:
    frame = ablation.tables(likelihoods)["rank"]
    (chart,) = ablation.level_charts(likelihoods, "rank", frame)
    band, *series = chart.figure.to_plotly_json()["data"]
    low, high = min(band["x"]), max(band["x"])
    scores = {row: x for each in series for row, x in zip(each["y"], each["x"], strict=True)}
    best, margin = frame["value"].min(), likelihoods.objective.margin
    assert low == pytest.approx(best, rel=1e-6)
    near = [scores[row] <= high for row in sorted(scores)]
    assert near == (frame["value"] <= best + margin).tolist()
    assert near.count(False) > 0


def test_a_mark_shows_the_score_with_its_interval_as_the_table_does(full: StudyResults) -> None:
    frame = ablation.tables(full)["rank"]
    (chart,) = ablation.level_charts(full, "rank", frame)
    shown = [text for each in chart.figure.data for text in each.hovertext or ()]
    scale = formatting.scale(full.objective)
    assert len(shown) == len(frame)
    for row in frame.to_dict("records"):
        score = f"{scale.show(row['value'])} ({scale.interval(row['low'], row['high'])})"
        begin = f"{row['level']}: {score} points of F1<br>learning rate "
        assert [text.startswith(begin) for text in shown].count(True) == 1


PAIR = "rank@target_modules=qv"


@pytest.mark.parametrize("size", ["ablated", "perplexity"])
def test_each_cell_of_a_pair_has_the_mean_score_of_its_trainings(
    size: str, request: pytest.FixtureRequest
) -> None:
    study: StudyResults = request.getfixturevalue(size)
    frame = crossed_scores(study, PAIR)
    trials = complete(study, "ablate")
    cells = {(c["factor"], c["level"]): c["key"] for c in study.attributes["cells"]}
    assert len(frame) == 2 * len(set(frame["level"]))
    for row in frame.to_dict("records"):
        key = cells[PAIR if row["held"] else "rank", row["level"]]
        rows = trials[trials["key"] == key]
        assert row["seeds"] == rows["seed"].nunique()
        assert row["value"] == pytest.approx(rows["value"].mean())
    (chart,) = ablation.crossed_charts(study, PAIR)
    (trace,) = chart.figure.to_plotly_json()["data"]
    texts = [text for row in trace["text"] for text in row]
    scale = formatting.scale(study.objective)
    means = sorted(scale.show(value) for value in frame["value"])
    assert sorted(text.partition("<br>")[0] for text in texts) == means
    # The best cell is filled the strongest.
    depths = [depth for row in trace["z"] for depth in row]
    best = max(frame["value"], key=lambda value: study.objective.sign * value)
    assert texts[depths.index(max(depths))].startswith(scale.show(best))


def test_a_pair_is_drawn_where_two_levels_were_trained_both_ways(
    ablated: StudyResults, searched: StudyResults
) -> None:
    assert ablation.crossed_charts(searched, PAIR) == []
    assert ablation.crossed_charts(ablated, "rank@dropout=0.5") == []
