"""Tests of the section `metrics`."""

import dataclasses
import html
import re

import pytest

from harness.report import formatting as display
from harness.report.sections import metrics
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
    assert "bare base" in rows[-3]
    assert "5-shot base" in rows[-2]
    assert "dictionary" in rows[-1]
    assert "Finalists on the test split" in text


def test_values_stand_in_the_units_of_the_task(full: StudyResults) -> None:
    frame = metrics.tables(full)["metrics"]
    first = frame[(frame["metric"] == "exact_match") & (frame["baseline"] == "")].iloc[0]
    row = rows_of(html.unescape(metrics.render(full)))[1]
    digits = full.objective.digits
    assert display.number(100 * first["value"], digits) in row
    assert display.number(100 * first["low"], digits) in row


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
