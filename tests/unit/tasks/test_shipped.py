"""Every task for public data: its sample loads, asks, reads back, scores; its sweep is sound."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.config import catalog
from harness.config.sweep import load_sweep
from harness.data.rows import FORMATS, RowSpec, find_leaks
from harness.errors import UserError
from harness.metrics.text import Likelihood
from harness.tasks.sources import load_module
from harness.tasks.task import SPLITS, Task, load_task
from harness.tasks.types import AnswerMode

ROOT = Path(__file__).parents[3]
PUBLIC = (
    *("maccrobat4", "ncbi_disease", "bc5cdr"),
    *("mts_dialog", "meqsum", "gsm8k"),
    *("medquad", "banking77"),
)
SHARED = Path(os.environ.get("HARNESS_SHARED_DATA") or ROOT.parent / "shared" / "data")
RAW = SHARED / "raw"
needs_raw = pytest.mark.skipif(
    not RAW.is_dir(), reason=f"no raw files at {RAW}; set HARNESS_SHARED_DATA"
)


def sample(name: str) -> Path:
    return ROOT / "tasks" / name / "sample"


def records(name: str, split: str) -> list[dict[str, Any]]:
    lines = (sample(name) / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(params=PUBLIC)
def task(request: pytest.FixtureRequest) -> Task:
    return load_task(request.param, data=sample(request.param))


def test_all_folders_with_a_sample_are_tested() -> None:
    assert {folder.parent.name for folder in ROOT.glob("tasks/*/sample")} == set(PUBLIC)


def test_a_sample_has_twenty_rows_and_none_twice(task: Task) -> None:
    assert [len(task.examples(split)) for split in SPLITS] == [12, 4, 4]
    assert find_leaks({split: task.rows(split) for split in SPLITS}) == ()
    assert task.notes == ()


def test_prompts_hold_the_input_and_answers_read_back(task: Task) -> None:
    for split in SPLITS:
        for example in task.examples(split):
            if task.type.answers is AnswerMode.LIKELIHOOD:
                assert (task.prompt(example), example.target) == ("", example.text)
                continue
            assert example.text in task.prompt(example)
            assert "{" not in task.prompt(example)
            parsed = task.parse(task.target(example))
            assert not parsed.unparsed
            assert task.write(parsed.prediction).strip() == task.target(example).strip()


def test_right_answers_are_best_and_no_answers_worst(task: Task) -> None:
    examples = task.examples("test")
    if task.type.answers is AnswerMode.LIKELIHOOD:
        sure = task.evaluate([Likelihood(0.0, 10)] * 4, examples).values
        unsure = task.evaluate([Likelihood(50.0, 10)] * 4, examples).values
        assert all(sure[metric.name] < unsure[metric.name] for metric in task.metrics)
        return
    right = task.evaluate([task.parse(one.target).prediction for one in examples], examples).values
    nothing = [task.parse("") for _ in examples]
    empty = task.evaluate(
        [one.prediction for one in nothing], examples, [one.unparsed for one in nothing]
    ).values
    for metric in task.metrics:
        assert right[metric.name] == 1.0
        assert empty[metric.name] == 0.0
    assert empty["unparsed"] == 1.0


def test_answers_fit_what_may_be_written(task: Task) -> None:
    longest = max(len(one.target) for split in SPLITS for one in task.examples(split))
    if task.type.answers is AnswerMode.GENERATED:
        assert longest / 2 < task.max_new_tokens


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize("preset", [None, "quick", "standard", "thorough"])
def test_a_sweep_of_the_same_name_is_sound(name: str, preset: str | None) -> None:
    sweep = load_sweep(name, preset=preset)
    assert sweep.task == name
    assert sweep.summary
    assert sweep.model.name == "builtin:tiny"
    for factor, levels in sweep.ablation.factors.items():
        assert set(levels) & set(getattr(sweep.space, factor)), factor
    # what a stage says it does has something to do
    assert sweep.search.trials >= sweep.search.startup


@pytest.mark.parametrize("name", PUBLIC)
def test_the_readme_says_whence_and_whose(name: str) -> None:
    page = (ROOT / "tasks" / name / "README.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {name}\n")
    for part in ("CC BY 4.0|public domain|MIT", r"```bibtex\n@\w+\{", "sample/", "--data", "##"):
        assert re.search(part, page), part
    keys = yaml.safe_load((catalog.find_task(name) / "task.yaml").read_text(encoding="utf-8"))
    if "hub" in keys["data"]:
        assert keys["data"]["hub"] in page


@pytest.mark.parametrize("name", PUBLIC)
def test_without_data_a_user_is_told_where_they_should_be(name: str) -> None:
    with pytest.raises(UserError) as fault:
        load_task(name)
    told = str(fault.value)
    assert "\n" not in told
    assert "--data FOLDER" in told or "neither a data set on the hub" in told


def jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def tagged(row: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Words and their tags; marks are words of their own."""
    words, tags = [], []
    for hit in re.finditer(r"\w+|[^\w\s]", row["text"]):
        inside = [one for one in row["entities"] if one["start"] <= hit.start() < one["end"]]
        begins = inside and inside[0]["start"] == hit.start()
        words.append(hit.group())
        tags.append(("B-" if begins else "I-") + inside[0]["label"] if inside else "O")
    return words, tags


def as_ncbi(row: dict[str, Any]) -> dict[str, Any]:
    words, tags = tagged(row)
    return {
        "id": row["id"],
        "tokens": words,
        "ner_tags": [tag.replace("DISEASE", "Disease") for tag in tags],
    }


#: The columns and splits of each data set of the hub that a task names.
HUB: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], tuple[str, ...]]] = {
    "gsm8k": (lambda row: {"question": row["input"], "answer": row["output"]}, ("train", "test")),
    "banking77": (lambda row: {"text": row["input"], "label": row["output"]}, ("train", "test")),
    "medquad": (
        lambda row: {"qtype": "information", "Question": "What is it?", "Answer": row["text"]},
        ("train",),
    ),
    "ncbi_disease": (as_ncbi, SPLITS),
}


@pytest.mark.parametrize("name", HUB)
def test_a_data_set_with_the_hubs_columns_is_read(name: str, tmp_path: Path) -> None:
    convert, splits = HUB[name]
    for split in splits:
        jsonl(tmp_path / "hub" / f"{split}.jsonl", map(convert, records(name, split)))
    shutil.copytree(catalog.find_task(name), tmp_path / "task")
    file = tmp_path / "task" / "task.yaml"
    keys = yaml.safe_load(file.read_text(encoding="utf-8"))
    if "config" in keys["data"]:
        head = {"configs": [{"config_name": keys["data"]["config"], "data_files": [
            {"split": split, "path": f"{split}.jsonl"} for split in splits]}]}  # fmt: skip
        (tmp_path / "hub" / "README.md").write_text(f"---\n{yaml.safe_dump(head)}---\n")
    keys["data"]["hub"] = str(tmp_path / "hub")
    file.write_text(yaml.safe_dump(keys), encoding="utf-8")
    found = load_task(str(tmp_path / "task"))
    wanted = load_task(name, data=sample(name))
    both = [found, wanted]
    rows = [sum(len(one.rows(split)) for split in SPLITS) for one in both]
    assert rows[0] == sum(len(records(name, split)) for split in splits)
    for split in set(splits) - {"train"}:
        texts = [[row.text.split() for row in one.rows(split)] for one in both]
        if name != "ncbi_disease":  # its texts are words joined by blanks
            assert texts[0] == texts[1]
        assert [one.target.split(":")[-1].split() for one in found.examples(split)] == [
            one.target.split(":")[-1].split() for one in wanted.examples(split)
        ]


def test_the_authors_files_of_mts_dialog_are_read_as_they_are(tmp_path: Path) -> None:
    names = {
        "train": "MTS-Dialog-TrainingSet",
        "validation": "MTS-Dialog-ValidationSet",
        "test": "MTS-Dialog-TestSet-1-MEDIQA-Chat-2023",
    }
    for split, stem in names.items():
        with (tmp_path / f"{stem}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["ID", "section_header", "section_text", "dialogue"])
            for number, row in enumerate(records("mts_dialog", split)):
                writer.writerow([number, "GENHX", row["output"], row["input"]])
    (tmp_path / "MTS-Dialog-TestSet-2-MEDIQA-Sum-2023.csv").write_text("another,table\n1,2\n")
    found, wanted = (
        load_task("mts_dialog", data=tmp_path),
        load_task("mts_dialog", data=sample("mts_dialog")),
    )
    for split in SPLITS:
        assert [(row.text, row.output) for row in found.rows(split)] == [
            (row.text, row.output) for row in wanted.rows(split)
        ]


def test_the_columns_of_meqsum_are_read_and_one_file_is_split(tmp_path: Path) -> None:
    rows = [row for split in SPLITS for row in records("meqsum", split)]
    with (tmp_path / "train.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["File", "CHQ", "Summary"])
        writer.writerows(["1.txt", row["input"], row["output"]] for row in rows)
    found = load_task("meqsum", data=tmp_path)
    assert [len(found.rows(split)) for split in SPLITS] == [14, 2, 4]


def test_conll_files_of_bc5cdr_are_read(tmp_path: Path) -> None:
    for split, stem in (("train", "train"), ("validation", "devel"), ("test", "test")):
        blocks = []
        for row in records("bc5cdr", split):
            blocks.append("\n".join("\t".join(pair) for pair in zip(*tagged(row), strict=True)))
        (tmp_path / f"{stem}.tsv").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    found, wanted = load_task("bc5cdr", data=tmp_path), load_task("bc5cdr", data=sample("bc5cdr"))
    assert found.labels == wanted.labels == ("Chemical", "Disease")
    for split in SPLITS:
        assert [one.target for one in found.examples(split)] == [
            one.target for one in wanted.examples(split)
        ]


@needs_raw
def test_maccrobat_is_converted_as_its_readme_says() -> None:
    convert = load_module(catalog.find_task("maccrobat4") / "convert.py")
    found = convert.rows(RAW / "brat_maccrobat")
    ready = RAW.parent / "maccrobat4" / "train.jsonl"
    wanted = FORMATS.get("jsonl").read(ready, RowSpec("entities"))
    documents = {row.document for row in found}
    assert len(documents) == 11
    assert [(row.document, row.text, row.entities) for row in found] == [
        (row.document, row.text, row.entities) for row in wanted if row.document in documents
    ]
    held = FORMATS.get("jsonl").read(ready.with_name("validation.jsonl"), RowSpec("entities"))
    split = {row.document: "train" for row in wanted} | {
        row.document: "validation" for row in held
    }
    assert convert.splits(split) == split
