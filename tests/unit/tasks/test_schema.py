from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import catalog
from harness.errors import UserError
from harness.tasks.schema import read_task_file

GOOD = """\
name: mine
summary: Something to extract
labels: [A, B]
data: {folder: data}
prompt: "Text: {text}\\nFound:"
metrics: [entity_f1]
objective: {metric: entity_f1, direction: maximize, margin: 0.02}
"""


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "task.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_keys_that_are_left_out_have_defaults(tmp_path: Path) -> None:
    file = read_task_file(write(tmp_path, GOOD))
    assert (file.public, file.fold_case, file.kind, file.data.format) == (
        False,
        False,
        "entities",
        "jsonl",
    )
    assert (file.target.after_label, file.target.between_items) == (":", ";")


@pytest.mark.parametrize("name", catalog.list_tasks())
def test_every_task_that_is_shipped_is_right(name: str) -> None:
    assert read_task_file(catalog.find_task(name) / "task.yaml").name == name


FAULTS = {
    ("{folder: data}", "{folder: data, hub: a/b}"): "data: give either 'generator', 'folder' or",
    ("{folder: data}", "{folder: data, revision: main}"): "data: 'config' and 'revision' belong",
    ("{folder: data}", "{folder: data, format: brat, options: {nested: inner}}"): (
        "data: options.nested: Input should be 'keep', 'outermost' or 'innermost', but is 'inner' "
        "(format brat)"
    ),
    ("{folder: data}", "{folder: data, options: {nested: keep}}"): (
        "data: options.nested: unknown key; known: none (format jsonl)"
    ),
    ("{folder: data}", "{folder: data, format: brat, options: {nestd: keep}}"): (
        "data: options.nestd: unknown key; did you mean 'nested'? (format brat)"
    ),
    ("prompt:", "fields: {txt: note}\nprompt:"): "fields.txt",
    ("prompt:", "head: token_classification\nprompt:"): (
        "prompt: a task of head token_classification has no prompt"
    ),
    ("metrics:", "kind: pairs\nhead: token_classification\nmetrics:"): (
        "head: token_classification is for tasks of kind entities"
    ),
    ("metrics:", "head: tagger\nmetrics:"): (
        "head: Input should be 'generation' or 'token_classification'"
    ),
    ("[entity_f1]", "[entity_f1, rougeL]"): "metrics: rougeL scores tasks of kind pairs, not ent",
    ("metrics:", "metric:"): "metric: unknown key; did you mean 'metrics'?",
    ("margin: 0.02", "margn: 0.02"): "objective.margn: unknown key; did you mean 'margin'?",
    ("{folder: data}", "{folder: data, sizes: {trian: 1}}"): (
        "data.sizes.trian: unknown key; did you mean 'train'?"
    ),
    ("summary: Something to extract\n", ""): "summary: is missing",
    (", margin: 0.02", ""): "objective.margin: is missing",
    ("margin: 0.02", "margin: -1"): (
        "objective.margin: Input should be greater than or equal to 0"
    ),
    ("margin: 0.02", "margin: much"): "objective.margin: Input should be a valid number",
    ("maximize", "minimize"): "objective.direction: entity_f1 has to be maximized",
    ("metrics: [entity_f1]", "metrics: [entity_f]"): (
        "metrics: unknown metric 'entity_f'; did you mean 'entity_f1'?"
    ),
    ("metric: entity_f1", "metric: rouge"): "objective.metric: 'rouge' is not one of the task's",
    ("{text}", "text"): "prompt: has to name {text} exactly once",
    ("[A, B]", "[A, A]"): "labels: give at least one label, none of them twice, or 'auto'",
    ("[A, B]", "5"): "labels: ",
    ("{folder: data}", "{}"): "data: give either 'generator', 'folder' or 'hub'",
    ("{folder: data}", "{generator: g.py}"): "data: 'sizes' belong to a 'generator'",
    ("{folder: data}", "{folder: data, format: json}"): (
        "data: unknown format 'json'; did you mean 'jsonl'?"
    ),
    ("[A, B]\ndata: {folder: data}", "auto\ndata: {generator: g, sizes: {train: 1, test: 1, "
     "validation: 1}}"): "labels: the labels of a generator have to be listed",
    ("name: mine", "name: my task"): "name: String should match pattern",
    ("{folder: data}", "{folder: data, split: {test_share: 0.5, validation_share: 0.5}}"): (
        "data.split: validation_share and test_share leave no row to train on"
    ),
    ("{folder: data}", "{folder: data, split: {share: 0.5}}"): "data.split.share: unknown key",
    ("{folder: data}", "{folder: data, leaks: allow}"): (
        "data.leaks: Input should be 'stop' or 'drop'"
    ),
    ("name: mine", "name: mine\nquality: {min_scor: 4}"): (
        "quality.min_scor: unknown key; did you mean 'min_score'?"
    ),
    ("name: mine", "name: mine\nquality: {min_words: 9, max_words: 2}"): (
        "quality: min_words 9 is above max_words 2"
    ),
    ("name: mine", "name: mine\ntarget: {between_items: a}"): (
        "target.between_items: 'a' should be one visible character such as ; or |"
    ),
    ("name: mine", "name: mine\ntarget: {between_items: '|'}"): (
        "target: the three separators have to differ"
    ),
    ("name: mine", "name: mine\ntarget: {empty: '-'}"): "target: empty: '-' should be a word",
    ("name: mine", "name: mine\ntarget: {names: {A: 'x:'}}"): (
        "target.names.A: 'x:' should be a word of letters and digits"
    ),
    ("name: mine", "name: mine\ntarget: {names: {A: x, B: x}}"): (
        "target: names: two labels have the same name"
    ),
    ("name: mine", "name: mine\ntarget: {names: {AA: x}}"): (
        "target.names: 'AA' is not one of the labels; did you mean 'A'?"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), FAULTS.items(), ids=[str(k) for k in FAULTS])
def test_a_fault_is_told_in_one_line_with_its_key(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    assert change[0] in GOOD
    path = write(tmp_path, GOOD.replace(*change))
    with pytest.raises(UserError) as told:
        read_task_file(path)
    assert str(told.value).startswith(f"{path}: {message}")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: [", "not YAML: "),
        ("name: 2026-13-01", "not YAML: month must be in 1..12"),
        ("- a", "should be keys and values"),
        ("", "should be keys and values"),
        (b"name: \xff", "not UTF-8"),
    ],
)
def test_what_is_no_task_file_is_told(content: str | bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UserError) as told:
        read_task_file(path)
    assert str(told.value).startswith(f"{path}: {message}")
    assert "\n" not in str(told.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task\.yaml: cannot be read \(No such file"):
        read_task_file(tmp_path / "task.yaml")
