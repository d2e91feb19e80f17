"""Tests of the section `tradeoffs`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from harness.report import formatting
from harness.report.sections import tradeoffs

if TYPE_CHECKING:
    from harness.results import StudyResults


@pytest.mark.parametrize("study", ["full", "perplexity"])
def test_no_smaller_configuration_beats_one_on_the_front(
    study: str, request: pytest.FixtureRequest
) -> None:
    results: StudyResults = request.getfixturevalue(study)
    for frame in tradeoffs.tables(results).values():
        assert frame["front"].any()
        for row in frame.to_dict("records"):
            smaller = frame[frame["parameters"] < row["parameters"]]
            beaten = (results.objective.sign * (smaller["value"] - row["value"]) >= 0).any()
            assert not (row["front"] and beaten)
        assert frame["parameters"].is_monotonic_increasing


def test_finalists_are_on_test_and_levels_on_validation(full: StudyResults) -> None:
    text = tradeoffs.render(full)
    assert "Finalists, on the test split" in text
    assert "Ablation, on the validation split" in text
    assert text.count("<figure") == 6  # parameters, memory and seconds of each
    assert len(tradeoffs.tables(full)["confirm"]) == len(full.attributes["finalists"])


def test_where_less_is_better_the_text_says_so(perplexity: StudyResults) -> None:
    text = tradeoffs.render(perplexity)
    assert "Down is better quality" in text


def test_without_fresh_seeds_it_says_so(one: StudyResults) -> None:
    assert "No configuration has been run on fresh seeds yet" in tradeoffs.render(one)


def test_each_cost_has_a_front_of_its_own(full: StudyResults) -> None:
    frame = tradeoffs.tables(full)["confirm"]
    for price in tradeoffs.PRICES:
        cheapest = frame[frame[price.cost] == frame[price.cost].min()]
        best = cheapest.loc[(full.objective.sign * cheapest["value"]).idxmax()]
        assert best[price.front]
        assert frame[price.probability].between(0, 1).all()
        top = frame.loc[(full.objective.sign * frame["value"]).idxmax()]
        assert top[price.front]


def test_a_search_for_several_objectives_shows_its_front(full: StudyResults) -> None:
    assert "Pareto front of the search" not in tradeoffs.render(full)
    noted = {**full.attributes, "objectives": {"parameters": "minimize"}}
    several = dataclasses.replace(full, attributes=noted)
    text = tradeoffs.render(several)
    front = tradeoffs.tables(several)["search_front"].query("front")
    assert "Pareto front of the search" in text
    assert f"{len(front)} of " in text
    assert all(formatting.count(size) in text for size in front["parameters"])
