"""Answers beside their texts, read from a real study and its task's files."""

import dataclasses
import html
import re

import pandas as pd
import pytest

from harness.analysis import error_analysis
from harness.config.sweep import load_sweep
from harness.report.sections import errors
from harness.study.outputs import SEEDS, attach_outputs
from harness.tasks.task import load_task
from tests.integration.study.test_stages import study
from tests.studies import make_results

#: Two finalists that differ.
TWO = ["confirmation.looks=[2]", "ablation.factors={rank: [1, 16]}", "space.rank=[1, 16]"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    found = study(tmp_path_factory.mktemp("shown"), [*TWO, "data.limit=40"])
    task = load_task("ner_medical", limit=40)
    return dataclasses.replace(found, provenance={**found.provenance, "task_digest": task.digest})


@pytest.fixture(scope="module")
def shown(results):
    return attach_outputs(results)


def test_answers_add_up_to_the_statistics_of_the_metric(shown):
    who = error_analysis.compared_configurations(shown)
    rows = error_analysis.rows_of(shown, who, who.chief)
    answers = shown.texts.answers
    answers = answers[answers["who"] == who.chief]
    for label in shown.objective.classes:
        own = answers[answers["label"] == label]
        for part, outcome in (("tp", "found"), ("fn", "missed"), ("fp", "spurious")):
            assert (own["outcome"] == outcome).sum() == rows[f"{label}.{part}"].sum()


def test_passages_are_the_examples_and_places_hold_the_forms(shown):
    texts = shown.texts.passages.set_index("example")
    assert (texts["words"] == texts["text"].str.split().str.len()).all()
    gold = shown.texts.answers.query("outcome != 'spurious'")
    assert len(gold)
    for row in gold.itertuples():
        assert texts.loc[row.example, "text"][row.start :].startswith(row.surface)


def test_what_was_seen_in_training_is_known(shown):
    task = load_task("ner_medical", limit=40)
    forms = {text.casefold() for one in task.examples("train") for _, text in one.reference}
    gold = shown.texts.answers.query("outcome != 'spurious'")
    for row in gold.itertuples():
        assert row.known == (" ".join(row.surface.split()).casefold() in forms)
    assert set(gold["known"]) == {True, False}


def test_the_section_shows_the_texts_and_an_absent_text_is_said(shown, results):
    page = errors.render(shown)
    plain = re.sub(r"<small>.*?</small>|<[^>]+>", "", page)
    frame = errors.differences_table(shown)
    texts = shown.texts.passages.set_index("example")["text"]
    assert len(frame)
    for example in frame["example"]:
        assert f"{example}: " in page
        assert html.escape(texts[example]) in plain
    assert "which are not available here" in errors.render(results)
    assert "Nothing has been scored yet" in errors.render(study_without(results))


def study_without(results):
    none = results.trials.iloc[:0]
    return dataclasses.replace(results, trials=none)


def test_a_task_that_is_not_public_shows_no_text_unless_asked(results, monkeypatch):
    sweep = {**load_sweep("ner_medical").to_dict(), **results.sweep}
    task = load_task("ner_medical", limit=40)
    task.public = False
    monkeypatch.setattr("harness.study.outputs.load_task_for", lambda _: task)
    private = dataclasses.replace(results, sweep=sweep)
    hidden = attach_outputs(private)
    assert (hidden.texts.passages["text"] == "").all()
    assert (hidden.texts.passages["answer"] == "").all()
    assert (hidden.texts.answers["surface"] == "").all()
    assert hidden.texts.passages["words"].min() > 0
    page = errors.render(hidden)
    assert "not marked public: true" in page
    assert "--show-text" in page
    for example in task.examples("test"):
        assert example.text not in page
        assert all(surface not in page for _, surface in example.reference if len(surface) > 6)
    asked = attach_outputs(private, show=True)
    assert not asked.texts.hidden
    assert (asked.texts.passages["text"] != "").all()


def test_data_that_changed_are_not_shown(results):
    changed = dataclasses.replace(results, provenance={"task_digest": "other"})
    found = attach_outputs(changed)
    assert found.texts.passages.empty
    assert "changed since the study was made" in errors.render(found)


def test_a_task_that_is_gone_is_told(results):
    gone = dataclasses.replace(results, sweep={**results.sweep, "task": "nowhere/"})
    found = attach_outputs(gone)
    assert found.texts.passages.empty
    assert "The task is not at hand" in errors.render(found)


def test_at_most_five_seeds_are_read(monkeypatch):
    made = make_results(sizes={"validation": 20, "test": 20}, trials=8)
    who = error_analysis.compared_configurations(made)
    task = load_task("ner_medical", limit=40)
    ids = [one.id for one in task.examples("test")]
    names = sorted(made.examples["example"].astype(str).unique())
    renamed = dict(zip(names, ids, strict=False))
    examples = made.examples.assign(
        example=made.examples["example"].astype(str).map(renamed), prediction=""
    )
    sweep = {**load_sweep("ner_medical").to_dict()}
    provenance = {"task_digest": task.digest}
    monkeypatch.setattr("harness.study.outputs.load_task_for", lambda _: task)
    study_ = dataclasses.replace(made, examples=examples, sweep=sweep, provenance=provenance)
    answers = attach_outputs(study_).texts.answers
    assert isinstance(answers, pd.DataFrame)
    assert answers[answers["who"] == who.chief]["seed"].nunique() == SEEDS
