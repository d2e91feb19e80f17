"""Tests of the section `metrics`.

Tests of the section `classes`.
"""

from __future__ import annotations

import dataclasses
import html
import re
from typing import TYPE_CHECKING

import pytest

from harness.report import formatting
from harness.report.sections import metrics
from harness.report.sections import metrics as classes
from harness.results import StudyResults

if TYPE_CHECKING:
    from harness.results import StudyResults


def rows_of(text: str) -> list[str]:
    return re.findall(r"<tr.*?</tr>", text, re.DOTALL)


def test_each_finalist_and_baseline_has_a_row_and_each_metric_a_column(
    full: StudyResults,
) -> None:
    text = html.unescape(metrics.render(full))
    finalists = full.attributes["finalists"]
    head, *rows = rows_of(text)
    assert "entity f1 \u2191" in head
    assert "exact match \u2191" in head
    assert "% of texts" in head
    assert len(rows) == len(finalists) + 3
    assert "base model (zero-shot)" in rows[-3]
    assert "base model (5-shot)" in rows[-2]
    assert "dictionary" in rows[-1]
    assert "Finalists on the test split" in text


def test_values_stand_in_the_units_of_the_task(full: StudyResults) -> None:
    frame = metrics.tables(full)["metrics"]
    first = frame[(frame["metric"] == "exact_match") & (frame["baseline"] == "")].iloc[0]
    row = rows_of(html.unescape(metrics.render(full)))[1]
    digits = full.objective.digits
    assert formatting.number(100 * first["value"], digits) in row
    assert formatting.number(100 * first["low"], digits) in row


def test_what_the_intervals_are_is_said(full: StudyResults, searched: StudyResults) -> None:
    text = html.unescape(metrics.render(full))
    assert "those of the other metrics are Student's t over the seeds alone" in text
    assert "chosen for" not in text
    assert "mean over seeds" in text
    assert "Student" not in metrics.render(searched)
    assert "mean over seeds" not in metrics.render(searched)
    assert "chosen for a good entity_f1" in metrics.render(searched)


def test_where_less_is_better_the_arrow_points_down(perplexity: StudyResults) -> None:
    text = metrics.render(perplexity)
    assert "perplexity \u2193" in text
    assert "bits per byte \u2193" in text


def test_a_metric_of_unknown_direction_has_no_arrow(full: StudyResults) -> None:
    noted = [{**one, "direction": ""} for one in full.attributes["metrics"]]
    results = dataclasses.replace(full, attributes={**full.attributes, "metrics": noted})
    text = metrics.render(results)
    assert "exact match" in text
    assert "exact match \u2191" not in text
    assert "of exact_match the task does not say which" in text
    assert "entity f1 \u2191" in text


def test_a_task_with_one_metric_says_so(full: StudyResults) -> None:
    noted = full.attributes["metrics"][:1]
    results = dataclasses.replace(full, attributes={**full.attributes, "metrics": noted})
    text = metrics.render(results)
    assert "This task has no other metric" in text
    assert "exact match" not in text


@pytest.mark.parametrize("size", ["ablated", "one"])
def test_smaller_studies_show_the_best_on_validation(
    size: str, request: pytest.FixtureRequest
) -> None:
    text = metrics.render(request.getfixturevalue(size))
    assert "on the validation split" in text
    assert "exact match" in text


def test_an_empty_study_says_so(empty: StudyResults) -> None:
    assert "Nothing has been scored yet" in metrics.render(empty)


@pytest.fixture(scope="module")
def shown(full: StudyResults) -> str:
    return html.unescape(classes.render_classes(full))


def test_both_views_have_f1_at_once_and_the_parts_on_demand(shown: str) -> None:
    assert "At the incumbent's other settings" in shown
    assert "On q and v" in shown
    assert shown.count("<table") == 6
    assert shown.count("<details>") == 4
    assert "validation split" in shown


def test_every_class_and_both_means_have_a_row(full: StudyResults, shown: str) -> None:
    for name in (*full.objective.classes, "micro", "macro"):
        assert shown.count(f">{name}</th>") == 6


def test_the_columns_run_from_the_base_over_the_ranks_to_the_best(shown: str) -> None:
    head = shown[shown.index("<thead>") : shown.index("</thead>")]
    ranks = ["r=4", "r=8", "r=16", "r=32"]
    names = ["base model (5-shot)", *ranks, "Best", "dictionary", "Support"]
    places = [head.index(f">{name}<") for name in names]
    assert places == sorted(places)


def test_cells_are_the_frames(full: StudyResults, shown: str) -> None:
    frame = classes.tables_classes(full)["f1"]
    value = float(frame.iloc[0]["r=16"])
    assert f">{formatting.number(100 * value, 1)}</td>" in shown


def test_a_metric_without_classes_says_so(perplexity: StudyResults) -> None:
    assert "perplexity is computed on whole texts" in classes.render_classes(perplexity)
    assert classes.tables_classes(perplexity) == {}


def test_without_an_ablation_it_says_so(one: StudyResults) -> None:
    assert "there are no scores by class" in classes.render_classes(one)


def test_a_metric_of_whole_texts_has_no_table(summaries: StudyResults) -> None:
    assert "rougeL is computed on whole texts" in classes.render_classes(summaries)
    assert "<table" not in classes.render_classes(summaries)


def test_many_classes_are_folded_below_their_totals(intents: StudyResults) -> None:
    text = html.unescape(classes.render_classes(intents))
    assert "Accuracy by class. At the incumbent's other settings." in text
    assert text.count("<summary>All 77 classes</summary>") == len(classes.VIEWS)
    open_part = text[: text.index("<details>")]
    assert ">all examples</th>" in open_part
    assert ">mean of classes</th>" in open_part
    assert ">intent_00</th>" not in open_part
    assert text.count(">intent_76</th>") == len(classes.VIEWS)
    head = text[text.index("<thead>") : text.index("</thead>")]
    names = [
        "base model (zero-shot)",
        "base model (5-shot)",
        "r=4",
        "r=32",
        "Best",
        "most frequent class",
        "Support",
    ]
    places = [head.index(f">{name}<") for name in names]
    assert places == sorted(places)
    assert "<small>references</small>" in head


def test_a_class_that_does_not_occur_has_a_dash(intents: StudyResults) -> None:
    frame = classes.tables_classes(intents)["score"]
    absent = frame.loc[frame["support"] == 0, "class"].iloc[0]
    text = html.unescape(classes.render_classes(intents))
    row = text[text.index(f">{absent}</th>") :]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row[: row.index("</tr>")])
    assert set(cells[:-1]) == {formatting.MISSING}
    assert cells[-1] == "0"
