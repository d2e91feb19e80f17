from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.config.sweep import load_sweep as load_tasks
from harness.config.sweep import parse_sweep
from harness.errors import UserError
from harness.tasks import task as module
from harness.tasks.entity_format import Mention
from harness.tasks.task import SPLITS, Task, load_task, load_task_for
from tests.task_folders import pair_row, write_rows, write_task

SHARED = Path(
    os.environ.get("HARNESS_SHARED_DATA")
    or Path(__file__).resolve().parents[4] / "shared" / "data"
)


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("ner_medical")


def small(folder: Path, fold_case: bool = False) -> Task:
    """Two labels, three training notes; `Lupus` is new, `GOUT` is not."""
    folder.mkdir()
    notes = {
        "train": [("Gout; heparin 5 mg.", ["C:Gout", "M:heparin", "D:5 mg"]), ("Well.", [])],
        "validation": [("gout", ["C:gout"])],
        "test": [
            ("Lupus, GOUT, 7 mg of Lasix.", ["C:Lupus", "C:GOUT", "D:7 mg", "M:Lasix"]),
            ("a;b | c", ["C:a;b | c"]),
        ],
    }
    for split, rows in notes.items():
        lines = []
        for number, (text, entities) in enumerate(rows):
            spans = []
            for label, surface in (one.split(":", 1) for one in entities):
                start = text.index(surface)
                spans.append({"start": start, "end": start + len(surface), "label": label})
            lines.append(json.dumps({"id": f"{number}-0", "text": text, "entities": spans}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "task.yaml").write_text(
        "name: small\nsummary: x\nlabels: [M, D, C]\ndata: {folder: .}\n"
        'prompt: "Note: {text}\\nEntities:"\nunseen_excludes: [D]\nmetrics: [entity_f1]\n'
        f"fold_case: {str(fold_case).lower()}\n"
        "objective: {metric: entity_f1, direction: maximize, margin: 0.02}\n"
    )
    return load_task(f"{folder}/")


def own_data(folder: Path, other: str) -> Task:
    """The user's own notes with two labels, `MEDICATION` and another one."""
    for split in SPLITS:
        drug = {"start": 3, "end": 10, "label": "MEDICATION"}
        illness = {"start": 0, "end": 4, "label": other}
        rows = [
            {"id": f"{split}-0", "text": f"On heparin ({split}).", "entities": [drug]},
            {"id": f"{split}-1", "text": f"Gout ({split}).", "entities": [illness]},
        ]
        lines = map(json.dumps, rows)
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return load_task("ner_medical", folder)


def test_names_of_labels_that_the_data_lack_are_left_aside(tmp_path: Path) -> None:
    mine = own_data(tmp_path, "DISEASE")
    assert {mine.target(one) for split in SPLITS for one in mine.examples(split)} == {
        " MED: heparin | DISEASE: none",
        " MED: none | DISEASE: Gout",
    }


def test_a_name_that_is_another_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task\.yaml: target\.names: .* be written 'MED'"):
        own_data(tmp_path, "MED")


def test_the_objective_is_what_task_yaml_says(task: Task) -> None:
    goal = task.objective
    assert (goal.name, goal.direction, goal.margin, goal.form) == (
        "entity_f1",
        "maximize",
        0.02,
        "f1",
    )
    assert goal.classes == ("MEDICATION", "DOSAGE", "CONDITION", "PROCEDURE")
    assert (goal.scale, goal.unit) == (100.0, "points of F1")


def test_prompt_and_target(tmp_path: Path) -> None:
    mine = small(tmp_path / "small")
    first = mine.examples("train")[0]
    assert mine.prompt(first) == "Note: Gout; heparin 5 mg.\nEntities:"
    assert mine.target(first) == " M: heparin | D: 5 mg | C: Gout"
    assert mine.target(mine.examples("test")[1]) == r" M: none | D: none | C: a\;b \| c"


def test_a_text_with_braces_is_no_template(tmp_path: Path) -> None:
    mine = small(tmp_path / "small")
    odd = module.Example("x", {"text": "{text} {0} {"}, (), "")
    assert mine.prompt(odd) == "Note: {text} {0} {\nEntities:"


@pytest.mark.parametrize("split", SPLITS)
def test_a_right_answer_is_read_back_and_perfect(task: Task, split: str) -> None:
    rows = []
    for example in task.examples(split):
        found = task.parse(task.target(example))
        assert not found.unparsed
        assert sorted(found.prediction) == sorted(example.reference)
        row = task.score(found.prediction, example)
        assert len(row) == len(task.objective.columns)
        rows.append(row)
    values = task.values(rows, [False] * len(rows))
    assert values["entity_f1"] == values["macro_f1"] == 1.0
    assert values["unparsed"] == 0.0


def test_an_answer_that_cannot_be_read_counts_as_wrong_and_as_unparsed(tmp_path: Path) -> None:
    mine = small(tmp_path / "small")
    gold = mine.examples("test")[0]
    found = mine.parse("I do not know")
    assert found.unparsed
    assert mine.score(found.prediction, gold) == (0, 0, 1, 0, 0, 1, 0, 0, 2)
    values = mine.values([mine.score(found.prediction, gold)], [found.unparsed])
    assert (values["entity_f1"], values["unparsed"]) == (0.0, 1.0)


@pytest.mark.parametrize(("fold_case", "right"), [(False, 0.0), (True, 1.0)])
def test_case_counts_unless_task_yaml_folds_it(
    fold_case: bool, right: float, tmp_path: Path
) -> None:
    mine = small(tmp_path / "small", fold_case)
    (gold,) = mine.examples("validation")
    assert mine.score([Mention("C", "GOUT")], gold)[6] == right


def test_the_dictionary_finds_what_stood_in_training(tmp_path: Path) -> None:
    mine = small(tmp_path / "small")
    assert mine.baseline_predictions("dictionary", "test") == ((Mention("C", "GOUT"),), ())
    assert [mine.type.seen_in_training(one) for one in mine.examples("test")] == [
        (False, True, False, False),
        (False,),
    ]


def test_few_shot_examples_cover_all_labels_with_short_notes(task: Task) -> None:
    train = task.examples("train")
    longest = max(len(example.text) for example in train)
    for seed in range(5):
        examples = task.few_shot_examples(5, seed)
        assert len({example.id for example in examples}) == 5
        assert all(example in train for example in examples)
        assert max(len(example.text) for example in examples) < longest
        assert {mention.label for one in examples for mention in one.reference} == {*task.labels}
    assert task.few_shot_examples(5) == task.few_shot_examples(5, 0)
    assert task.few_shot_examples(5) != task.few_shot_examples(5, 1)
    assert task.few_shot_examples(0) == ()


def test_few_shot_takes_no_more_than_there_are(tmp_path: Path) -> None:
    assert len(small(tmp_path / "small").few_shot_examples(9)) == 2


def test_the_digest_covers_yaml_and_rows(tmp_path: Path) -> None:
    first = small(tmp_path / "a").digest
    assert small(tmp_path / "b").digest == first
    assert small(tmp_path / "c", fold_case=True).digest != first
    changed = small(tmp_path / "d")
    file = tmp_path / "d" / "test.jsonl"
    file.write_text(file.read_text().replace("Lupus", "Tinea"))
    assert load_task(f"{tmp_path / 'd'}/").digest != first == changed.digest


def test_unknown_names_are_told() -> None:
    with pytest.raises(UserError, match="unknown task 'ner_medicl'; did you mean 'ner_medical'"):
        load_task("ner_medicl")
    with pytest.raises(UserError, match="unknown split 'tests'; did you mean 'test'"):
        load_task("ner_medical").examples("tests")


def test_a_task_is_loaded_without_torch() -> None:
    code = (
        "import sys; from harness.tasks.task import load_task; load_task('ner_medical').digest;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("folder", "labels", "floor"),
    [
        ("maccrobat4", ("MEDICATION", "DOSAGE", "CONDITION", "PROCEDURE"), 0.547),
        ("ncbi_disease", ("DISEASE",), 0.659),
    ],
)
def test_public_data_take_the_place_of_the_tasks_own(
    folder: str, labels: tuple[str, ...], floor: float
) -> None:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"no public data at {SHARED / folder}; set HARNESS_SHARED_DATA")
    mine = load_task("ner_medical", SHARED / folder)
    assert mine.labels == labels
    for split in SPLITS:
        for example in mine.examples(split):
            found = mine.parse(example.target)
            assert not found.unparsed
            assert sorted(found.prediction) == sorted(example.reference)
    gold = mine.examples("test")
    rows = [
        mine.score(*pair)
        for pair in zip(mine.baseline_predictions("dictionary", "test"), gold, strict=True)
    ]
    assert floor - 0.07 < mine.values(rows)["entity_f1"] < floor + 0.07


@pytest.fixture
def place(tmp_path):
    for split in ("train", "validation", "test"):
        write_rows(tmp_path, split, [pair_row(f"{split}-{n}", "o") for n in range(4)])
    return write_task(tmp_path, "pairs")


def test_the_task_of_a_sweep_has_its_data_and_its_limit(place, tmp_path):
    assert len(load_task_for(parse_sweep({"task": place}, "x")).rows("train")) == 4
    limited = load_task_for(parse_sweep({"task": place, "data": {"limit": 2}}, "x"))
    assert len(limited.rows("train")) == 2
    for split in ("train", "validation", "test"):
        write_rows(tmp_path, split, [{**row, "text": row["input"]} for row in entities(split)])
    ours = load_task_for(load_tasks("ner_medical", data__folder=str(tmp_path)))
    assert [row.id for row in ours.rows("test")] == ["test-0", "test-1", "test-2"]


def entities(split):
    """Rows with one entity each."""
    for n in range(3):
        row = pair_row(f"{split}-{n}", "o", f"gout {split} {n}")
        yield {**row, "entities": [{"start": 0, "end": 4, "label": "CONDITION"}]}


def test_a_name_means_what_the_working_folder_says(tmp_path, monkeypatch):
    found = []
    for name in ("one", "two"):
        place = tmp_path / name / "tasks" / "mine"
        for split in ("train", "validation", "test"):
            write_rows(place, split, [pair_row(f"{split}-{n}", name) for n in range(2)])
        write_task(place, "pairs")
        monkeypatch.chdir(tmp_path / name)
        found.append(load_task_for(parse_sweep({"task": "mine"}, "x")).rows("test")[0].output)
    assert found == ["one", "two"]
