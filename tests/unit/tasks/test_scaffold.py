"""What is written can be read: by the task's model, by the sweep's, under any column name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.config.sweep import load_sweep
from harness.metrics.metric import METRICS
from harness.tasks.infer import Column, InferredTask
from harness.tasks.scaffold import (
    Lengths,
    Source,
    max_length,
    measured,
    new_tokens,
    prompt,
    sweep_text,
    task_text,
)
from harness.tasks.schema import TaskFile

SOURCE = Source("my data", "../../my data", "jsonl", {}, {}, True)
LENGTHS = Lengths(answer=100, whole=400, rows=1000, words=9.0)


def column(name: str, **more: Any) -> Column:
    given = {"rows": 100, "values": 100, "words": 9.0, **more}
    return Column(name, "text", **given)


def a_guess(kind: str, asked: str = "message", answer: str = "intent") -> InferredTask:
    output = None if kind in {"entities", "text"} else column(answer, values=4, rarest=9)
    fields = {"text" if output is None else "input": asked}
    fields |= {} if output is None else {"output": answer}
    return InferredTask(kind, fields, column(asked), output, False, (f"{kind}, for it is so",))


@pytest.mark.parametrize("kind", ["entities", "pairs", "choice", "text"])
@pytest.mark.parametrize("odd", ["message", 'a: "b" # c', "two\nlines", "{braces}", "ünï", "yes"])
def test_a_task_of_any_kind_and_column_is_read_back(kind: str, odd: str) -> None:
    text = task_text("mine", SOURCE, a_guess(kind, odd, f"{odd} too"), LENGTHS)
    file = TaskFile.model_validate(yaml.safe_load(text))
    assert (file.name, file.kind, file.data.folder) == ("mine", kind, "../../my data")
    assert odd in file.fields.values()
    assert max(len(line) for line in text.splitlines() if line.startswith("#")) < 100
    assert all(metric in METRICS for metric in file.metrics)
    assert METRICS.get(file.objective.metric).direction == file.objective.direction


def test_what_is_said_of_the_data_is_written() -> None:
    source = Source("x", "/x", "brat", {"train": "all notes"}, {"passages": "line"}, False, 3)
    guess = InferredTask("entities", {}, None, None, False, ("entities, for so",))
    data = TaskFile.model_validate(yaml.safe_load(task_text("mine", source, guess, LENGTHS))).data
    assert (data.format, data.splits, data.options) == (
        "brat",
        {"train": "all notes"},
        {"passages": "line"},
    )
    assert (data.leaks, data.split.stratify) == ("drop", True)


@pytest.mark.parametrize("kind", ["entities", "pairs", "choice", "text"])
@pytest.mark.parametrize("preset", [None, "quick"])
def test_a_sweep_of_any_kind_is_read_back(kind: str, preset: str | None, workplace: Path) -> None:
    file = workplace / "mine.yaml"
    file.write_text(sweep_text("mine", a_guess(kind), LENGTHS), encoding="utf-8")
    sweep = load_sweep(str(file), preset=preset)
    assert sweep.task == "mine"
    assert sweep.training.packing is (kind == "text")
    assert sweep.baselines.shots == (0,) or kind != "text"
    for factor, levels in sweep.ablation.factors.items():
        assert set(levels) & set(getattr(sweep.space, factor)), factor


def test_the_prompt_is_made_of_the_columns_names() -> None:
    assert prompt(a_guess("choice")) == "Message: {input}\nIntent:"
    assert prompt(a_guess("pairs", "user_talk", "x1")) == "User talk: {input}\nOutput:"
    assert prompt(a_guess("entities")) == "Text: {text}\n"
    long = a_guess("pairs")._replace(input=column("talk", lines=True), instructed=True)
    assert prompt(long) == "{instruction}\nTalk:\n{input}\nIntent:"


@pytest.mark.parametrize(
    ("lengths", "metric"),
    [
        (Lengths(numbered=True, words=20.0), "number_match"),
        (Lengths(words=2.0), "exact_match"),
        (Lengths(words=20.0), "rougeL"),
    ],
)
def test_answers_choose_the_metric_of_pairs(lengths: Lengths, metric: str) -> None:
    assert measured("pairs", lengths).metrics[0] == metric


def test_lengths_become_tokens_with_room() -> None:
    assert (new_tokens(Lengths(answer=3)), new_tokens(Lengths(answer=100))) == (16, 48)
    assert max_length(Lengths(whole=10)) == 96
    assert max_length(Lengths(whole=400)) == 192
    assert max_length(Lengths(whole=100_000)) == 1024
