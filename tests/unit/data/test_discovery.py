"""What a folder holds is told by names, suffixes and first lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.data.discovery import (
    DataFiles,
    FolderLayout,
    detect_format,
    inspect_folder,
    resolve_files,
    split_path,
)
from harness.data.rows import FORMATS

CONLL = "Gout\tB-Disease\nhurts\tO\n\nNo\tO\n"
PUBTATOR = "1|t|Gout\n1|a|It hurts.\n1\t0\t4\tGout\tDisease\tD1\n"
TABLE = "input\toutput\nWhy?\tSo.\n"
ROW = json.dumps({"input": "Why?", "output": "So."}) + "\n"


def made(place: Path, **files: str) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (place / f"{stem}.{suffix}").write_text(text, encoding="utf-8")
    return place


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.jsonl", ROW, "jsonl"),
        ("a.json", f"[{ROW}]", "jsonl"),
        ("a.csv", TABLE, "csv"),
        ("a.parquet", "", "parquet"),
        ("a.conll", CONLL, "conll"),
        ("a.tsv", CONLL, "conll"),
        ("a.tsv", "-DOCSTART-\tO\n\n" + CONLL, "conll"),
        ("a.tsv", TABLE, "tsv"),
        ("a.txt", CONLL, "conll"),
        ("a.txt", PUBTATOR, "pubtator"),
        ("a.txt", "Some text.\n", None),
        ("a.txt", "", None),
        ("a.md", "# Read me\n", None),
    ],
)
def test_a_file_is_known_by_its_suffix_or_its_lines(
    name: str, text: str, expected: str | None, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert detect_format(path) == expected


def test_a_folder_may_be_a_split(tmp_path: Path) -> None:
    assert detect_format(made(tmp_path / "b", a_txt="Gout.", a_ann="")) == "brat"
    assert detect_format(made(tmp_path / "s", dataset_info_json="{}", state_json="{}")) == "saved"
    assert detect_format(made(tmp_path / "n", readme_md="")) is None


@pytest.mark.parametrize(
    ("stems", "names", "beside"),
    [
        (("train", "validation", "test"), ("train", "validation", "test"), ()),
        (("train", "dev"), ("train", "dev"), ()),
        (("Train", "Valid"), ("Train", "Valid"), ()),
        (("training", "devel", "testing"), ("training", "devel", "testing"), ()),
        (("my-train-2", "my-eval-2"), ("my-train-2", "my-eval-2"), ()),
        (("X_TrainingSet", "X_DevelopmentSet"), ("X_TrainingSet", "X_DevelopmentSet"), ()),
        (("train", "train_old"), ("train",), ("train_old",)),
        (("a_train", "a_test", "b_dev"), ("a_train", None, "a_test"), ()),
        (
            ("D-TrainSet", "D-TestSet-1", "D-TestSet-2"),
            ("D-TrainSet", None, "D-TestSet-1"),
            ("D-TestSet-2",),
        ),
        (("everything",), ("everything",), ()),
    ],
)
def test_splits_are_known_by_names_that_others_give_them(
    stems: tuple[str, ...], names: tuple[str | None, ...], beside: tuple[str, ...], tmp_path: Path
) -> None:
    made(tmp_path, **{f"{stem}_jsonl": ROW for stem in stems})
    splits = zip(("train", "validation", "test"), names, strict=False)
    expected = {split: name for split, name in splits if name}
    assert inspect_folder(tmp_path) == (FolderLayout("jsonl", expected, beside),)


def test_each_format_has_its_splits_and_what_has_no_training_split_is_none(tmp_path: Path) -> None:
    made(tmp_path, train_csv=TABLE, dev_csv=TABLE, train_jsonl=ROW, a_txt="words", b_txt="words")
    made(tmp_path / "notes", a_txt="Gout.", a_ann="")
    assert {laid.format: laid.names for laid in inspect_folder(tmp_path)} == {
        "csv": {"train": "train", "validation": "dev"},
        "jsonl": {"train": "train"},
        "brat": {"train": "notes"},
    }
    assert inspect_folder(made(tmp_path / "none", one_csv=TABLE, two_csv=TABLE)) == ()


def test_a_path_is_a_file_or_a_folder_as_the_format_wants(tmp_path: Path) -> None:
    made(tmp_path, train_tsv=TABLE)
    made(tmp_path / "notes", a_txt="", a_ann="")
    assert split_path(FORMATS.get("tsv"), tmp_path, "train") == tmp_path / "train.tsv"
    assert split_path(FORMATS.get("brat"), tmp_path, "notes") == tmp_path / "notes"
    assert split_path(FORMATS.get("brat"), tmp_path, "train") is None
    assert split_path(FORMATS.get("csv"), tmp_path, "train") is None


class TestAUsersFolder:
    """What `--data` gives is read as the task's own data are, or as usual."""

    OWN = DataFiles("csv", {"train": "Main", "validation": "Check"}, {"input": "question"})

    def test_in_the_tasks_own_names(self, tmp_path: Path) -> None:
        made(tmp_path, Main_csv="question,output\na,b\n", Check_csv="question,output\na,b\n")
        assert resolve_files(tmp_path, *self.OWN) == self.OWN

    def test_in_the_usual_names_and_columns(self, tmp_path: Path) -> None:
        made(tmp_path, train_csv="input,output\na,b\n", validation_csv="input,output\na,b\n")
        assert resolve_files(tmp_path, *self.OWN) == DataFiles("csv", {}, {})

    def test_in_usual_names_where_the_task_has_no_names_of_its_own(self, tmp_path: Path) -> None:
        made(tmp_path, training_csv="input,output\na,b\n", dev_csv="input,output\na,b\n")
        names = {"train": "training", "validation": "dev"}
        assert resolve_files(tmp_path, "csv", {}, {}) == DataFiles("csv", names, {})

    def test_in_another_format_with_other_names_for_splits(self, tmp_path: Path) -> None:
        row = json.dumps({"question": "a", "output": "b"})
        made(tmp_path, train_jsonl=row, dev_jsonl=row)
        expected = DataFiles("jsonl", {"validation": "dev"}, {"input": "question"})
        assert resolve_files(tmp_path, *self.OWN) == expected

    def test_two_other_formats_are_left_to_the_reader_to_tell(self, tmp_path: Path) -> None:
        made(tmp_path, train_jsonl=ROW, train_tsv=TABLE)
        assert resolve_files(tmp_path, *self.OWN).format == "csv"
