"""`check` on whole sweeps and tasks, with the embedded model."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import cli
from harness.config import catalog
from tests import toy_tags
from tests.task_folders import pair, task_folder, write_rows


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.run(list(words))
    found = capsys.readouterr()
    return code, found.out, found.err


def leaking(folder: Path) -> str:
    write_rows(folder, "train", [pair(f"t-{n}", "o", f"text {n}") for n in range(40)])
    write_rows(folder, "validation", [pair("v-0", "o", "Text  1"), pair("v-1", "o", "other")])
    write_rows(folder, "test", [pair(f"e-{n}", "o", f"new {n}") for n in range(40)])
    return task_folder(folder, "pairs")


@pytest.mark.usefixtures("workplace")
def test_a_sound_sweep_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", "ner_medical", "--limit", "8")
    assert code == 0
    assert out.splitlines()[-1] == "ner_medical: fine"
    for title in ("Rows by class", "Tokens", "Without training, on test"):
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
    assert out.splitlines()[-1] == "tagged: fine"
    # Texts alone: no prompt, no answer; [CLS] and [SEP] take two of the twelve tokens.
    rows = [line.split() for line in out.splitlines() if line.startswith("text ")]
    assert [row[1] for row in rows] == ["train", "validation", "test"]
    assert float(rows[0][-1]) > 0 == float(rows[1][-1])
    assert "note: baselines.shots: the bare base is not scored, for its head is new" in out


def test_a_task_is_checked_without_a_sweep(
    capsys: pytest.CaptureFixture[str], workplace: Path
) -> None:
    place = workplace / "tasks" / "alone"
    leaking(place)
    write_rows(place, "validation", [pair("v-1", "o", "other"), pair("v-2", "o", "OTHER")])
    code, out, _ = run(capsys, "check", "alone", "--set", "space.rank=[4]")
    assert code == 0
    assert "task mine: 40 train, 2 validation, 40 test examples; objective rougeL" in out
    # the same input twice in one split is told, not stopped
    assert "1 row of validation repeats an input of an earlier one, such as v-2 = v-1" in (
        " ".join(out.split())
    )
    code, _, err = run(capsys, "check", "nothing")
    assert code == 2
    known = sorted({*catalog.sweeps(), *catalog.tasks()})
    assert {"alone", "ner_medical", "variants_ner"} <= set(known)
    assert err == f"error: no sweep and no task 'nothing'; known: {', '.join(known)}\n"


@pytest.mark.parametrize("verb", ["check", "plan", "sweep"])
def test_inputs_in_two_splits_stop_every_verb(
    verb: str, capsys: pytest.CaptureFixture[str], workplace: Path
) -> None:
    place = leaking(workplace / "leaky")
    code, out, err = run(capsys, verb, "ner_medical", "--set", f"task={place}")
    assert code == 2
    assert err.startswith("error: 1 input stands in more than one split (1 of validation in train)"
                          ", such as v-0 (validation) and t-1 (train)")  # fmt: skip
    assert "--allow-leaks" in err
    # the card stands before the fault
    card = "1 row of validation has an input that stands in train" in " ".join(out.split())
    assert card == (verb == "check")
    assert not (workplace / "results").exists()


def test_leaks_may_be_allowed(capsys: pytest.CaptureFixture[str], workplace: Path) -> None:
    place = leaking(workplace / "leaky")
    code, out, _ = run(capsys, "check", place, "--allow-leaks")
    assert code == 0
    assert "note: 1 input stands in more than one split" in out
    assert "scores on them are too good" in out


def test_a_faulty_row_is_named_with_its_file(
    capsys: pytest.CaptureFixture[str], workplace: Path
) -> None:
    place = leaking(workplace / "faulty")
    with (workplace / "faulty" / "test.jsonl").open("a") as file:
        file.write('{"id": "x", "input": "y"}\n')
    code, _, err = run(capsys, "check", place)
    assert code == 2
    assert "test.jsonl:41: no 'output'" in err
