"""With real hooks, such as one that puts words of the same meaning in."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from harness import embedded
from harness.data.rows import Row, RowSpec, Span, find_leaks
from harness.errors import UserError
from harness.tasks.dataset import augmentation_rows
from harness.tasks.task import SPLITS, Task, load_task
from tests.task_folders import entity_row, pair_row, write_rows, write_task


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
    task = load_task("ner_medical", data)
    documents = {split: {name.split("-")[0] for name in ids(task, split)} for split in SPLITS}
    assert len(documents["test"]) == 2
    assert len(documents["train"]) == 8
    assert not documents["test"] & documents["train"]
    assert task.notes[0] == (
        "no test split in mine: 8 of 40 training examples (2 documents, seed 20260) "
        "were set aside as test"
    )
    assert ids(load_task("ner_medical", data), "test") == ids(task, "test")
    others = {tuple(ids(load_task("ner_medical", data, seed=seed), "test")) for seed in range(6)}
    assert len(others) > 1


def test_a_test_split_that_is_given_is_taken(data: Path) -> None:
    write(data, "test", [("e-0", "CONDITION", "gout")])
    task = load_task("ner_medical", data)
    assert ids(task, "test") == ["e-0"]
    assert len(task.examples("train")) == 40
    assert not any("test split" in note for note in task.notes)


def test_labels_are_those_of_the_data_in_the_tasks_order(data: Path) -> None:
    write(data, "test", [("e-0", "CONDITION", "gout")])
    task = load_task("ner_medical", data)
    assert task.labels == task.objective.classes == ("MEDICATION", "CONDITION")
    assert task.notes == (
        "labels of the data are MEDICATION, CONDITION; "
        "task.yaml names MEDICATION, DOSAGE, CONDITION, PROCEDURE",
    )


def test_labels_that_the_task_does_not_know_come_last(data: Path) -> None:
    labels = ("ZEBRA", "CONDITION", "APE")
    write(data, "train", [(f"{k}-0", labels[k % 3], "gout") for k in range(9)])
    write(data, "test", [("e-0", "ZEBRA", "gout")])
    assert load_task("ner_medical", data).labels == ("CONDITION", "APE", "ZEBRA")


def test_a_label_that_stands_in_no_training_row_is_told(data: Path) -> None:
    write(data, "validation", [("v-0", "CONDITON", "gout")])
    with pytest.raises(UserError, match="label 'CONDITON' occurs in validation but in no training "
                       "row; did you mean 'CONDITION'"):  # fmt: skip
        load_task("ner_medical", data)


def test_the_same_text_in_two_splits_is_noted(data: Path) -> None:
    (data / "test.jsonl").write_bytes((data / "validation.jsonl").read_bytes())
    assert (
        load_task("ner_medical", data)
        .notes[-1]
        .startswith(
            "8 inputs occur in more than one split (8 of test in validation), such as v-0 (test) "
            "and v-0 (validation)"
        )
    )


def test_faults_of_the_folder_are_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder; it should hold train\.jsonl"):
        load_task("ner_medical", tmp_path / "nowhere")
    write(data, "train", [(f"1-{k}", "CONDITION", "gout") for k in range(4)])
    with pytest.raises(UserError, match=r"train\.jsonl: one document only, so no test split"):
        load_task("ner_medical", data)
    (data / "train.jsonl").unlink()
    with pytest.raises(UserError, match=r"train\.jsonl: no such file"):
        load_task("ner_medical", data)


def test_training_rows_without_any_entity_are_told(data: Path) -> None:
    (data / "train.jsonl").write_text('{"id": "1", "text": "x", "entities": []}\n')
    write(data, "test", [("e-0", "CONDITION", "gout")])
    with pytest.raises(UserError, match="no entity in the training rows"):
        load_task("ner_medical", data)


@pytest.mark.parametrize("with_data", [False, True])
def test_a_limit_takes_a_stable_part_in_the_old_order(data: Path, with_data: bool) -> None:
    folder = data if with_data else None
    whole, ten, five = (load_task("ner_medical", folder, limit=n) for n in (None, 10, 5))
    for split in SPLITS:
        assert len(ids(five, split)) == 5
        assert set(ids(five, split)) <= set(ids(ten, split))
        assert ids(ten, split) == [name for name in ids(whole, split) if name in ids(ten, split)]
    assert ids(five, "train") == ids(load_task("ner_medical", folder, limit=5), "train")
    assert len({task.digest for task in (whole, ten, five)}) == 3


def test_a_limit_below_one_is_told() -> None:
    with pytest.raises(UserError, match="limit: 0 examples; give at least 1"):
        load_task("ner_medical", limit=0)


def changed_task(tmp_path: Path, old: str, new: str) -> str:
    """A copy of ner_medical's task.yaml with a change; answers the folder."""
    folder = tmp_path / "task"
    folder.mkdir()
    source = load_task("ner_medical").folder / "task.yaml"
    content = source.read_text(encoding="utf-8")
    assert old in content
    (folder / "task.yaml").write_text(content.replace(old, new), encoding="utf-8")
    return str(folder)


def test_a_generator_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"other\.py: no such file; task.yaml names it under"):
        load_task(changed_task(tmp_path, "generator: generate.py", "generator: other.py"))


def test_a_task_may_keep_its_rows_in_files(data: Path, tmp_path: Path) -> None:
    shipped = (load_task("ner_medical").folder / "task.yaml").read_text(encoding="utf-8")
    source = re.search(r"  generator: .*\n  seed: .*\n  sizes: .*\n", shipped)[0]
    place = changed_task(tmp_path, source, f"  folder: {json.dumps(str(data))}\n")
    assert load_task(place).notes[0].startswith("no test split in mine")
    write(data, "validation", [("v-0", "CONDITON", "gout")])
    # labels are fixed by task.yaml here, so the row itself is named
    with pytest.raises(UserError, match=r"validation\.jsonl:1: entities\[0\]: unknown label"):
        load_task(place)


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
    task = load_task(str(folder))
    (example,) = task.examples("test")
    assert example.reference == (("SIGN", "Pain in left"),)
    (folder / "rows" / "validation" / "validation1.ann").unlink()
    with pytest.raises(UserError, match=r"validation1\.ann: no such file"):
        load_task(str(folder))


def test_files_and_splits_may_have_names_of_their_own(tmp_path: Path) -> None:
    names = "splits: {validation: devel, test: held_out}"
    folder = task_of(tmp_path / "mine", f"folder: ., format: conll, {names}")
    for name in ("train", "devel", "held_out"):
        (folder / f"{name}.tsv").write_text(f"In\tO\n{name}\tB-NAME\n")
    task = load_task(str(folder))
    assert [task.examples(split)[0].text for split in SPLITS] == [
        "In train",
        "In devel",
        "In held_out",
    ]
    (folder / "devel.tsv").unlink()
    with pytest.raises(UserError, match=r"devel\.conll: no such file; a data folder needs train"):
        load_task(str(folder))
    (folder / "devel.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"devel\.jsonl exists: data\.format: jsonl in task\.yaml"):
        load_task(str(folder))


def test_a_task_may_take_its_rows_from_the_hub(tmp_path: Path) -> None:
    place = tmp_path / "like_a_hub"
    place.mkdir()
    for split, count in (("train", 10), ("validation", 2)):
        rows = [
            {"id": f"{split}{n}-0", "tokens": ["Has", f"{split}{n}"], "ner_tags": ["O", "B-C"]}
            for n in range(count)
        ]
        (place / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = load_task(str(task_of(tmp_path / "mine", f"hub: {place}")))
    assert (len(task.examples("train")), len(task.examples("test"))) == (8, 2)
    assert "no test split in like_a_hub: 2 of 10 training examples" in task.notes[0]
    other = task_of(tmp_path / "other", f"hub: {place}, splits: {{validation: dev}}")
    with pytest.raises(
        UserError, match=r"no split 'dev', only .*data\.splits: {validation: NAME}"
    ):
        load_task(str(other))


def test_fields_are_mapped(tmp_path: Path) -> None:
    folder = task_of(tmp_path / "mine", "folder: .", "text: note, entities: spans")
    spans = [{"start": 0, "end": 4, "label": "C"}]
    for split in SPLITS:
        line = json.dumps({"id": split, "note": f"Gout {split}", "spans": spans})
        (folder / f"{split}.jsonl").write_text(line)
    assert load_task(str(folder)).examples("test")[0].reference == (("C", "Gout"),)
    (folder / "test.jsonl").write_text('{"text": "Gout", "entities": []}')
    with pytest.raises(
        UserError, match=r"test\.jsonl:1: no 'note' \(task\.yaml maps text to it\)"
    ):
        load_task(str(folder))


def outputs(task: Task, split: str) -> list[str]:
    return [str(row.output) for row in task.rows(split)]


def test_both_splits_are_made_where_only_train_is_there(tmp_path: Path) -> None:
    labels = ("A", "B")
    rows = [entity_row(f"{k // 4}-{k % 4}", labels[k % 2], "gout") for k in range(120)]
    write_rows(tmp_path, "train", rows)
    place = write_task(tmp_path, "entities")
    task = load_task(place)
    documents = {s: {row.document for row in task.rows(s)} for s in SPLITS}
    assert [len(documents[split]) for split in SPLITS] == [21, 3, 6]
    assert len(set().union(*documents.values())) == 30
    assert task.notes == (
        f"no test split in {tmp_path.name}: 24 of 120 training examples (6 documents, seed 0) "
        "were set aside as test",
        f"no validation split in {tmp_path.name}: 12 of 120 training examples (3 documents, "
        "seed 0) were set aside as validation",
    )
    assert load_task(place).digest == task.digest != load_task(place, seed=1).digest


def test_the_test_split_is_the_same_whether_validation_is_given_or_made(data: Path) -> None:
    given = load_task("ner_medical", data)
    (data / "validation.jsonl").unlink()
    made = load_task("ner_medical", data)
    assert ids(made, "test") == ids(given, "test")
    assert set(ids(made, "validation")) < set(ids(given, "train"))


def test_validation_alone_is_made_from_train(data: Path) -> None:
    (data / "validation.jsonl").rename(data / "test.jsonl")
    task = load_task("ner_medical", data)
    assert ids(task, "test") == [f"v-{k}" for k in range(8)]
    assert len(ids(task, "validation")) == 4  # one document of ten
    assert task.notes[0].startswith("no validation split in mine: 4 of 40")


def test_a_choice_is_split_in_the_proportions_of_its_classes(tmp_path: Path) -> None:
    classes = "a" * 50 + "b" * 30 + "c" * 20
    write_rows(tmp_path, "all", [pair_row(f"r{n}", one) for n, one in enumerate(classes)])
    split = {"by": "row", "test_share": 0.3}
    keys = {"splits": {"train": "all"}, "split": split}
    task = load_task(write_task(tmp_path, "choice", data=keys))
    assert Counter(outputs(task, "test")) == {"a": 15, "b": 9, "c": 6}
    assert Counter(outputs(task, "validation")) == {"a": 5, "b": 3, "c": 2}
    assert task.notes[0].endswith("30 of 100 training examples (seed 0) were set aside as test")
    keys["split"] = {**split, "stratify": False}
    plain = load_task(write_task(tmp_path, "choice", data=keys))
    assert Counter(outputs(plain, "test")) != Counter(outputs(task, "test"))


def test_entities_are_split_in_the_proportions_of_their_labels_if_asked(tmp_path: Path) -> None:
    labels = ["RARE" if k % 12 == 0 else "USUAL" for k in range(240)]
    write_rows(
        tmp_path, "train", [entity_row(f"r{k}", label, "x") for k, label in enumerate(labels)]
    )
    for seed in range(3):
        keys = {"split": {"stratify": True}, "seed": seed}
        task = load_task(write_task(tmp_path, "entities", data=keys))
        counts = Counter(row.entities[0].label for row in task.rows("test"))
        assert counts == {"RARE": 4, "USUAL": 44}


def test_a_label_that_a_made_split_takes_out_of_train_names_the_remedy(tmp_path: Path) -> None:
    rows = [entity_row(f"r{k}", "RARE" if k == 7 else "USUAL", "x") for k in range(20)]
    write_rows(tmp_path, "train", rows)
    told = []
    for seed in range(12):
        place = write_task(tmp_path, "entities", data={"seed": seed})
        try:
            load_task(place)
        except UserError as fault:
            told.append(str(fault))
        keys = {"seed": seed, "split": {"stratify": True}}
        assert load_task(write_task(tmp_path, "entities", data=keys)).labels == ("RARE", "USUAL")
    assert 0 < len(told) < 12
    advice = "data.split: {stratify: true} in task.yaml keeps each label in train"
    assert all("'RARE' occurs in" in one and one.endswith(advice) for one in told)


def test_rows_of_one_patient_fall_into_one_split(tmp_path: Path) -> None:
    rows = [pair_row(f"d-{n}", "o", patient=n % 10) for n in range(60)]
    path = write_rows(tmp_path, "train", rows)
    place = write_task(tmp_path, "pairs", data={"split": {"by": "patient"}})
    task = load_task(place)
    groups = [{row.group for row in task.rows(split)} for split in SPLITS]
    assert [len(found) for found in groups] == [7, 1, 2]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert "12 of 60 training examples (2 groups by patient, seed 0)" in task.notes[0]
    path.write_text(path.read_text().replace('"patient": 1}', '"doctor": 1}', 1))
    with pytest.raises(UserError, match=r"train\.jsonl:2: no 'patient'; the row has: id, input"):
        load_task(place)
    for split in ("validation", "test"):
        write_rows(tmp_path, split, [pair_row("v", "o", f"of {split}")])
    assert (
        len(load_task(place).rows("train")) == 60
    )  # nothing is made, so nobody asks for patients


def test_a_format_without_records_has_neither_fields_nor_scores(tmp_path: Path) -> None:
    lines = "".join(f"In\tO\nword{n}\tB-NAME\n\n" for n in range(9))
    (tmp_path / "train.conll").write_text(lines)
    keys = {"format": "conll", "split": {"by": "patient"}}
    with pytest.raises(UserError, match=r"train\.conll: format conll has no field 'patient'"):
        load_task(write_task(tmp_path, "entities", data=keys))
    keys = {"format": "conll"}
    with pytest.raises(UserError, match=r"train\.conll: format conll has no field 'score'"):
        load_task(write_task(tmp_path, "entities", data=keys, quality={"min_score": 4}))
    assert len(load_task(write_task(tmp_path, "entities", data=keys)).rows("train")) == 6


def test_a_made_split_shares_no_input_with_what_it_was_made_from(tmp_path: Path) -> None:
    rows = [entity_row(f"{k // 4}-{k % 4}", "A", "gout") for k in range(80)]
    rows += [entity_row(f"{k}-9", "A", "gout", "As above:") for k in range(20)]
    write_rows(tmp_path, "train", rows)
    task = load_task(write_task(tmp_path, "entities"))
    assert not find_leaks({split: task.rows(split) for split in SPLITS})
    assert task.notes[-1] == (
        "14 of train and 2 of validation dropped, because their input also occurs in a later split"
    )
    assert task.preparation.left_out == {"in a later split": 14}


def scored(folder: Path) -> list[dict[str, object]]:
    """Six training rows with scores, one repeated; validation and test rows without."""
    rows = [pair_row(f"t-{n}", "o", score=score) for n, score in enumerate((5, 3.5, 4, 1, 4.5))]
    rows.append(pair_row("t-5", "o", "Input  T-0", score=5))
    write_rows(folder, "train", rows)
    for split in ("validation", "test"):
        write_rows(
            folder, split, [pair_row(split, "o"), pair_row(f"{split}-2", "o", f"input {split}")]
        )
    return rows


def test_training_rows_that_are_not_good_enough_are_left_out_and_counted(tmp_path: Path) -> None:
    scored(tmp_path)
    write_rows(tmp_path, "test", [pair_row("e", "o", "the same"), pair_row("f", "o", "the same")])
    quality = {"min_score": 4, "drop_duplicates": True}
    task = load_task(write_task(tmp_path, "pairs", quality=quality))
    assert ids(task, "train") == ["t-0", "t-2", "t-4"]
    assert ids(task, "test") == ["e", "f"]  # every row of the others stays
    assert task.notes == ("quality: 3 of 6 training rows left out (2 scored below 4, 1 repeated)",)
    assert task.preparation == ({"scored below 4": 2, "repeated": 1}, 0)


def test_a_training_row_without_its_score_is_told(tmp_path: Path) -> None:
    rows = scored(tmp_path)
    del rows[2]["score"]
    write_rows(tmp_path, "train", rows)
    with pytest.raises(
        UserError, match=r"train\.jsonl:3: no 'score'; the row has: id, input, out"
    ):
        load_task(write_task(tmp_path, "pairs", quality={"min_score": 4}))
    rows[2]["score"] = "good"
    write_rows(tmp_path, "train", rows)
    with pytest.raises(
        UserError, match=r"train\.jsonl:3: 'score' is \"good\"; it should be a num"
    ):
        load_task(write_task(tmp_path, "pairs", quality={"min_score": 4}))
    with pytest.raises(UserError, match=r"train\.jsonl:1: no 'rating'"):
        load_task(write_task(tmp_path, "pairs", quality={"min_score": 4, "score_field": "rating"}))
    assert len(load_task(write_task(tmp_path, "pairs")).rows("train")) == 6  # nobody asks for it


def test_quality_that_leaves_nothing_is_told(tmp_path: Path) -> None:
    scored(tmp_path)
    with pytest.raises(
        UserError, match=r"quality in task\.yaml leaves none of 6 .* \(6 under 9 words\)"
    ):
        load_task(write_task(tmp_path, "pairs", quality={"min_words": 9}))


def test_a_generators_rows_have_their_quality_too(tmp_path: Path) -> None:
    body = (
        "def generate(split, count, seed):\n"
        "    for n in range(count):\n"
        "        yield {'id': str(n), 'input': f'{split} {n}', 'output': 'o', 'score': n}\n"
    )
    (tmp_path / "g.py").write_text(body)
    sizes = {"train": 6, "validation": 1, "test": 1}
    keys = {"folder": None, "generator": "g.py", "sizes": sizes}
    task = load_task(write_task(tmp_path, "pairs", data=keys, quality={"min_score": 4}))
    assert ids(task, "train") == ["4", "5"]
    (tmp_path / "g.py").write_text(body.replace("'output': 'o', ", ""))
    with pytest.raises(UserError, match=r"g\.py: generate train: row 1: no 'output'"):
        load_task(write_task(tmp_path, "pairs", data=keys))


def test_leaking_rows_may_be_dropped_before_the_test_split(tmp_path: Path) -> None:
    write_rows(tmp_path, "train", [pair_row(f"t-{n}", "o", f"text {n}") for n in range(9)])
    write_rows(
        tmp_path, "validation", [pair_row("v-0", "o", "Text 1"), pair_row("v-1", "o", "other")]
    )
    write_rows(tmp_path, "test", [pair_row("e-0", "o", "text  2"), pair_row("e-1", "o", "other")])
    stopped = load_task(write_task(tmp_path, "pairs"))
    assert stopped.notes[-1].startswith("3 inputs occur in more than one split")
    place = write_task(tmp_path, "pairs", data={"leaks": "drop"})
    task = load_task(place)
    assert [len(task.rows(split)) for split in SPLITS] == [7, 1, 2]
    assert not find_leaks({split: task.rows(split) for split in SPLITS})
    assert task.notes == (
        "2 of train and 1 of validation dropped, because their input also occurs in a later split",
    )
    write_rows(tmp_path, "validation", [pair_row("v-1", "o", "other")])
    with pytest.raises(UserError, match="no row of validation is left"):
        load_task(place)


HOOK = """\
def training_rows(rows, seed):
    return [{**row, "input": "again: " + row["input"]} for row in rows]
"""


def test_a_hook_adds_to_the_training_rows_alone_after_the_splits_are_made(tmp_path: Path) -> None:
    rows = [pair_row(f"d-{n}", "o", score=n) for n in range(50)]
    write_rows(tmp_path, "train", rows)
    keys = {"data": {"split": {"by": "row"}}, "quality": {"min_score": 2}}
    place = write_task(tmp_path, "pairs", **keys)
    plain = load_task(place)
    hook = tmp_path / "task.py"
    hook.write_text(HOOK)
    task = load_task(place)
    for split in ("validation", "test"):
        assert task.rows(split) == plain.rows(split)
    assert ids(task, "train") == [*ids(plain, "train"), *(f"{i}~1" for i in ids(plain, "train"))]
    added = len(plain.rows("train"))
    assert task.preparation.augmented == added
    assert task.notes[-1] == f"task.py: training_rows added {added} training rows"
    assert task.digest != plain.digest
    hook.write_text(HOOK.replace("again", "anew"))
    assert load_task(place).digest not in {task.digest, plain.digest}
    hook.write_text(HOOK)
    assert load_task(place).digest == task.digest
    few = load_task(place, limit=10)
    assert [len(few.rows(split)) for split in SPLITS] == [20, 5, 10]


def test_a_hook_that_writes_a_test_text_leaks(tmp_path: Path) -> None:
    write_rows(tmp_path, "train", [pair_row("t-0", "o")])
    write_rows(tmp_path, "validation", [pair_row("v-0", "o")])
    write_rows(tmp_path, "test", [pair_row("e-0", "o", "Again: input t-0")])
    (tmp_path / "task.py").write_text(HOOK)
    assert (
        load_task(write_task(tmp_path, "pairs"))
        .notes[-1]
        .startswith(
            "1 input occurs in more than one split (1 of test in train), such as e-0 (test) and "
            "t-0~1 (train)"
        )
    )
    task = load_task(write_task(tmp_path, "pairs", data={"leaks": "drop"}))
    assert ids(task, "train") == ["t-0"]


def test_a_hook_that_invents_a_class_is_told(tmp_path: Path) -> None:
    for split in SPLITS:
        write_rows(tmp_path, split, [pair_row(f"{split}-{one}", one) for one in ("yes", "no")])
    (tmp_path / "task.py").write_text(
        "def training_rows(rows, seed): return [{**rows[0], 'output': 'yess'}]"
    )
    with pytest.raises(UserError, match=r"task\.py: training_rows: row train-yes~1: unknown label "
                       r"'yess'; did you mean 'yes'\?"):  # fmt: skip
        load_task(write_task(tmp_path, "choice"))


#: Replaces words by others of the same meaning and moves the entities along.
PARAPHRASER = """
import random
import re

SAME = {"takes": ("is on", "uses"), "stopped": ("discontinued",), "daily": ("each day",)}


def training_rows(rows, seed):
    made = []
    for row in rows:
        rng = random.Random(f"{seed} {row['id']}")
        text, moved, last = "", {}, 0
        for hit in re.finditer(r"\\w+", row["text"]):
            words = SAME.get(hit.group().lower())
            text += row["text"][last : hit.start()]
            moved[hit.start()] = len(text) - hit.start()
            text += rng.choice(words) if words else hit.group()
            last = hit.end()
        text += row["text"][last:]
        entities = [
            {**one, "start": one["start"] + by, "end": one["end"] + by}
            for one in row["entities"]
            for by in [moved[one["start"]]]
        ]
        if text != row["text"]:
            made.append({"id": row["id"], "text": text, "entities": entities})
    return made
"""
WANTED = RowSpec("entities", ("MED",))
ROWS = (
    Row("n-1", "Takes Xarel daily.", (Span(6, 11, "MED", "Xarel"),)),
    Row("n-2", "No drug."),
    Row(
        "n-3",
        "Stopped Bumex, takes Zocor.",
        (Span(8, 13, "MED", "Bumex"), Span(21, 26, "MED", "Zocor")),
    ),
)
PAIRS = (Row("a", "old", output="1"),)


def hook(folder: Path, body: str) -> Path:
    path = folder / "task.py"
    path.write_text(body, encoding="utf-8")
    return path


def test_a_folder_without_a_hook_adds_nothing(tmp_path: Path) -> None:
    assert augmentation_rows(tmp_path, ROWS, 0, WANTED) == ()


def test_a_paraphraser_adds_rows_whose_entities_stand_where_they_should(tmp_path: Path) -> None:
    hook(tmp_path, PARAPHRASER)
    found = augmentation_rows(tmp_path, ROWS, 0, WANTED)
    assert [row.id for row in found] == ["n-1~1", "n-3~1"]
    assert {row.document for row in found} == {"n"}
    for row in found:
        assert [row.text[s.start : s.end] for s in row.entities] == [s.text for s in row.entities]
    assert found[1].text in {"discontinued Bumex, is on Zocor.", "discontinued Bumex, uses Zocor."}
    assert len({augmentation_rows(tmp_path, ROWS, seed, WANTED) for seed in range(6)}) > 1


def test_a_teacher_may_write_the_rows_as_the_documents_say(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert "path/to/teacher" in code
    hook(tmp_path, code.replace("path/to/teacher", str(embedded.path("tiny"))))
    rows = (Row("q-1", "Takes Lasix 20 mg.", output="x"), Row("q-2", "No gout.", output="y"))
    found = augmentation_rows(tmp_path, rows, 0, RowSpec("pairs"))
    assert [row.id for row in found] == ["q-1~1", "q-2~1"]
    assert [row.text for row in found] == [row.text for row in rows]
    assert not {row.output for row in found} & {"x", "y", None}
    (tmp_path / "task.py").touch()
    assert augmentation_rows(tmp_path, rows, 0, RowSpec("pairs")) == found


def test_what_a_hook_gave_is_kept_until_it_or_the_rows_change(tmp_path: Path) -> None:
    body = (
        "from pathlib import Path\n"
        "def training_rows(rows, seed):\n"
        "    with Path(__file__).with_name('calls').open('a') as calls:\n"
        "        calls.write('.')\n"
        "    return [{'input': 'new', 'output': str(len(rows))}]\n"
    )
    path = hook(tmp_path, body)
    first = augmentation_rows(tmp_path, PAIRS, 0, RowSpec("pairs"))
    assert [(row.id, row.text, row.output) for row in first] == [("augmented~1", "new", "1")]
    assert augmentation_rows(tmp_path, PAIRS, 0, RowSpec("pairs")) == first
    assert (tmp_path / "calls").read_text() == "."
    augmentation_rows(tmp_path, PAIRS, 1, RowSpec("pairs"))
    augmentation_rows(tmp_path, (*PAIRS, Row("b", "older", output="1")), 0, RowSpec("pairs"))
    path.write_text(f"{body}# changed\n")
    augmentation_rows(tmp_path, PAIRS, 0, RowSpec("pairs"))
    assert (tmp_path / "calls").read_text() == "...."
    kept = list((tmp_path / "augmented").glob("*.jsonl"))
    assert len(kept) == 4
    assert {json.loads(path.read_text())["input"] for path in kept} == {"new"}


def test_a_hook_may_add_nothing_and_several_rows_of_one(tmp_path: Path) -> None:
    rows = (Row("a", "x", output="1"), Row("a~1", "y", output="1"))
    hook(tmp_path, "def training_rows(rows, seed): return []")
    for _ in range(2):
        assert augmentation_rows(tmp_path, rows, 0, RowSpec("pairs")) == ()
    hook(
        tmp_path,
        "def training_rows(rows, seed):\n"
        "    return [{**rows[0], 'input': word} for word in ('one', 'two')]\n",
    )
    assert [row.id for row in augmentation_rows(tmp_path, rows, 0, RowSpec("pairs"))] == [
        "a~2",
        "a~3",
    ]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            "def trainings_rows(rows, seed): ...",
            "task.py: no function 'training_rows'; did you mean",
        ),
        ("def training_rows(rows): return rows", "task.py: training_rows: TypeError"),
        (
            "def training_rows(rows, seed):\n    raise ValueError('no key for the teacher')",
            "task.py:2: training_rows: ValueError: no key for the teacher",
        ),
        (
            "def training_rows(rows, seed): return [{'id': 'n-9', 'text': 'x', 'entities': []}]",
            'task.py: training_rows: row 1: id "n-9" is not that of a training row',
        ),
        (
            "def training_rows(rows, seed): return [rows[0], {'id': 'n-2', 'text': 'x'}]",
            "task.py: training_rows: row 2: no 'entities'",
        ),
        (
            "def training_rows(rows, seed):\n"
            "    return [{'text': 'gout', 'entities': [{'start': 0, 'end': 4, 'label': 'MOD'}]}]",
            "task.py: training_rows: row 1: entities[0]: unknown label 'MOD'; did you mean 'MED'?",
        ),
        (
            "def training_rows(rows, seed): return [{**rows[0], 'note': {1, 2}}]",
            "task.py: training_rows: Object of type set is not JSON serializable",
        ),
    ],
)
def test_faults_name_file_function_and_row(tmp_path: Path, body: str, told: str) -> None:
    hook(tmp_path, body)
    with pytest.raises(UserError) as fault:
        augmentation_rows(tmp_path, ROWS, 0, WANTED)
    assert told in str(fault.value)
    assert str(fault.value).startswith(str(tmp_path))
    assert not list(tmp_path.glob("augmented/*.jsonl"))


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    hook(tmp_path, "def training_rows(rows, seed): return []")
    (tmp_path / "augmented").write_text("in the way")
    with pytest.raises(UserError, match=r"augmented: cannot be written to .*cached there"):
        augmentation_rows(tmp_path, ROWS, 0, WANTED)
