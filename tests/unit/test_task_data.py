from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.task import SPLITS, load


def write(folder: Path, split: str, rows: list[tuple[str, str, str]]) -> None:
    """Rows of (id, label, entity); the entity ends the text."""
    folder.mkdir(exist_ok=True)
    lines = []
    for name, label, entity in rows:
        text = f"Row {name} of {split} has {entity}"
        start = len(text) - len(entity)
        span = {"start": start, "end": len(text), "label": label, "text": entity}
        lines.append(json.dumps({"id": name, "text": text, "entities": [span]}))
    (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    labels = ("CONDITION", "MEDICATION")
    write(folder, "train", [(f"{k // 4}-{k % 4}", labels[k % 2], "gout") for k in range(40)])
    write(folder, "validation", [(f"v-{k}", "CONDITION", "gout") for k in range(8)])
    return folder


def ids(task: object, split: str) -> list[str]:
    return [example.id for example in task.examples(split)]  # type: ignore[attr-defined]


def test_a_test_split_is_carved_from_train_by_document(data: Path) -> None:
    task = load("ner_medical", data)
    documents = {split: {name.split("-")[0] for name in ids(task, split)} for split in SPLITS}
    assert len(documents["test"]) == 2
    assert len(documents["train"]) == 8
    assert not documents["test"] & documents["train"]
    assert task.notes[0] == (
        "no test split in mine: 8 of 40 training examples (2 documents, seed 20260) "
        "were set aside as test"
    )
    assert ids(load("ner_medical", data), "test") == ids(task, "test")
    others = {tuple(ids(load("ner_medical", data, seed=seed), "test")) for seed in range(6)}
    assert len(others) > 1


def test_a_test_split_that_is_given_is_taken(data: Path) -> None:
    write(data, "test", [("e-0", "CONDITION", "gout")])
    task = load("ner_medical", data)
    assert ids(task, "test") == ["e-0"]
    assert len(task.examples("train")) == 40
    assert not any("test split" in note for note in task.notes)


def test_labels_are_those_of_the_data_in_the_tasks_order(data: Path) -> None:
    write(data, "test", [("e-0", "CONDITION", "gout")])
    task = load("ner_medical", data)
    assert task.labels == task.objective.classes == ("MEDICATION", "CONDITION")
    assert task.notes == (
        "labels of the data are MEDICATION, CONDITION; "
        "task.yaml names MEDICATION, DOSAGE, CONDITION, PROCEDURE",
    )


def test_labels_that_the_task_does_not_know_come_last(data: Path) -> None:
    labels = ("ZEBRA", "CONDITION", "APE")
    write(data, "train", [(f"{k}-0", labels[k % 3], "gout") for k in range(9)])
    write(data, "test", [("e-0", "ZEBRA", "gout")])
    assert load("ner_medical", data).labels == ("CONDITION", "APE", "ZEBRA")


def test_a_label_that_stands_in_no_training_row_is_told(data: Path) -> None:
    write(data, "validation", [("v-0", "CONDITON", "gout")])
    with pytest.raises(UserError, match="label 'CONDITON' stands in validation but in no training "
                       "row; did you mean 'CONDITION'"):  # fmt: skip
        load("ner_medical", data)


def test_the_same_text_in_two_splits_is_noted(data: Path) -> None:
    (data / "test.jsonl").write_bytes((data / "validation.jsonl").read_bytes())
    assert (
        load("ner_medical", data)
        .notes[-1]
        .startswith(
            "8 texts stand in more than one split, such as v-0 (test) and v-0 (validation)"
        )
    )


def test_faults_of_the_folder_are_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder; it should hold train\.jsonl"):
        load("ner_medical", tmp_path / "nowhere")
    write(data, "train", [(f"1-{k}", "CONDITION", "gout") for k in range(4)])
    with pytest.raises(UserError, match=r"train\.jsonl: one document only, so no test split"):
        load("ner_medical", data)
    (data / "validation.jsonl").unlink()
    with pytest.raises(UserError, match=r"validation\.jsonl: no such file"):
        load("ner_medical", data)


def test_training_rows_without_any_entity_are_told(data: Path) -> None:
    (data / "train.jsonl").write_text('{"id": "1", "text": "x", "entities": []}\n')
    write(data, "test", [("e-0", "CONDITION", "gout")])
    with pytest.raises(UserError, match="no entity in the training rows"):
        load("ner_medical", data)


@pytest.mark.parametrize("with_data", [False, True])
def test_a_limit_takes_a_stable_part_in_the_old_order(data: Path, with_data: bool) -> None:
    folder = data if with_data else None
    whole, ten, five = (load("ner_medical", folder, limit=n) for n in (None, 10, 5))
    for split in SPLITS:
        assert len(ids(five, split)) == 5
        assert set(ids(five, split)) <= set(ids(ten, split))
        assert ids(ten, split) == [name for name in ids(whole, split) if name in ids(ten, split)]
    assert ids(five, "train") == ids(load("ner_medical", folder, limit=5), "train")
    assert len({task.digest for task in (whole, ten, five)}) == 3


def test_a_limit_below_one_is_told() -> None:
    with pytest.raises(UserError, match="limit: 0 examples; at least 1 is right"):
        load("ner_medical", limit=0)


def task_folder(tmp_path: Path, old: str, new: str) -> str:
    """A copy of ner_medical's task.yaml with a change; answers the folder."""
    folder = tmp_path / "task"
    folder.mkdir()
    source = load("ner_medical").folder / "task.yaml"
    content = source.read_text(encoding="utf-8")
    assert old in content
    (folder / "task.yaml").write_text(content.replace(old, new), encoding="utf-8")
    return str(folder)


def test_a_generator_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"other\.py: no such file; task.yaml names it under"):
        load(task_folder(tmp_path, "generator: generate.py", "generator: other.py"))


def test_a_task_may_keep_its_rows_in_files(data: Path, tmp_path: Path) -> None:
    shipped = (load("ner_medical").folder / "task.yaml").read_text(encoding="utf-8")
    source = re.search(r"  generator: .*\n  seed: .*\n  sizes: .*\n", shipped)[0]
    place = task_folder(tmp_path, source, f"  folder: {json.dumps(str(data))}\n")
    assert load(place).notes[0].startswith("no test split in mine")
    write(data, "validation", [("v-0", "CONDITON", "gout")])
    # labels are fixed by task.yaml here, so the row itself is named
    with pytest.raises(UserError, match=r"validation\.jsonl:1: entities\[0\]: unknown label"):
        load(place)


YAML = """\
name: mine
summary: Something to extract
data: {{{data}}}
fields: {{{fields}}}
prompt: "Text: {{text}}\\nFound:"
metrics: [entity_f1]
objective: {{metric: entity_f1, direction: maximize, margin: 0.02}}
"""


def task_of(folder: Path, data: str, fields: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "task.yaml").write_text(YAML.format(data=data, fields=fields), encoding="utf-8")
    return folder


def test_a_task_may_keep_its_rows_in_folders_of_brat(tmp_path: Path) -> None:
    folder = task_of(tmp_path / "mine", "folder: rows, format: brat, options: {nested: outermost}")
    notes = "T1\tSIGN 0 12\tPain in left\nT2\tSITE 8 12\tleft\n"
    for split in SPLITS:
        place = folder / "rows" / split
        place.mkdir(parents=True)
        (place / f"{split}1.txt").write_text("Pain in left knee.")
        (place / f"{split}1.ann").write_text(notes)
    task = load(str(folder))
    (example,) = task.examples("test")
    assert example.reference == (("SIGN", "Pain in left"),)
    (folder / "rows" / "validation" / "validation1.ann").unlink()
    with pytest.raises(UserError, match=r"validation1\.ann: no such file"):
        load(str(folder))


def test_files_and_splits_may_have_names_of_their_own(tmp_path: Path) -> None:
    names = "splits: {validation: devel, test: held_out}"
    folder = task_of(tmp_path / "mine", f"folder: ., format: conll, {names}")
    for name in ("train", "devel", "held_out"):
        (folder / f"{name}.tsv").write_text(f"In\tO\n{name}\tB-NAME\n")
    task = load(str(folder))
    assert [task.examples(split)[0].text for split in SPLITS] == [
        "In train",
        "In devel",
        "In held_out",
    ]
    (folder / "devel.tsv").unlink()
    with pytest.raises(UserError, match=r"devel\.conll: no such file; a data folder needs train"):
        load(str(folder))
    (folder / "devel.jsonl").write_text("{}")
    with pytest.raises(
        UserError, match=r"devel\.jsonl is there: data\.format: jsonl in task\.yaml"
    ):
        load(str(folder))


def test_a_task_may_take_its_rows_from_the_hub(tmp_path: Path) -> None:
    place = tmp_path / "like_a_hub"
    place.mkdir()
    for split, count in (("train", 10), ("validation", 2)):
        rows = [
            {"id": f"{split}{n}-0", "tokens": ["Has", f"{split}{n}"], "ner_tags": ["O", "B-C"]}
            for n in range(count)
        ]
        (place / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = load(str(task_of(tmp_path / "mine", f"hub: {place}")))
    assert (len(task.examples("train")), len(task.examples("test"))) == (8, 2)
    assert "no test split in like_a_hub: 2 of 10 training examples" in task.notes[0]
    other = task_of(tmp_path / "other", f"hub: {place}, splits: {{validation: dev}}")
    with pytest.raises(
        UserError, match=r"no split 'dev', only .*data\.splits: {validation: NAME}"
    ):
        load(str(other))


def test_fields_are_mapped(tmp_path: Path) -> None:
    folder = task_of(tmp_path / "mine", "folder: .", "text: note, entities: spans")
    spans = [{"start": 0, "end": 4, "label": "C"}]
    for split in SPLITS:
        line = json.dumps({"id": split, "note": f"Gout {split}", "spans": spans})
        (folder / f"{split}.jsonl").write_text(line)
    assert load(str(folder)).examples("test")[0].reference == (("C", "Gout"),)
    (folder / "test.jsonl").write_text('{"text": "Gout", "entities": []}')
    with pytest.raises(
        UserError, match=r"test\.jsonl:1: no 'note' \(task\.yaml maps text to it\)"
    ):
        load(str(folder))
