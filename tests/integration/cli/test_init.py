"""`init` makes a task from data, and what it made can be checked and swept without editing."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.tasks.schema import read_task_file
from harness.tasks.task import SPLITS, load_task

SHARED = Path(
    os.environ.get("HARNESS_SHARED_DATA")
    or Path(__file__).resolve().parents[4] / "shared" / "data"
)
NAMES = ("apple", "pear", "plum", "quince")
SMALL = [
    "--limit=4", "--trials=1", "--workers=1", "--set=ablation.max_cells=0",
    "--set=confirmation.max_configurations=0", "--set=baselines.full=false",
    "--set=training.steps=1", "--set=training.epochs=null", "--set=training.readings=0",
    "--set=baselines.shots=[0]",
]  # fmt: skip

pytestmark = pytest.mark.usefixtures("workplace")


def messages(count: int, start: int = 0) -> list[dict[str, str]]:
    return [
        {"message": f"Please send me crate {n} of fruit", "kind": NAMES[n % len(NAMES)]}
        for n in range(start, start + count)
    ]


def jsonl(path: str, rows: Iterable[dict[str, Any]]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def table(path: str, rows: list[dict[str, str]]) -> None:
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def brat(folder: str, documents: int, lines: int) -> None:
    Path(folder).mkdir(parents=True)
    for n in range(documents):
        text, notes = "", []
        for line in range(lines):
            start = len(text) + len(f"On day {n}{line} she took ")
            text += f"On day {n}{line} she took aspirin for a cold that went with it .\n"
            notes.append(f"T{line}\tDrug {start} {start + 7}\taspirin")
        Path(folder, f"d{n}.txt").write_text(text, encoding="utf-8")
        Path(folder, f"d{n}.ann").write_text("\n".join(notes) + "\n", encoding="utf-8")


def init(*words: str) -> int:
    return cli.run(["init", "mine", *words])


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What init says where it must fail; it leaves nothing behind."""
    code = init(*words)
    captured = capsys.readouterr()
    assert code == 2, captured
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert captured.out == ""
    assert not Path("tasks").exists()
    assert not Path("sweeps").exists()
    return lines[0].removeprefix("error: ")


def sizes() -> list[int]:
    task = load_task("mine")
    return [len(task.rows(split)) for split in SPLITS]


def test_a_folder_of_classes_in_columns_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    jsonl("data/train.jsonl", messages(40))
    jsonl("data/dev.jsonl", messages(8, 40))
    assert init("--data", "data") == 0
    out = capsys.readouterr().out
    assert "column `kind` has 4 different values in 40 rows, each at least 10 times" in out
    assert "wrote tasks/mine/task.yaml\nwrote sweeps/mine.yaml\n" in out
    assert "python -m harness sweep mine" in out
    file = read_task_file(Path("tasks/mine/task.yaml"))
    assert (file.kind, file.prompt) == ("choice", "Message: {input}\nKind:")
    assert file.data.folder == "../../data"
    assert file.data.splits == {"validation": "dev"}
    assert file.fields == {"input": "message", "output": "kind"}
    assert sizes() == [32, 8, 8]
    assert sorted(path.name for path in Path("tasks/mine").iterdir()) == ["task.yaml"]


def test_one_file_is_split(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"dialogue": f"A: Is it {n}?\nB: Yes.", "note": f"They agree on {n}"} for n in range(50)
    ]
    table("talks.csv", rows)
    assert init("--data", "talks.csv") == 0
    assert "rows: 35 train, 5 validation, 10 test" in capsys.readouterr().out
    file = read_task_file(Path("tasks/mine/task.yaml"))
    assert (file.kind, file.metrics[0], file.data.format) == ("pairs", "exact_match", "csv")
    assert file.prompt == "Dialogue:\n{input}\nNote:"
    assert sizes() == [35, 5, 10]


def test_long_documents_are_taken_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    brat("notes", documents=6, lines=20)
    assert init("--data", "notes") == 0
    assert "a line of a document, since documents have 280 words" in capsys.readouterr().out
    file = read_task_file(Path("tasks/mine/task.yaml"))
    assert file.data.options == {"passages": "line"}
    assert sum(sizes()) == 120
    brat("short", documents=6, lines=3)
    assert init("--data", "short", "--force") == 0
    assert read_task_file(Path("tasks/mine/task.yaml")).data.options == {}
    assert sum(sizes()) == 6


def test_numbers_at_the_end_are_matched_and_texts_are_modelled() -> None:
    rows = [{"question": f"{n} and 1?", "answer": f"{n}+1\n#### {n + 1}"} for n in range(30)]
    jsonl("sums.jsonl", rows)
    assert init("--data", "sums.jsonl") == 0
    assert read_task_file(Path("tasks/mine/task.yaml")).metrics == ("number_match",)
    jsonl("texts.jsonl", ({"body": f"It is text {n} of thirty"} for n in range(30)))
    assert init("--data", "texts.jsonl", "--force") == 0
    file = read_task_file(Path("tasks/mine/task.yaml"))
    assert (file.kind, file.metrics[0], file.prompt) == ("text", "bits_per_byte", None)


def test_what_is_said_goes_before_what_is_guessed() -> None:
    rows = [{"a": f"some text {n} here", "b": f"another {n}", "c": "xy"[n % 2]} for n in range(30)]
    jsonl("rows.jsonl", rows)
    assert init("--data", "rows.jsonl", "--field", "input=b", "--field", "output=a") == 0
    file = read_task_file(Path("tasks/mine/task.yaml"))
    assert (file.kind, file.fields) == ("pairs", {"input": "b", "output": "a"})
    words = ["--kind=pairs", "--field=input=b", "--field=output=c", "--force"]
    assert init("--data", "rows.jsonl", *words) == 0
    assert read_task_file(Path("tasks/mine/task.yaml")).kind == "pairs"


def test_inputs_in_two_splits_are_told_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    jsonl("data/train.jsonl", messages(40))
    jsonl("data/validation.jsonl", messages(8, 36))
    assert init("--data", "data") == 0
    told = "4 of train dropped, because their input also occurs in a later split"
    assert told in capsys.readouterr().out
    assert read_task_file(Path("tasks/mine/task.yaml")).data.leaks == "drop"
    assert sizes() == [28, 8, 8]


def test_nothing_is_overwritten_unless_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    jsonl("data/train.jsonl", messages(40))
    Path("sweeps").mkdir()
    Path("sweeps/mine.yaml").write_text("task: other\n", encoding="utf-8")
    assert init("--data", "data") == 2
    assert "sweeps/mine.yaml: exists already; --force overwrites it" in capsys.readouterr().err
    assert not Path("tasks").exists()
    assert Path("sweeps/mine.yaml").read_text(encoding="utf-8") == "task: other\n"
    assert init("--data", "data", "--force") == 0
    assert "task: mine" in Path("sweeps/mine.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "text", "words", "part"),
    [
        ("x.jsonl", '{"a": "b"}\n{"a": \n', [], "x.jsonl:2: not JSON"),
        ("x.jsonl", "", [], "x.jsonl: no rows"),
        ("x.csv", "a,b\n1\n", [], "x.csv:2: 1 values for 2 columns"),
        ("x.csv", "", [], "x.csv: empty; the file should have a line of column names"),
        ("x.txt", "Just a text.\n", [], "x.txt: neither its name nor its first lines show"),
        ("x.txt", "Just a text.\n", ["--format=cnll"], "--format cnll: unknown; did you mean 'co"),
        ("x.conll", "a\tO\nb\tX-Y\n", [], "x.conll:2"),
        ("x.csv", "a,b\nc d e,f g h\ni j,k l\n", [], "which column of a, b is the input"),
        ("x.csv", "text\nonly one row\n", [], "holds texts that differ"),
        ("x.csv", "a,b\nc,d\n", ["--field=input"], "--field input: write it as input=COLUMN"),
        ("x.csv", "a,b\nc,d\n", ["--field=imput=a"], "field 'imput'; did you mean 'input'"),
        ("x.csv", "a,b\nc,d\n", ["--field=input=z"], "--field input=z: no such column"),
        ("x.csv", "a,b\nc,d\n", ["--kind=pair"], "unknown kind; did you mean 'pairs'"),
        ("x.conll", "a\tO\nb\tB-Y\n", ["--field=text=a"], "format conll has no columns to name"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], name: str, text: str, words: list[str], part: str
) -> None:
    Path(name).write_text(text, encoding="utf-8")
    assert part in told(capsys, "--data", name, *words)


def test_a_folder_that_is_missing_or_holds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "--data", "nowhere") == "--data nowhere: no such file or folder"
    Path("odd").mkdir()
    assert "odd: no readable training split (it is empty)" in told(capsys, "--data", "odd")
    for name in ("one", "two"):
        Path("odd", f"{name}.csv").write_text("a,b\nc,d\n", encoding="utf-8")
    assert "(one.csv, two.csv); name a file train" in told(capsys, "--data", "odd")
    Path("odd/train.csv").write_text("a,b\nc,d\n", encoding="utf-8")
    Path("odd/train.jsonl").write_text("{}\n", encoding="utf-8")
    assert "several formats; say --format " in told(capsys, "--data", "odd")


def test_a_name_that_is_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["init", "a/b", "--data", "."]) == 2
    assert "a/b: a task's name has letters, digits, _ and - only" in capsys.readouterr().err


@pytest.mark.usefixtures("workers_here")
@pytest.mark.parametrize("made", ["choice", "pairs", "brat"])
def test_what_was_made_is_swept_without_editing(
    capsys: pytest.CaptureFixture[str], made: str
) -> None:
    if made == "choice":
        jsonl("data.jsonl", messages(60))
    elif made == "pairs":
        rows = [{"question": f"What is {n} like?", "answer": f"Like {n + 1}"} for n in range(60)]
        jsonl("data.jsonl", rows)
    else:
        brat("data", documents=8, lines=20)
    assert init("--data", "data" if made == "brat" else "data.jsonl") == 0
    assert cli.run(["check", "mine"]) == 0
    assert "mine: runnable" in capsys.readouterr().out
    assert cli.run(["sweep", "mine", *SMALL]) == 0
    assert Path("reports/mine.html").is_file()


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no data at {SHARED}; set HARNESS_SHARED_DATA")
def test_real_data_are_told_for_what_they_are() -> None:
    for split in ("train", "validation"):
        lines = (SHARED / "banking77" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        jsonl(f"bank/{split}.jsonl", [{"m": r["input"], "intent": r["output"]} for r in rows])
    expected = {
        "bank": "choice",
        str(SHARED / "raw" / "brat_maccrobat"): "entities",
        str(SHARED / "raw" / "pubtator" / "ncbi_disease_devel_pubtator.txt"): "entities",
        str(SHARED / "raw" / "conll" / "ncbi_disease_devel_IOB.tsv"): "entities",
        str(SHARED / "raw" / "csv" / "banking77_train.csv"): "choice",
        str(SHARED / "raw" / "csv" / "mts_dialog_validation.csv"): "pairs",
        str(SHARED / "raw" / "jsonl" / "gsm8k_train_first200.jsonl"): "pairs",
        str(SHARED / "medquad_lm"): "text",
        str(SHARED / "mts_dialog_short"): "pairs",
        str(SHARED / "maccrobat4"): "entities",
    }
    for data, kind in expected.items():
        assert init("--data", data, "--force") == 0, data
        task = load_task("mine")
        assert task.file.kind == kind, data
        assert all(len(task.examples(split)) > 1 for split in SPLITS), data
