from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.data.rows import RowSpec
from harness.errors import UserError
from harness.tasks.sources import call_for_records, checked_rows, load_module
from harness.tasks.task import load_task
from tests.task_folders import pair_row, write_rows, write_task


def rows(name: str) -> list[dict[str, object]]:
    return [pair_row(f"{name}{n}-0", "o", f"text {n} of {name}") for n in range(10)]


def told(place: str) -> str:
    with pytest.raises(UserError) as fault:
        load_task(place)
    return str(fault.value)


@pytest.mark.parametrize(("split", "other"), [("validation", "dev"), ("test", "held_out")])
def test_no_split_is_made_where_another_name_may_mean_it(
    split: str, other: str, tmp_path: Path
) -> None:
    write_rows(tmp_path, "train", rows("train"))
    write_rows(tmp_path, other, rows(other))
    assert told(write_task(tmp_path, "pairs")) == (
        f"{tmp_path}: no {split}, but {other}; add data.splits: {{{split}: {other}}} to task.yaml "
        f"to use it, or rename {other} to have {split} made from train"
    )
    task = load_task(write_task(tmp_path, "pairs", data={"splits": {split: other}}))
    assert len(task.rows(split)) == 10


def test_a_data_set_of_train_alone_is_split(tmp_path: Path) -> None:
    write_rows(tmp_path / "like_a_hub", "train", rows("train"))
    keys = {"folder": None, "hub": str(tmp_path / "like_a_hub")}
    task = load_task(write_task(tmp_path, "pairs", data=keys))
    assert [len(task.rows(split)) for split in ("train", "validation", "test")] == [7, 1, 2]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_that_task_yaml_names_has_to_be_there(split: str, tmp_path: Path) -> None:
    for name in {"train", "validation", "test"} - {split}:
        write_rows(tmp_path, name, rows(name))
    place = write_task(tmp_path, "pairs", data={"splits": {split: "mine"}})
    assert told(place).startswith(
        f"{tmp_path}/mine.jsonl: no such file; a data folder needs train"
    )


def test_the_only_file_that_is_there_is_offered_as_train(tmp_path: Path) -> None:
    write_rows(tmp_path, "everything", rows("x"))
    assert told(write_task(tmp_path, "pairs")).endswith(
        "(data.splits: {train: everything} in task.yaml reads the only one)"
    )
    task = load_task(write_task(tmp_path, "pairs", data={"splits": {"train": "everything"}}))
    assert [len(task.rows(split)) for split in ("train", "validation", "test")] == [7, 1, 2]
    assert task.notes[0].startswith("no test split in everything.jsonl: 2 of 10 training examples")


def test_a_folder_with_the_usual_names_is_named_itself(tmp_path: Path) -> None:
    write_rows(tmp_path, "train", rows("x"))
    task = load_task(write_task(tmp_path, "pairs"))
    assert task.notes[0].startswith(f"no test split in {tmp_path.name}: 2 of 10 training examples")


def test_ids_that_name_no_documents_are_found_out(tmp_path: Path) -> None:
    write_rows(tmp_path, "train", [pair_row(f"d-{n}", "o", f"text {n}") for n in range(10)])
    task = load_task(write_task(tmp_path, "pairs"))
    assert [len(task.rows(split)) for split in ("train", "validation", "test")] == [7, 1, 2]
    assert task.notes[0] == (
        "all training ids begin with 'd-', so they were taken not to name documents; "
        "data.split: {by: FIELD} in task.yaml names the field to group by"
    )


def test_one_document_alone_names_the_other_way(tmp_path: Path) -> None:
    write_rows(tmp_path, "train", [pair_row(f"d-{n}", "o") for n in range(10)])
    fault = told(write_task(tmp_path, "pairs", data={"split": {"by": "document"}}))
    assert "train.jsonl: one document only, so no test split can be made" in fault
    assert "data.split: {by: row}" in fault
    task = load_task(write_task(tmp_path, "pairs", data={"split": {"by": "row"}}))
    assert len(task.rows("test")) == 2


def test_a_generator_is_checked_as_a_file_is(tmp_path: Path) -> None:
    row = {"id": "1", "text": "gout", "entities": [{"start": 0, "end": 9, "label": "A"}]}
    (tmp_path / "g.py").write_text(f"def generate(split, count, seed): return [{json.dumps(row)}]")
    sizes = {"train": 1, "validation": 1, "test": 1}
    keys = {"folder": None, "generator": "g.py", "sizes": sizes}
    place = write_task(tmp_path, "entities", data=keys, labels=["A"])
    assert "g.py: generate train: row 1: entities[0]: offsets 0..9 are outside the" in told(place)


def script(folder: Path, body: str) -> Path:
    path = folder / "generate.py"
    path.write_text(body, encoding="utf-8")
    return path


def test_a_module_may_hold_dataclasses(tmp_path: Path) -> None:
    body = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    path = script(tmp_path, f"{body}@dataclass\nclass A:\n    x: int = 1\n")
    assert load_module(path).A().x == 1


def test_rows_may_come_from_a_generator_function(tmp_path: Path) -> None:
    path = script(tmp_path, "def f(n):\n    for k in range(n):\n        yield {'id': str(k)}\n")
    assert call_for_records(path, "f", 2) == [{"id": "0"}, {"id": "1"}]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("def g(n): ...", r"generate\.py: no function 'f'; known: g$"),
        ("import no_such_thing", r"generate\.py:1: cannot be run: ModuleNotFoundError: No mo"),
        ("def f(n)\n", r"generate\.py:1: cannot be run: SyntaxError"),
        ("def f(n):\n    a = 1\n    return {}[n]", r"generate\.py:3: f: KeyError: 2$"),
        ("def f(n):\n    yield {}\n    1 / 0", r"generate\.py:3: f: ZeroDivisionError"),
        ("def f(n): return 'rows'", r"generate\.py: f returned a str; return a list of dicts"),
        ("def f(n): return None", r"generate\.py: f returned a NoneType; return a list of dicts"),
        ("def f(n): return [{}, 'x']", r"generate\.py: f: row 2 is a str; it should be a dict"),
    ],
)
def test_faults_are_told_with_file_line_and_function(tmp_path: Path, body: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as fault:
        call_for_records(script(tmp_path, body), "f", 2)
    assert "\n" not in str(fault.value)


def test_rows_are_checked_as_those_of_files_are(tmp_path: Path) -> None:
    entity = {"start": 0, "end": 3, "label": "C", "text": "gout"}
    wrong = {"id": "1", "text": "gout", "entities": [entity]}
    path = script(tmp_path, "")
    with pytest.raises(
        UserError, match=r"generate\.py: f: row 1: entities\[0\]: 'text' is \"gout\", but"
    ):
        checked_rows(path, "f", [wrong], RowSpec("entities"))
    pair = {"id": "1", "input": "a", "output": "b"}
    with pytest.raises(
        UserError, match=r"generate\.py: f: row 2: id '1' is already used in row 1"
    ):
        checked_rows(path, "f", [pair, pair], RowSpec("pairs"))
