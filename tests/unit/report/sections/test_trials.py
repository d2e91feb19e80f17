"""Tests of the section `trials`."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from harness.report.sections import search as trials

if TYPE_CHECKING:
    from harness.results import StudyResults


def test_every_trial_has_a_row_with_its_stage(full: StudyResults) -> None:
    text = trials.render_trials(full)
    assert text.count("<tr") == len(full.trials) + 1
    for stage in ("search", "tune", "ablate", "confirm"):
        expected = int((full.trials["stage"] == stage).sum())
        assert text.count(f'data-stage="{stage}"') == expected
        assert f'<option value="{stage}">' in text


def test_reasons_are_told_for_failed_pruned_and_repeated_trials(full: StudyResults) -> None:
    frame = trials.trial_table(full).set_index("number")
    assert frame.loc[9, "reason"] == "loss is NaN at step 12"
    assert frame.loc[5, "reason"] == "pruned at step 16"
    (copy,) = full.trials.loc[full.trials["duplicate_of"].notna(), "number"]
    assert frame.loc[copy, "reason"] == "repeats trial 15, not run again"
    assert frame.loc[0, "reason"] == ""
    text = html.unescape(trials.render_trials(full))
    assert all(reason in text for reason in frame["reason"])


def test_a_trial_without_cost_keeps_its_row(full: StudyResults) -> None:
    assert len(trials.trial_table(full)) == len(full.trials) > len(full.costs)


def test_values_keep_all_digits_for_sorting(full: StudyResults) -> None:
    value = full.trials["value"].dropna().iloc[0]
    assert f'data-key="{value}"' in trials.render_trials(full)
