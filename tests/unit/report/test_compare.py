"""Tests of `harness.report.compare`: several studies on one page."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import re
import statistics
from typing import TYPE_CHECKING

import pytest

from harness.analysis import study_comparison
from harness.errors import UserError
from harness.report import compare, formatting
from tests import studies
from tests.unit.report.test_page import HOSTILE, hostile, outline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.results import StudyResults


@pytest.fixture(scope="module")
def coarse(full: StudyResults) -> StudyResults:
    """Another simulated study that says it is of a base in 4 bits."""
    made = studies.make_results(seed=1, name="coarse")
    model = {**full.sweep["model"], "quantization": "nf4"}
    return dataclasses.replace(made, sweep={**full.sweep, "model": model})


@pytest.fixture(scope="module")
def likely(perplexity: StudyResults) -> StudyResults:
    return dataclasses.replace(
        perplexity, name="likely", sweep={**perplexity.sweep, "task": "books"}
    )


@pytest.fixture(scope="module")
def four(
    full: StudyResults, coarse: StudyResults, likely: StudyResults, one: StudyResults
) -> list[StudyResults]:
    return [full, coarse, likely, one]


@pytest.fixture(scope="module")
def page(four: list[StudyResults]) -> str:
    return compare.render(four)


def part(page: str, name: str) -> str:
    """The words of one section, without its tags."""
    (inside,) = re.findall(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", "\n", inside))


def test_one_study_is_refused(full: StudyResults) -> None:
    for few in ([], [full]):
        with pytest.raises(UserError, match=f"two studies or more, not {len(few)}"):
            compare.render(few)


def test_two_of_one_name_are_refused(full: StudyResults, one: StudyResults) -> None:
    for made in (compare.render, compare.tables):
        with pytest.raises(UserError, match="'made_up' occurs twice"):
            made([full, one, full])


def test_it_is_well_formed_and_allows_its_own_style_and_script_only(page: str) -> None:
    seen = outline(page)
    assert (seen.faults, seen.open) == ([], [])
    assert len(seen.ids) == len(set(seen.ids))
    assert {str(values["href"])[1:] for tag, values in seen.tags if tag == "a"} <= set(seen.ids)
    assert not any("style" in values or "src" in values for _, values in seen.tags)
    policy = next(
        str(values["content"])
        for tag, values in seen.tags
        if values.get("http-equiv") == "Content-Security-Policy"
    )
    for name in ("style", "script"):
        (inside,) = re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy


@pytest.mark.parametrize("name", ["full", "one", "empty"])
def test_hostile_text_is_text(
    name: str, likely: StudyResults, request: pytest.FixtureRequest
) -> None:
    text = compare.render([hostile(request.getfixturevalue(name)), likely])
    seen = outline(text)
    assert (seen.faults, seen.open) == ([], [])
    assert [tag for tag, _ in seen.tags].count("script") == 1
    assert HOSTILE not in text
    assert "&lt;script&gt;alert" in text


def test_a_row_has_what_plain_sums_say(four: list[StudyResults]) -> None:
    frame = compare.tables(four)["studies"].set_index("study")
    assert [*frame.index] == ["made_up", "coarse", "likely", "one_trial"]
    for results in four[:3]:
        row, sign = frame.loc[results.name], results.objective.sign
        trials = results.trials[results.trials["key"] == row["key"]]
        trials = trials[trials["stage"] == "confirm"]
        assert row["choice"] == "pick"
        assert row["value"] == pytest.approx(statistics.fmean(trials["test"]))
        assert row["low"] < row["value"] < row["high"]
        costs = results.costs[results.costs["trial"].isin(trials["number"])]
        assert row["train_seconds"] == pytest.approx(statistics.median(costs["train_seconds"]))
        assert row["parameters"] == costs["parameters"].iloc[0]
        assert (row["seeds"], row["examples"]) == (len(trials), 160)
        bare = results.metrics[results.metrics["baseline"].str.startswith("base_")]
        bare = bare[(bare["split"] == "test") & (bare["metric"] == results.objective.name)]
        best = max(sign * value for value in bare["value"])
        assert row["gain"] == pytest.approx(sign * row["value"] - best)


def test_a_study_without_a_pick_says_so(page: str, four: list[StudyResults]) -> None:
    row = compare.tables(four)["studies"].iloc[3]
    assert (row["outcome"], row["choice"]) == ("none", "best so far")
    assert formatting.missing(float(row["value"]))
    assert "best so far" in part(page, "studies").split("one_trial")[1]
    assert "Without two ranks on fresh seeds: one_trial." in part(page, "ranks")


def test_ranks_within_the_margin_are_shaded(page: str, four: list[StudyResults]) -> None:
    (inside,) = re.findall(r'<section id="ranks".*?</section>', page, re.DOTALL)
    levels = compare.tables(four)["levels"].query("factor == 'rank'")
    tables = re.findall(r"<table>.*?</table>", inside, re.DOTALL)
    assert len(tables) == 4  # all together, then each of three
    for results, shown in zip(four, tables[1:], strict=False):
        own = levels[levels["study"] == results.name]
        scale, rows = (
            formatting.scale(results.objective),
            re.findall(r"<tr.*?</tr>", shown, re.S)[1:],
        )
        assert len(rows) == len(own)
        for row, text in zip(own.to_dict("records"), rows, strict=True):
            assert ('class="near"' in text) == (row["standing"] == "within")
            assert scale.show(row["value"]) in text
            assert scale.interval(row["low"], row["high"]) in text
            assert scale.gap(row["difference_to_best"]) in text
            assert scale.gap_interval(row["lower"], row["upper"]) in text
    assert any('class="near"' in shown for shown in tables[1:])
    assert "Scores of different tasks or metrics are not compared" in part(page, "ranks")


def test_votes_add_up_to_the_studies_that_have_the_level(four: list[StudyResults]) -> None:
    found = compare.tables(four)
    assert set(found["votes"]["factor"]) == {
        "rank",
        "alpha_ratio",
        "target_modules",
        "dropout",
        "variant",
    }
    for row in found["votes"].to_dict("records"):
        levels = found["levels"]
        have = levels[(levels["factor"] == row["factor"]) & (levels["level"] == row["level"])]
        for standing in study_comparison.STANDINGS:
            assert row[standing] == (have["standing"] == standing).sum()


def test_no_number_is_pooled_over_studies(page: str, four: list[StudyResults]) -> None:
    assert "No number is pooled" in part(page, "factors")
    assert [*compare.tables(four)["votes"].columns] == [
        "factor",
        "level",
        *study_comparison.STANDINGS,
    ]


def test_picks_on_the_same_examples_cite_the_claim(page: str, four: list[StudyResults]) -> None:
    (pair,) = compare.tables(four)["pairs"].query("obstacle == ''").to_dict("records")
    rows = compare.tables(four)["studies"].set_index("study")["value"]
    assert (pair["first"], pair["second"]) == ("coarse", "made_up")
    assert pair["difference"] == pytest.approx(rows["coarse"] - rows["made_up"])
    assert pair["subjects"] == "quantisation nf4 against none"
    words = part(page, "picks")
    scale = formatting.scale(four[0].objective)
    assert scale.gap(pair["difference"]) in words
    assert scale.gap_interval(pair["low"], pair["high"]) in words
    assert "the claim “QLoRA costs no quality” (Dettmers et al. 2023" in words
    assert pair["verdict"] in words
    assert "one_trial has no configuration scored on test" in words


def test_other_examples_are_named_as_the_obstacle(
    full: StudyResults, coarse: StudyResults
) -> None:
    named = coarse.examples.assign(example="new-" + coarse.examples["example"].astype(str))
    text = compare.render([full, dataclasses.replace(coarse, examples=named)])
    words = " ".join(part(text, "picks").split())
    assert "the ids of their test examples are not the same." in words
    assert "<table" not in text.split('<section id="picks"')[1]


def test_studies_without_anything_make_a_page(
    one: StudyResults, empty: StudyResults, searched: StudyResults, ablated: StudyResults
) -> None:
    other = dataclasses.replace(ablated, name="ablated")
    rooms: list[Sequence[StudyResults]] = [(one, empty), (searched, empty), (other, searched)]
    for few in rooms:
        seen = outline(compare.render(few))
        assert (seen.faults, seen.open) == ([], [])
        assert [*compare.tables(few)] == ["studies", "levels", "votes", "pairs"]
    words = part(compare.render([one, empty]), "ranks")
    assert "No study has run two ranks on fresh seeds yet." in words
    assert "No two of these studies have the same task" in part(
        compare.render([one, empty]), "picks"
    )
