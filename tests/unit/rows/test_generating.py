from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.rows import Wanted
from harness.errors import UserError
from harness.tasks.sources import checked, load_module, records


def script(folder: Path, body: str) -> Path:
    path = folder / "generate.py"
    path.write_text(body, encoding="utf-8")
    return path


def test_a_module_may_hold_dataclasses(tmp_path: Path) -> None:
    body = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    path = script(tmp_path, f"{body}@dataclass\nclass A:\n    x: int = 1\n")
    assert load_module(path).A().x == 1


def test_rows_may_come_from_a_generator_function(tmp_path: Path) -> None:
    path = script(tmp_path, "def f(n):\n    for k in range(n):\n        yield {'id': str(k)}\n")
    assert records(path, "f", 2) == [{"id": "0"}, {"id": "1"}]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("def g(n): ...", r"generate\.py: no function 'f'; known: g$"),
        ("import no_such_thing", r"generate\.py:1: cannot be run: ModuleNotFoundError: No mo"),
        ("def f(n)\n", r"generate\.py:1: cannot be run: SyntaxError"),
        ("def f(n):\n    a = 1\n    return {}[n]", r"generate\.py:3: f: KeyError: 2$"),
        ("def f(n):\n    yield {}\n    1 / 0", r"generate\.py:3: f: ZeroDivisionError"),
        ("def f(n): return 'rows'", r"generate\.py: f gave a str; a list of dicts is right"),
        ("def f(n): return None", r"generate\.py: f gave a NoneType; a list of dicts is right"),
        ("def f(n): return [{}, 'x']", r"generate\.py: f: row 2 is a str; a dict is right"),
    ],
)
def test_faults_are_told_with_file_line_and_function(tmp_path: Path, body: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as fault:
        records(script(tmp_path, body), "f", 2)
    assert "\n" not in str(fault.value)


def test_rows_are_checked_as_those_of_files_are(tmp_path: Path) -> None:
    entity = {"start": 0, "end": 3, "label": "C", "text": "gout"}
    wrong = {"id": "1", "text": "gout", "entities": [entity]}
    path = script(tmp_path, "")
    with pytest.raises(
        UserError, match=r"generate\.py: f: row 1: entities\[0\]: 'text' is \"gout\", but"
    ):
        checked(path, "f", [wrong], Wanted("entities"))
    pair = {"id": "1", "input": "a", "output": "b"}
    with pytest.raises(UserError, match=r"generate\.py: f: row 2: id '1' already stands in row 1"):
        checked(path, "f", [pair, pair], Wanted("pairs"))
