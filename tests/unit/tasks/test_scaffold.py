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
    DataSection,
    ExampleLengths,
    choose_metrics,
    render_sweep_yaml,
    render_task_yaml,
    suggest_max_length,
    suggest_max_new_tokens,
    suggest_prompt,
)
from harness.tasks.schema import TaskFile

SOURCE = DataSection("my data", "../../my data", "jsonl", {}, {}, True)
LENGTHS = ExampleLengths(answer=100, total=400, rows=1000, words=9.0)


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
    text = render_task_yaml("mine", SOURCE, a_guess(kind, odd, f"{odd} too"), LENGTHS)
    file = TaskFile.model_validate(yaml.safe_load(text))
    assert (file.name, file.kind, file.data.folder) == ("mine", kind, "../../my data")
    assert odd in file.fields.values()
    assert max(len(line) for line in text.splitlines() if line.startswith("#")) < 100
    assert all(metric in METRICS for metric in file.metrics)
    assert METRICS.get(file.objective.metric).direction == file.objective.direction


def test_what_is_said_of_the_data_is_written() -> None:
    source = DataSection("x", "/x", "brat", {"train": "all notes"}, {"passages": "line"}, False, 3)
    guess = InferredTask("entities", {}, None, None, False, ("entities, for so",))
    data = TaskFile.model_validate(
        yaml.safe_load(render_task_yaml("mine", source, guess, LENGTHS))
    ).data
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
    file.write_text(render_sweep_yaml("mine", a_guess(kind), LENGTHS), encoding="utf-8")
    sweep = load_sweep(str(file), preset=preset)
    assert sweep.task == "mine"
    assert sweep.training.packing is (kind == "text")
    assert sweep.baselines.shots == (0,) or kind != "text"
    for factor, levels in sweep.ablation.factors.items():
        assert set(levels) & set(getattr(sweep.space, factor)), factor


def test_the_prompt_is_made_of_the_columns_names() -> None:
    assert suggest_prompt(a_guess("choice")) == "Message: {input}\nIntent:"
    assert suggest_prompt(a_guess("pairs", "user_talk", "x1")) == "User talk: {input}\nOutput:"
    assert suggest_prompt(a_guess("entities")) == "Text: {text}\n"
    long = a_guess("pairs")._replace(input=column("talk", multiline=True), instructed=True)
    assert suggest_prompt(long) == "{instruction}\nTalk:\n{input}\nIntent:"


@pytest.mark.parametrize(
    ("lengths", "metric"),
    [
        (ExampleLengths(numbered=True, words=20.0), "number_match"),
        (ExampleLengths(words=2.0), "exact_match"),
        (ExampleLengths(words=20.0), "rougeL"),
    ],
)
def test_answers_choose_the_metric_of_pairs(lengths: ExampleLengths, metric: str) -> None:
    assert choose_metrics("pairs", lengths).metrics[0] == metric


def test_lengths_become_tokens_with_room() -> None:
    assert (
        suggest_max_new_tokens(ExampleLengths(answer=3)),
        suggest_max_new_tokens(ExampleLengths(answer=100)),
    ) == (16, 48)
    assert suggest_max_length(ExampleLengths(total=10)) == 96
    assert suggest_max_length(ExampleLengths(total=400)) == 192
    assert suggest_max_length(ExampleLengths(total=100_000)) == 1024
