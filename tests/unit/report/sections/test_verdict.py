"""Tests of the section `verdict`."""

from __future__ import annotations

import dataclasses
import html
import re
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from harness.analysis.explanation import explain
from harness.analysis.metric_tables import baseline_table
from harness.analysis.recommendation import recommend
from harness.analysis.wording import baselines_sentence
from harness.report import formatting
from harness.report.sections import verdict
from tests import studies

if TYPE_CHECKING:
    from harness.results import StudyResults
    from harness.trial import TrialConfig


@pytest.fixture(scope="module")
def shown(full: StudyResults) -> str:
    return html.unescape(verdict.render(full))


def test_pick_score_and_evidence_are_those_of_the_analysis(full: StudyResults, shown: str) -> None:
    advice = recommend(full)
    assert advice.pick is not None
    assert advice.score is not None
    scale = formatting.scale(full.objective)
    assert f'id="pick">{formatting.label(advice.pick)}<' in shown
    assert f'class="big">{scale.show(advice.score.value)}<' in shown
    assert scale.interval(advice.score.low, advice.score.high) in shown
    assert advice.evidence in shown
    assert all(sentence in shown for sentence in advice.not_supported)
    assert all(name in shown for name in advice.indistinguishable)


def test_every_finalist_has_a_row_and_a_verdict(full: StudyResults, shown: str) -> None:
    frame = verdict.tables(full)["finalists"]
    assert len(frame) == len(full.attributes["finalists"])
    for row in frame.to_dict("records"):
        assert formatting.label(row, rate_too=True) in shown
    assert shown.count('class="tag tag-pick"') == 1


@pytest.mark.parametrize("study", ["full", "perplexity"])
def test_a_gain_is_positive_where_the_pick_is_better(
    study: str, request: pytest.FixtureRequest
) -> None:
    results: StudyResults = request.getfixturevalue(study)
    gains = verdict.gain_table(results, recommend(results).score)
    assert (gains["gain"] > 0).all()


def test_of_the_base_only_the_most_shots_are_told(shown: str) -> None:
    assert "Gain over the base model (5-shot)" in shown
    assert "Gain over the dictionary" in shown
    assert "Gain over the base model (zero-shot)" not in shown


def test_what_was_left_out_and_the_snippet_are_there(full: StudyResults, shown: str) -> None:
    assert full.attributes["dropped"][0] in shown
    assert "config = LoraConfig(" in shown
    assert 'data-from="snippet"' in shown


def test_what_was_noted_of_the_data_stands_on_the_first_screen(full: StudyResults) -> None:
    notes = ["3 inputs occur in more than one split", "quality: 2 of 9 training rows left out"]
    noted = dataclasses.replace(full, provenance={**full.provenance, "task_notes": notes})
    text = html.unescape(verdict.render(noted))
    assert all(text.index(one) < text.index("<h3>Evidence</h3>") for one in notes)
    assert "Notes on the data" not in verdict.render(full)


def test_what_was_cut_to_make_tokens_stands_below_what_was_noted_of_the_data(
    full: StudyResults,
) -> None:
    cut = "4 training prompts were cut on the left to 64 tokens"
    counted = dataclasses.replace(full, attributes={**full.attributes, "token_notes": [cut]})
    alone = html.unescape(verdict.render(counted))
    assert alone.index("Notes on the data") < alone.index(cut)
    assert alone.index(cut) < alone.index("<h3>Evidence</h3>")
    noted = {**full.provenance, "task_notes": ["3 rows were set aside"]}
    both = html.unescape(verdict.render(dataclasses.replace(counted, provenance=noted)))
    assert both.index("3 rows were set aside") < both.index(cut)
    none = dataclasses.replace(full, attributes={**full.attributes, "token_notes": []})
    assert "Notes on the data" not in verdict.render(none)


def test_a_running_study_says_so(one: StudyResults) -> None:
    waiting = one.trials.assign(number=1, state="waiting", value=float("nan"))
    trials = pd.concat([one.trials, waiting], ignore_index=True)
    text = verdict.render(dataclasses.replace(one, trials=trials))
    assert "1 trial is running or waiting" in text


def test_without_a_confirm_stage_it_says_what_to_do(ablated: StudyResults) -> None:
    text = html.unescape(verdict.render(ablated))
    assert "Nothing was confirmed on fresh seeds" in text
    assert "LoraConfig" not in text
    assert recommend(ablated).evidence in text


def test_an_open_question_is_called_open() -> None:
    config = studies.config()
    close: dict[TrialConfig, list[float]] = {
        config.replace(rank=rank, alpha=2.0 * rank): [0.70, 0.90, 0.75, 0.85, 0.80]
        for rank in (4, 8)
    }
    swapped = config.replace(rank=8, alpha=16.0)
    close[swapped] = close[swapped][::-1]
    results = studies.confirm_results(close, looks=(5,))
    advice = recommend(results)
    text = html.unescape(verdict.render(results))
    assert advice.outcome == "undecided"
    assert "Not decided" in text
    assert "Use this" not in text
    assert "indistinguishable from the pick" not in text
    assert "Without an adapter" not in text  # nothing was scored
    if advice.more_seeds:
        assert f"about {advice.more_seeds} more seeds" in text


def test_without_a_pick_the_baselines_are_told_still(full: StudyResults, shown: str) -> None:
    told = baselines_sentence(full)
    assert told not in shown  # the gains over them are
    changed = dataclasses.replace(full, trials=full.trials[full.trials["seed"] < 3001])
    assert recommend(changed).pick is None
    assert told in html.unescape(verdict.render(changed))


def test_a_pick_below_a_floor_is_not_told_to_be_used(full: StudyResults, shown: str) -> None:
    assert "Use this" in shown
    right = full.baselines["name"] == "dictionary"
    rows = full.baselines.copy()
    hits = [name for name in full.objective.columns if name.endswith("tp")]
    rows.loc[right, hits] = 1000.0
    changed = dataclasses.replace(full, baselines=rows)
    text = html.unescape(verdict.render(changed))
    assert "Use this" not in text
    assert "The best here, and no better than the dictionary" in text
    assert "which needs no model" in text


def facts(results: StudyResults) -> dict[str, tuple[str, str]]:
    text = html.unescape(verdict.render(results))
    found = re.findall(
        r'<dt>(.*?)</dt><dd>(.*?)</dd><dd class="note">(.*?)</dd>', text, flags=re.DOTALL
    )
    return {name: (value, note) for name, value, note in found}


def test_a_gain_in_perplexity_is_told_as_what_it_is_below_the_base(
    likelihoods: StudyResults,
) -> None:
    scale = formatting.scale(likelihoods.objective)
    (gain,) = verdict.gain_table(likelihoods, recommend(likelihoods).score).to_dict("records")
    assert gain["gain"] > 0
    value, note = facts(likelihoods)["Gain over the base model (zero-shot)"]
    assert value == scale.gap(gain["gain"])
    assert note == f"perplexity below it; it reaches {scale.show(gain['baseline'])}"


def test_all_baselines_of_the_task_are_told(
    summaries: StudyResults, intents: StudyResults
) -> None:
    names = [name for name in facts(summaries) if name.startswith("Gain")]
    others = ["copied input", "first sentence"]
    assert names == [f"Gain over the {name}" for name in ("base model (5-shot)", *others)]
    assert "Gain over the most frequent class" in facts(intents)


def test_a_worse_finalist_has_a_difference_above_0_where_less_is_better(
    likelihoods: StudyResults,
) -> None:
    frame = verdict.tables(likelihoods)["finalists"].set_index(["rank", "target_modules"])
    worst = frame.loc[(4, "qv")]
    assert worst["verdict"] == "worse"
    assert worst["difference_to_best"] > likelihoods.objective.margin
    assert worst["upper"] > worst["difference_to_best"] > worst["lower"] >= 0
    best = frame["value"].idxmin()
    assert frame.loc[best, "difference_to_best"] < 0


def test_what_was_highest_by_plan_is_lowest_where_less_is_better() -> None:
    study = studies.make_results(
        objective=studies.PERPLEXITY, trials=4, stages=("search", "ablate"), name="laid_down"
    )
    trials = study.trials[study.trials["stage"] != "search"]
    plan = {**study.sweep, "search": {"trials": 0}, "confirmation": {"max_configurations": 0}}
    text = verdict.render(dataclasses.replace(study, trials=trials, sweep=plan))
    assert "by plan. Lowest on validation:" in text
    assert "has the lowest mean of" in text


def test_the_noise_floor_is_told_without_a_pick_too(ablated: StudyResults) -> None:
    advice = recommend(ablated)
    assert advice.pick is None
    page = verdict.render(ablated)
    assert "Seed noise" in page
    assert f"{100 * float(advice.seed_sd or 0):.1f}" in page


def test_the_chain_from_trials_to_verdict_is_on_the_page(full: StudyResults) -> None:
    page = html.unescape(str(verdict.render(full)))
    steps = explain(full)
    assert len(steps) == 8
    for step in steps:
        for line in step.lines:
            assert line in page


def test_the_baselines_are_scored_again_from_their_statistics(full: StudyResults) -> None:
    frame = baseline_table(full).set_index("name")
    rows = full.baselines[
        (full.baselines["name"] == "dictionary") & (full.baselines["split"] == "test")
    ]
    sums = rows[list(full.objective.columns)].to_numpy(dtype=float).sum(axis=0)
    assert frame.loc["dictionary", "value"] == pytest.approx(float(full.objective.value(sums)))
    assert frame.loc["dictionary", "examples"] == rows["example"].nunique()


@pytest.mark.parametrize("study", ["full", "perplexity"])
def test_all_baselines_stand_in_one_sentence(study: str, request: pytest.FixtureRequest) -> None:
    results: StudyResults = request.getfixturevalue(study)
    text = baselines_sentence(results)
    scale = formatting.scale(results.objective)
    assert text.startswith("Without an adapter, test split: base model (zero-shot) ")
    assert text.endswith(f" {scale.unit}.")
    for row in baseline_table(results).to_dict("records"):
        assert f"{formatting.baseline_label(row['name'])} {scale.show(row['value'])}" in text


def test_without_a_scored_baseline_there_is_no_sentence(full: StudyResults) -> None:
    unscored = dataclasses.replace(full, baselines=full.baselines.head(0))
    assert baselines_sentence(unscored) == ""


@pytest.mark.parametrize("study", ["intents", "likelihoods"])
def test_a_score_is_a_share_of_full_fine_tuning(
    study: str, request: pytest.FixtureRequest
) -> None:
    results: StudyResults = request.getfixturevalue(study)
    fact = verdict.share_of_full(results, 0.8 if results.objective.sign > 0 else 4.0)
    assert fact is not None
    trials = results.trials.query("stage == 'full' and state == 'complete'")
    scores = [
        float(
            results.objective.value(
                results.statistics(number, "test").to_numpy(dtype=float).sum(axis=0)
            )
        )
        for number in trials["number"]
    ]
    full_score = sum(scores) / len(scores)
    base = 0.0
    if results.objective.sign < 0:
        frame = baseline_table(results).set_index("name")["value"]
        base = min(value for name, value in frame.items() if str(name).startswith("base"))
    value = 0.8 if results.objective.sign > 0 else 4.0
    assert fact["value"] == f"{formatting.number(100 * (value - base) / (full_score - base), 1)} %"
    assert formatting.scale(results.objective).show(full_score) in fact["note"]
    assert f"{len(scores)} seed" in fact["note"]


def test_without_full_fine_tuning_there_is_no_share(full: StudyResults) -> None:
    assert verdict.share_of_full(full, 0.8) is None
