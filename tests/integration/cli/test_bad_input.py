"""Every mistake gets one line: where it is and what would be right; nothing is written."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

from harness import cli

QUICK = ["--limit", "8", "--trials", "2"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def told(capsys, *words: str) -> str:
    """Runs a verb that must fail; its one line on standard error."""
    code = cli.run(list(words))
    captured = capsys.readouterr()
    assert code == 2, captured
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    assert not Path("results").exists(), "something was written"
    assert not Path("reports").exists(), "something was written"
    return lines[0]


def sweep_file(**changes) -> str:
    """A sweep in the working folder, with some keys changed."""
    body = {"task": "ner_medical", **changes}
    Path("mine.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    return "mine.yaml"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["ner_medcal"], "unknown sweep 'ner_medcal'; did you mean 'ner_medical'?"),
        (["nowhere/x.yaml"], "nowhere/x.yaml: no such sweep file"),
        (["ner_medical", "--set", "task=ner_medicl"], "unknown task 'ner_medicl'; did you mean"),
        (["ner_medical", "--set", "space.variant=[dorra]"], "did you mean 'dora'?"),
        (["ner_medical", "--set", "space.rnk=[4]"], "space.rnk: unknown key; did you mean 'rank'"),
        (["ner_medical", "--set", "space.rank=[four]"], "space.rank.0: Input should be a valid"),
        (
            ["ner_medical", "--set", "space.learning_rate={low: 64, high: 8}"],
            "low 64 is above high 8",
        ),
        (["ner_medical", "--preset", "quik"], "unknown preset 'quik'; did you mean 'quick'?"),
        (["ner_medical", "--data", "nowhere"], "--data nowhere: no such folder"),
        (["ner_medical", "--trials", "0"], "search.trials"),
        (["ner_medical", "--trials", "two"], "Input should be a valid integer"),
        (["ner_medical", "--study", "a/b"], "must be a plain folder name"),
        (["ner_medical", "--nonsense"], "No such option"),
    ],
)
def test_a_mistake_in_the_words(capsys, words, part):
    assert part in told(capsys, "sweep", *words)


def test_a_mistake_in_the_file_names_the_file_and_key(capsys):
    line = told(capsys, "sweep", sweep_file(space={"learning_rate": {"low": 2.0, "high": 1.0}}))
    assert "mine.yaml: space.learning_rate" in line
    assert "low 2 is above high 1" in line


def test_targets_that_match_nothing_list_the_modules_that_exist(capsys):
    line = told(capsys, "sweep", "ner_medical", "--set", "space.target_modules=[query_proj]")
    assert "query_proj" in line
    for module in ("q_proj", "v_proj", "down_proj"):
        assert module in line


def test_a_model_folder_that_is_missing(capsys):
    assert "no such folder" in told(capsys, "sweep", "ner_medical", "--model", "/no/model/here")


def test_a_model_that_is_not_a_causal_language_model(capsys):
    folder = Path("encoder")
    folder.mkdir()
    body = {"model_type": "vit", "architectures": ["ViTForImageClassification"]}
    (folder / "config.json").write_text(json.dumps(body), encoding="utf-8")
    line = told(capsys, "sweep", "ner_medical", "--model", "encoder/../encoder")
    assert "not a causal language model" in line


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ('{"id": "2", "entities": []}', "train.jsonl:2"),
        ('{"id": "2", "text": "", "entities": []}', "train.jsonl:2"),
        ('{"id": "2", "text": "x"', "train.jsonl:2"),
    ],
)
def test_a_faulty_row_is_named_with_its_line(capsys, row, part):
    folder = Path("data")
    folder.mkdir()
    good = {"text": "Took aspirin.", "entities": []}
    good["entities"] = [{"start": 5, "end": 12, "label": "MEDICATION", "text": "aspirin"}]
    for split in ("train", "validation", "test"):
        first = json.dumps({"id": f"{split}-1", **good})
        (folder / f"{split}.jsonl").write_text(f"{first}\n", encoding="utf-8")
    with (folder / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write(row + "\n")
    line = told(capsys, "sweep", "ner_medical", "--data", "data")
    assert part in line


def test_no_space_on_disk(capsys, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 2**20))
    line = told(capsys, "sweep", "ner_medical", *QUICK)
    assert "only 1 MB are free" in line


@pytest.mark.parametrize("verb", ["pick", "report"])
def test_a_study_that_is_not_there(capsys, verb):
    assert "no study 'nothing' in results" in told(capsys, verb, "nothing")


def test_a_price_that_is_none(capsys):
    assert "write it as 1.29/h" in told(capsys, "plan", "ner_medical", "--price", "cheap")


def test_a_results_folder_that_is_a_file(capsys):
    Path("taken").write_text("x", encoding="utf-8")
    line = told(capsys, "sweep", "ner_medical", *QUICK, "--results", "taken")
    assert "taken" in line
