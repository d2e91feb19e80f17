"""Tests of the section `search`.

Tests of the section `trials`.
"""

from __future__ import annotations

import dataclasses
import html
import re
from typing import TYPE_CHECKING

import pytest

from harness.analysis import search as searched
from harness.report.sections import search
from harness.report.sections import search as trials
from tests import studies
from tests.figures import figures_in, groups_in, marks, series_of

if TYPE_CHECKING:
    from harness.results import StudyResults


@pytest.mark.parametrize("study", ["full", "perplexity"])
def test_the_best_so_far_never_gets_worse(study: str, request: pytest.FixtureRequest) -> None:
    results: StudyResults = request.getfixturevalue(study)
    frame, sign = searched.history(results), results.objective.sign
    assert (sign * frame["best"]).is_monotonic_increasing
    assert sign * frame["best"].iloc[-1] == (sign * frame["value"]).max()


def test_duplicates_pruned_and_failed_trials_are_not_in_the_history(full: StudyResults) -> None:
    frame = searched.history(full)
    rows = full.trials[full.trials["stage"] == "search"]
    good = rows[(rows["state"] == "complete") & rows["duplicate_of"].isna()]
    assert list(frame["number"]) == list(good["number"])


def test_top_trials_are_the_best_ones(full: StudyResults) -> None:
    frame = search.top_table(full)
    assert len(frame) == search.TOP
    assert frame["value"].is_monotonic_decreasing
    assert frame["value"].iloc[0] == searched.history(full)["value"].max()
    assert frame["parameters"].notna().all()


def test_states_add_up_to_all_trials(full: StudyResults) -> None:
    frame = search.state_table(full).set_index("stage")
    assert list(frame.index) == ["search", "tune", "ablate", "confirm"]
    assert int(frame.to_numpy().sum()) == len(full.trials)
    assert (frame.loc["search", "failed"], frame.loc["search", "pruned"]) == (1, 2)


def test_the_rung_correlation_is_told_where_it_is_known(
    full: StudyResults, one: StudyResults
) -> None:
    assert "+0.91" in search.render(full)
    assert "too few trials" in search.render(one)


def test_a_single_trial_draws_no_history(one: StudyResults) -> None:
    assert "there is no history to draw" in search.render(one)
    assert figures_in(search.render(one)) == []


IMPORTANCE = {
    "factors": [
        {"factor": name, "ped_anova": 0.1, "fanova": share, "forest": 0.1, "low": 0.0, "high": 0.2}
        for name, share in (("dropout", 0.1), ("target_modules", 0.5), ("learning_rate", 0.3))
    ],
    "dependence": [],
}


def important(results: StudyResults) -> StudyResults:
    """The study with the importances that its search left."""
    attributes = {**results.attributes, "importance": IMPORTANCE}
    return dataclasses.replace(results, attributes=attributes)


def test_charts_show_every_trial_of_a_short_search(full: StudyResults) -> None:
    study = important(full)
    text = search.render(study)
    (past,), slices, (lines,), (heat,) = groups_in(text)
    count = len(searched.history(study))
    assert marks(past) == count
    assert [marks(figure) for figure in slices] == [count] * 6
    assert sum(trace["x"].count(None) for trace in lines["data"]) == count
    assert "Drawn" not in text
    cells = [cell for row in heat["data"][0]["text"] for cell in row if cell]
    assert sum(int(cell.partition("<br>")[2]) for cell in cells) == count
    assert len(cells) == len(search.tables(study)["heat"])
    assert "not an ablation" in text


def test_a_mark_shows_its_trial(full: StudyResults) -> None:
    past = figures_in(search.render(full))[0]
    best = searched.history(full).sort_values("value").iloc[-1]
    shown = series_of(past)["new best"]["hovertext"][-1]
    assert shown.startswith(f"trial {best['number']:.0f}: {100 * best['value']:.1f} points of F1")
    assert "lr " in shown


def test_the_figures_of_the_page_are_those_for_files(full: StudyResults) -> None:
    study = important(full)
    drawn = [chart.figure.to_plotly_json() for chart in search.search_charts(study)]
    assert [each["data"] for each in figures_in(search.render(study))] == [
        each["data"] for each in drawn
    ]


def test_without_importances_there_is_no_heat_map(full: StudyResults) -> None:
    assert len(groups_in(search.render(full))) == 3
    assert search.tables(full)["heat"].empty


def test_the_noise_floor_is_told_where_it_is_known(full: StudyResults) -> None:
    young = studies.make_results(stages=("search",))
    assert "may be chance" in search.render(full)
    assert any("1.96" in name for name in series_of(figures_in(search.render(full))[0]))
    assert "may be chance" not in search.render(young)
    assert "1.96" not in str(figures_in(search.render(young))[0])


def test_a_parameter_without_choice_is_not_drawn(full: StudyResults) -> None:
    trials = full.trials.assign(dropout=0.0, variant="lora")
    _, slices, (lines,) = groups_in(search.render(dataclasses.replace(full, trials=trials)))
    assert len(slices) == 4
    names = lines["layout"]["xaxis"]["ticktext"]
    assert names == ["rank", "alpha ratio", "target modules", "learning rate", "score"]


def test_a_run_that_fell_apart_stands_on_the_edge(perplexity: StudyResults) -> None:
    trials = perplexity.trials.copy()
    trials.loc[trials["number"] == 3, "value"] = 1e6
    text = search.render(dataclasses.replace(perplexity, trials=trials))
    assert "On the edge: 1 that scored above" in text
    for figure in figures_in(text)[:2]:
        assert max(figure["layout"]["yaxis"]["range"]) < 100


def test_the_page_of_a_long_search_stays_small() -> None:
    sizes = {"validation": 3, "test": 3}
    long = studies.make_results(trials=2000, sizes=sizes, stages=("search",))
    text = search.render(important(long))
    (past,), slices, (lines,), _ = groups_in(text)
    assert marks(past) <= search.POINTS
    assert [marks(figure) for figure in slices] == [search.POINTS] * 6
    drawn = {trace["name"]: trace["x"].count(None) for trace in lines["data"]}
    best = searched.best_few(searched.scored(long)["value"].tolist(), 1.0)
    assert drawn == {"other trials": search.LINES - len(best), "the best": len(best)}
    assert "400 of 1\N{NARROW NO-BREAK SPACE}997 trials" in text
    assert len(text.encode()) < 500_000
    assert len(search.tables(long)["slices"]) == 6 * 1997


def test_names_from_outside_are_text(full: StudyResults) -> None:
    trials = full.trials.copy()
    trials["target_modules"] = trials["target_modules"].replace("qv", "<b>")
    text = search.render(important(dataclasses.replace(full, trials=trials)))
    assert "<b>" not in re.sub(r"<b>\S+</b>", "", text)
    assert text.count("&lt;b&gt;") >= 2  # in tables
    assert "&lt;b>" in str(figures_in(text))  # for plotly, which reads some tags
    assert "<b>" not in str(figures_in(text))


def test_importances_are_shown_as_they_were_noted(full: StudyResults) -> None:
    body = {
        "factors": [
            {"factor": "rank", "ped_anova": 0.005, "fanova": 0.19, "forest": 0.3, "low": -0.1}
            | {"high": 0.7},
            {"factor": "dropout", "ped_anova": None, "fanova": None, "forest": 0.0, "low": 0.0}
            | {"high": 0.1},
        ],
        "dependence": [{"factor": "rank", "level": 4, "value": 0.8, "low": 0.7, "high": 0.9}],
    }
    study = dataclasses.replace(full, attributes={**full.attributes, "importance": body})
    page = search.render(study)
    assert "PED-ANOVA" in page
    assert re.search(r"<td[^>]*>19</td>", page)
    assert "not an ablation" in page
    assert len(search.importance_table(study)) == 2
    assert search.dependence_table(study)["level"].tolist() == [4]
    assert "begun before this was recorded" in search.render(full)


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
