"""`check` on whole sweeps and tasks, with the embedded model.

A data card is read at 80 columns, on a terminal and in a pipe.
"""

from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path

import pytest

from harness import cli
from harness.cli.check import print_card
from harness.config import catalog
from harness.data.preparation import DuplicateCount, RowReference
from harness.tasks.data_card import (
    BaselineScore,
    ClassCount,
    DataCard,
    LengthSummary,
    PreparationCounts,
    SplitCount,
    TokenLimits,
)
from tests import toy_tags
from tests.task_folders import pair_row, write_rows, write_task


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.run(list(words))
    found = capsys.readouterr()
    return code, found.out, found.err


def leaking(folder: Path) -> str:
    write_rows(folder, "train", [pair_row(f"t-{n}", "o", f"text {n}") for n in range(40)])
    write_rows(
        folder, "validation", [pair_row("v-0", "o", "Text  1"), pair_row("v-1", "o", "other")]
    )
    write_rows(folder, "test", [pair_row(f"e-{n}", "o", f"new {n}") for n in range(40)])
    return write_task(folder, "pairs")


@pytest.mark.usefixtures("workplace")
def test_a_sound_sweep_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", "ner_medical", "--limit", "8")
    assert code == 0
    assert out.splitlines()[-1].startswith("ner_medical: runnable")
    for title in ("Rows by class", "Tokens", "Baselines without training, on test"):
        assert title in out


def test_a_task_whose_entities_are_tagged_is_fine(
    capsys: pytest.CaptureFixture[str], workplace: Path
) -> None:
    toy_tags.save_task(workplace / "tasks" / "tagged")
    model = toy_tags.save_encoder(workplace / "encoder")
    set_ = [f"model.name={model}", "training.max_length=12", "space.target_modules=[qv]"]
    words = [word for one in set_ for word in ("--set", one)]
    code, out, _ = run(capsys, "check", "tagged", *words)
    assert code == 0
    assert out.splitlines()[-1].startswith("tagged: runnable")
    # Texts alone: no prompt, no answer; [CLS] and [SEP] take two of the twelve tokens.
    rows = [line.split() for line in out.splitlines() if line.startswith("text ")]
    assert [row[1] for row in rows] == ["train", "validation", "test"]
    assert float(rows[0][-1]) > 0 == float(rows[1][-1])
    assert (
        "note: baselines.shots: the base model is not scored, because its head is untrained" in out
    )


def test_a_task_is_checked_without_a_sweep(
    capsys: pytest.CaptureFixture[str], workplace: Path
) -> None:
    place = workplace / "tasks" / "alone"
    leaking(place)
    write_rows(place, "validation", [pair_row("v-1", "o", "other"), pair_row("v-2", "o", "OTHER")])
    code, out, _ = run(capsys, "check", "alone", "--set", "space.rank=[4]")
    assert code == 0
    assert "task mine: 40 train, 2 validation, 40 test examples; objective rougeL" in out
    # the same input twice in one split is told, not stopped
    assert "1 row of validation repeats the input of an earlier row, such as v-2 = v-1" in (
        " ".join(out.split())
    )
    code, _, err = run(capsys, "check", "nothing")
    assert code == 2
    known = sorted({*catalog.list_sweeps(), *catalog.list_tasks()})
    assert {"alone", "ner_medical", "variants_ner"} <= set(known)
    assert err == f"error: no sweep and no task 'nothing'; known: {', '.join(known)}\n"


@pytest.mark.parametrize("verb", ["check", "plan", "sweep"])
def test_inputs_in_two_splits_stop_every_verb(
    verb: str, capsys: pytest.CaptureFixture[str], workplace: Path
) -> None:
    place = leaking(workplace / "leaky")
    code, out, err = run(capsys, verb, "ner_medical", "--set", f"task={place}")
    assert code == 2
    assert err.startswith("error: 1 input occurs in more than one split (1 of validation in train)"
                          ", such as v-0 (validation) and t-1 (train)")  # fmt: skip
    assert "--allow-leaks" in err
    # the card stands before the fault
    card = "1 row of validation has the same input as a row of train" in " ".join(out.split())
    assert card == (verb == "check")
    assert not (workplace / "results").exists()


def test_leaks_may_be_allowed(capsys: pytest.CaptureFixture[str], workplace: Path) -> None:
    place = leaking(workplace / "leaky")
    code, out, _ = run(capsys, "check", place, "--allow-leaks")
    assert code == 0
    assert "note: 1 input occurs in more than one split" in out
    assert "scores on them are inflated" in out


def test_a_faulty_row_is_named_with_its_file(
    capsys: pytest.CaptureFixture[str], workplace: Path
) -> None:
    place = leaking(workplace / "faulty")
    with (workplace / "faulty" / "test.jsonl").open("a") as file:
        file.write('{"id": "x", "input": "y"}\n')
    code, _, err = run(capsys, "check", place)
    assert code == 2
    assert "test.jsonl:41: no 'output'" in err


LONG = "balance_not_updated_after_cheque_or_cash_deposit"
CARD = DataCard(
    counts=(
        SplitCount("train", 900, 40, 800),
        SplitCount("validation", 9, 3, 9),
        SplitCount("test", 90, 4, 90),
    ),
    classes=(ClassCount(LONG, (900, 9, 90)), ClassCount("B", (30, 1, 3))),
    lengths=(LengthSummary("train", "prompt", 41.5, 90.4, 300, 0.125),),
    duplicates=(DuplicateCount("validation", "train", 1, 17, f"{LONG}-1 = {LONG}-2"),),
    contradictions=(RowReference("test", "a", "b (train)"),),
    empty=(),
    overlong=(),
    too_long=(),
    baselines=(BaselineScore("dictionary", 41.25, "points of F1"),),
    preparation=PreparationCounts({"scored below 4": 12}, 40),
    limits=TokenLimits(256, 100, 2, 400),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(card: DataCard, stream: io.StringIO) -> list[str]:
    print_card(card, stream)
    return stream.getvalue().splitlines()


def test_every_table_and_warning_is_there_as_plain_text() -> None:
    lines = printed(CARD, io.StringIO())
    assert lines[:5] == [
        "Rows",
        "split       rows  documents  with a label",
        "train        900         40           800",
        "validation     9          3             9",
        "test          90          4            90",
    ]
    text = "\n".join(lines)
    for part in (
        "left out: scored below 4    12",
        "added by task.py            40",
        "prompt  train      42    90      300        12.5",
        "validation  train      1    17  balance_not_updated",
        "dictionary   41.2  points of F1",
        "warning: 1 row of validation has the same input as a row of train",
        "warning: fewer than 30 test examples: B (3)",
    ):
        assert part in text, part


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_no_line_is_wider_than_eighty_columns(
    stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in printed(CARD, stream())]
    assert len(lines) > 30
    assert [line for line in lines if len(line) > 80] == []


def test_what_says_nothing_is_left_out() -> None:
    counts = (SplitCount("train", 9, 9, None), SplitCount("test", 40, 1, None))
    card = dataclasses.replace(
        CARD,
        counts=counts,
        classes=(),
        baselines=(),
        preparation=PreparationCounts({}, 0),
        duplicates=(),
    )
    text = "\n".join(printed(card, io.StringIO()))
    assert text.startswith("Rows\nsplit  rows\ntrain     9\n")
    for title in ("Preparation of", "by class", "Baselines without", "documents", "with a label"):
        assert title not in text


def test_of_many_classes_the_largest_and_smallest_are_shown_and_the_rest_summed() -> None:
    classes = tuple(ClassCount(f"class{n:02}", (100 - n, 10, 50)) for n in range(77))
    lines = printed(dataclasses.replace(CARD, classes=classes), io.StringIO())
    start = lines.index("Rows by class, 77 classes")
    shown = [line.split() for line in lines[start + 2 : start + 15]]
    assert [row[0] for row in shown[:4]] == ["class00", "class01", "class02", "class03"]
    assert shown[4] == ["(65", "more)", str(sum(100 - n for n in range(4, 69))), "650", "3250"]
    assert [row[0] for row in shown[5:]] == [f"class{n}" for n in range(69, 77)]
