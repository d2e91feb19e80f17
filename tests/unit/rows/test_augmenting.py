"""With real hooks, such as one that puts words of the same meaning in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness import embedded
from harness.data.rows import Row, Span, Wanted
from harness.errors import UserError
from harness.tasks.dataset import augmented

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
WANTED = Wanted("entities", ("MED",))
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
    assert augmented(tmp_path, ROWS, 0, WANTED) == ()


def test_a_paraphraser_adds_rows_whose_entities_stand_where_they_should(tmp_path: Path) -> None:
    hook(tmp_path, PARAPHRASER)
    found = augmented(tmp_path, ROWS, 0, WANTED)
    assert [row.id for row in found] == ["n-1~1", "n-3~1"]
    assert {row.document for row in found} == {"n"}
    for row in found:
        assert [row.text[s.start : s.end] for s in row.entities] == [s.text for s in row.entities]
    assert found[1].text in {"discontinued Bumex, is on Zocor.", "discontinued Bumex, uses Zocor."}
    assert len({augmented(tmp_path, ROWS, seed, WANTED) for seed in range(6)}) > 1


def test_a_teacher_may_write_the_rows_as_the_documents_say(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert "path/to/teacher" in code
    hook(tmp_path, code.replace("path/to/teacher", str(embedded.path("tiny"))))
    rows = (Row("q-1", "Takes Lasix 20 mg.", output="x"), Row("q-2", "No gout.", output="y"))
    found = augmented(tmp_path, rows, 0, Wanted("pairs"))
    assert [row.id for row in found] == ["q-1~1", "q-2~1"]
    assert [row.text for row in found] == [row.text for row in rows]
    assert not {row.output for row in found} & {"x", "y", None}
    (tmp_path / "task.py").touch()
    assert augmented(tmp_path, rows, 0, Wanted("pairs")) == found


def test_what_a_hook_gave_is_kept_until_it_or_the_rows_change(tmp_path: Path) -> None:
    body = (
        "from pathlib import Path\n"
        "def training_rows(rows, seed):\n"
        "    with Path(__file__).with_name('calls').open('a') as calls:\n"
        "        calls.write('.')\n"
        "    return [{'input': 'new', 'output': str(len(rows))}]\n"
    )
    path = hook(tmp_path, body)
    first = augmented(tmp_path, PAIRS, 0, Wanted("pairs"))
    assert [(row.id, row.text, row.output) for row in first] == [("augmented~1", "new", "1")]
    assert augmented(tmp_path, PAIRS, 0, Wanted("pairs")) == first
    assert (tmp_path / "calls").read_text() == "."
    augmented(tmp_path, PAIRS, 1, Wanted("pairs"))
    augmented(tmp_path, (*PAIRS, Row("b", "older", output="1")), 0, Wanted("pairs"))
    path.write_text(f"{body}# changed\n")
    augmented(tmp_path, PAIRS, 0, Wanted("pairs"))
    assert (tmp_path / "calls").read_text() == "...."
    kept = list((tmp_path / "augmented").glob("*.jsonl"))
    assert len(kept) == 4
    assert {json.loads(path.read_text())["input"] for path in kept} == {"new"}


def test_a_hook_may_add_nothing_and_several_rows_of_one(tmp_path: Path) -> None:
    rows = (Row("a", "x", output="1"), Row("a~1", "y", output="1"))
    hook(tmp_path, "def training_rows(rows, seed): return []")
    for _ in range(2):
        assert augmented(tmp_path, rows, 0, Wanted("pairs")) == ()
    hook(
        tmp_path,
        "def training_rows(rows, seed):\n"
        "    return [{**rows[0], 'input': word} for word in ('one', 'two')]\n",
    )
    assert [row.id for row in augmented(tmp_path, rows, 0, Wanted("pairs"))] == ["a~2", "a~3"]


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
            'task.py: training_rows: row 1: id "n-9" is none of the training rows',
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
        augmented(tmp_path, ROWS, 0, WANTED)
    assert told in str(fault.value)
    assert str(fault.value).startswith(str(tmp_path))
    assert not list(tmp_path.glob("augmented/*.jsonl"))


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    hook(tmp_path, "def training_rows(rows, seed): return []")
    (tmp_path / "augmented").write_text("in the way")
    with pytest.raises(UserError, match=r"augmented: cannot be written to .*kept there"):
        augmented(tmp_path, ROWS, 0, WANTED)
