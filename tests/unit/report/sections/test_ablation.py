"""Tests of the section `ablation`."""

from __future__ import annotations

import dataclasses
import html
import re
from typing import TYPE_CHECKING

import pytest

from harness.analysis.ablation import FACTORS, base_score
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
    assert shown.count("<figure>") == len(names) + 1  # the pair has a heat map, too
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
    assert "rates were tuned on another seed" in shown


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
    assert f"The bare base scores {scale.show(base_score(full))} {scale.unit}." in text
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
    text = ablation._plot(likelihoods, "rank", frame)
    left, width = re.findall(r'class="band" x="([\d.]+)%" y="0" width="([\d.]+)%"', text)[0]
    marks = [float(one) for one in re.findall(r'<circle class="mark" cx="([\d.]+)%"', text)]
    assert float(left) == min(marks)
    near = [mark <= float(left) + float(width) for mark in marks]
    best, margin = frame["value"].min(), likelihoods.objective.margin
    assert near == (frame["value"] <= best + margin).tolist()
    assert near.count(False) > 0
