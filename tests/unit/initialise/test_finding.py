"""From a path to its format and splits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.tasks.infer import find

ROW = json.dumps({"input": "Why?", "output": "So."}) + "\n"


def files(place: Path, *names: str) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for name in names:
        (place / name).write_text(ROW, encoding="utf-8")
    return place


def test_a_folder_names_its_splits(tmp_path: Path) -> None:
    found = find(files(tmp_path, "train.jsonl", "dev.jsonl", "notes.md"), None)
    assert (found.format, found.folder) == ("jsonl", tmp_path)
    assert found.splits == {"validation": "dev"}
    assert found.train == tmp_path / "train.jsonl"


def test_one_file_is_the_training_split_and_brings_those_named_like_it(tmp_path: Path) -> None:
    place = files(tmp_path, "mine.jsonl", "other_dev.jsonl")
    assert find(place / "mine.jsonl", None).names == {"train": "mine"}
    place = files(tmp_path / "b", "b_train.jsonl", "b_dev.jsonl", "c_test.jsonl")
    assert find(place / "b_train.jsonl", None).names == {"train": "b_train", "validation": "b_dev"}
    assert find(place / "b_dev.jsonl", None).names == {"train": "b_dev"}


def test_what_is_left_aside_is_told(tmp_path: Path) -> None:
    found = find(files(tmp_path, "train.jsonl", "dev.jsonl", "valid.jsonl"), None)
    assert found.names == {"train": "train", "validation": "valid"}
    assert found.why[-1] == "left aside: dev"


def test_a_format_that_the_user_names_decides(tmp_path: Path) -> None:
    place = files(tmp_path, "train.jsonl")
    (place / "train.csv").write_text("a,b\nc,d\n", encoding="utf-8")
    assert find(place, "csv").train.name == "train.csv"
    with pytest.raises(UserError, match="several formats; say --format "):
        find(place, None)
    with pytest.raises(UserError, match=r"read from files that end in \.parquet"):
        find(place / "train.csv", "parquet")
