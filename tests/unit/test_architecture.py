"""The rules of the house: floors, rooms without circles, small files and functions, plain names.

The table below is the plan of the house. A new top-level module needs a line of its own; a new
module inside a listed package inherits the package's line unless it has one.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "harness"
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}


@dataclass(frozen=True)
class Room:
    """One line of the table.

    Attributes:
        floor: a module imports from lower floors only, ...
        beside: ... and on its own floor only from these.
        only: if given, it imports nothing else of ours at all, not even from lower floors.
    """

    floor: int
    beside: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None


GROUND = ("errors", "aggregates", "costs")  # all higher floors may import these
READING = (*GROUND, "results")

TABLE: dict[str, Room] = {
    "errors": Room(1, only=()),
    "aggregates": Room(1, only=()),
    "costs": Room(1, beside=("errors",), only=("errors",)),
    "trial": Room(1, only=()),
    "seeds": Room(1, only=()),
    "heads": Room(1, only=()),
    "hushed": Room(1, only=()),
    "results": Room(1, beside=("aggregates",)),
    "registry": Room(2, only=("errors",)),
    "catalog": Room(2, only=("errors",)),
    "dimensions": Room(2, only=("errors",)),
    "settings": Room(2, beside=("dimensions",), only=("errors", "trial", "dimensions", "costs")),
    "entity_text": Room(2, only=("errors",)),
    "space": Room(2, beside=("dimensions",), only=("trial", "errors", "dimensions")),
    "analysis": Room(2, only=(*READING, "analysis")),
    "baselines": Room(3, only=("entity_text", "errors", "aggregates")),
    "variants": Room(3, only=("registry", "trial", "errors")),
    "metrics": Room(3, beside=("metrics",), only=("registry", "errors", "aggregates", "metrics")),
    "formats": Room(3, beside=("formats",), only=("registry", "errors", "formats")),
    "sweep": Room(3, beside=("variants",)),
    "report": Room(3, beside=("report",), only=(*READING, "analysis", "registry", "report")),
    "provenance": Room(4, only=("errors",)),
    "entity_tags": Room(4, only=("formats",)),
    "kinds": Room(
        4,
        beside=("kinds", "entity_tags"),
        only=(
            "registry",
            "formats",
            "metrics",
            "baselines",
            "entity_text",
            "entity_tags",
            "heads",
            "kinds",
        ),
    ),
    "task_sections": Room(4, only=("formats", "errors")),
    "task_file": Room(
        4,
        beside=("task_sections", "kinds"),
        only=("metrics", "errors", "heads", "kinds", "task_sections"),
    ),
    "rows": Room(4, beside=("rows",), only=("formats", "errors", "rows")),
    "task_source": Room(
        4,
        beside=("task_file", "kinds", "rows"),
        only=("formats", "errors", "kinds", "task_file", "rows"),
    ),
    "task_data": Room(
        4,
        beside=("task_file", "task_source", "kinds", "rows"),
        only=("formats", "errors", "kinds", "task_file", "task_source", "rows"),
    ),
    "data_card": Room(4, beside=("rows",), only=("formats", "rows")),
    "data_warnings": Room(4, beside=("data_card", "rows"), only=("data_card", "rows")),
    "worked": Room(4, only=("kinds",)),
    "task": Room(4, beside=("task_file", "task_data", "kinds", "worked")),
    "storage": Room(4, beside=("storage", "objectives")),
    "cells": Room(4),
    "opening": Room(4, only=("sweep", "trial")),
    "objectives": Room(4, beside=("task",), only=("errors", "costs", "task", "trial")),
    "full": Room(5),
    "claimed": Room(5),
    "adding": Room(5),
    "widening": Room(5),
    "clock": Room(4, only=("results", "trial")),
    "embedded": Room(4, only=("embedded",)),
    "models": Room(4, beside=("models", "embedded")),
    "adapters": Room(4, beside=("adapters", "models")),
    "training": Room(5, beside=("training",)),
    "packed": Room(5, beside=("packed", "training")),
    "progress": Room(5),
    "initialise": Room(
        5, beside=("initialise",), only=("errors", "formats", "kinds", "task", "initialise")
    ),
    "training.trainer": Room(5, only=("trial", "errors")),
    "stages": Room(6),
    "checks": Room(6, beside=("workers.tasks",)),
    "check_data": Room(6, beside=("workers.tasks",)),
    "workers": Room(6, beside=("workers",)),
    "workers.worker": Room(6, beside=("stages", "workers")),
    "forecast": Room(6, beside=("checks", "workers.tasks")),
    "session": Room(6, beside=("checks", "stages", "workers")),
    "export": Room(6),
    "indexing": Room(6),
    "showing": Room(6, beside=("workers.tasks",)),
    "cli": Room(7, beside=("cli",)),
    "": Room(8),  # the face: harness/__init__.py re-exports; no room imports it
    "__main__": Room(9),
}

#: The two wings meet only here and on the floor of the command line.
READING_WING = ("analysis", "report")
MAY_READ = {
    "stages": ("analysis",),
    "full": ("analysis",),
    "claimed": ("analysis",),
    "adding": ("analysis",),
    "workers.referee": ("analysis",),
    "widening": ("analysis",),
    "showing": ("analysis",),
    "cli": READING_WING,
    "": READING_WING,
}
#: Heads of drop-in folders: their neighbours register with them, never the other way round.
HEADS = ("metrics.metric", "formats.format", "kinds.kind", "report.section")
#: What the reading wing may take from outside; `results` and the report stay light.
STATISTICS = {"numpy", "pandas", "scipy"}
#: Taken within a function, for what is computed once a study and then kept with it.
ONCE = {"analysis.importance": {"optuna"}, "analysis.forest": {"sklearn"}}
HEAVY = {"torch", "transformers", "peft", "optuna", "bitsandbytes", "datasets", "sqlalchemy"}


def name_of(file: Path) -> str:
    """`harness/report/page.py` -> `report.page`; the face is the empty name."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in FILES.items()}


def room_of(module: str) -> tuple[str, Room]:
    """The most specific line of the table that a module stands under."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in TABLE:
            return prefix, TABLE[prefix]
    raise KeyError(module)


def under(module: str, rooms: tuple[str, ...]) -> bool:
    """Whether a module is one of these rooms or lies inside one."""
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Every dotted name that an import statement anywhere in the module reaches for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def our_imports(module: str) -> set[str]:
    """Modules of ours that a module imports, each as the deepest module that exists."""
    found = set()
    for name in imported_names(TREES[module]):
        if name.split(".")[0] != "harness":
            continue
        target = name.removeprefix("harness").removeprefix(".")
        while target not in FILES:
            target = target.rpartition(".")[0]
        found.add(target)
    return found - {module}


def outside_imports(module: str) -> set[str]:
    """Top-level packages outside the standard library and `harness` that a module imports."""
    tops = {name.split(".")[0] for name in imported_names(TREES[module])}
    return tops - set(sys.stdlib_module_names) - {"harness", "__future__"}


def reach(module: str) -> set[str]:
    """All modules of ours that importing this one may pull in."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.add(one)
            todo.extend(our_imports(one))
            parent = one.rpartition(".")[0]
            todo.extend([parent] if parent else [])
    return seen


def faults_of(module: str, targets: set[str]) -> list[str]:
    """What is wrong with a module's imports, by the table."""
    name, room = room_of(module)
    faults = []
    for target in sorted(targets):
        _, other = room_of(target)
        inside = room.beside if room.only is None else (*room.beside, *room.only)
        if target == "" and room.floor < 8:
            faults.append(f"{module} imports the face `harness` instead of a module")
        elif other.floor > room.floor:
            faults.append(f"{module} (floor {room.floor}) imports {target} (floor {other.floor})")
        elif other.floor == room.floor and not under(target, inside):
            faults.append(f"{module} imports {target}, its neighbour on floor {room.floor}")
        elif room.only is not None and not under(target, inside):
            faults.append(f"{module} imports {target}; {name} may import only {room.only}")
        elif under(target, READING_WING) and not under(module, READING_WING):
            top = module.split(".")[0]
            if not under(target, MAY_READ.get(module, MAY_READ.get(top, ()))):
                faults.append(f"{module} of the writing wing imports {target} of the reading wing")
    return faults


def test_the_package_was_found() -> None:
    assert {"errors", "trial", "results", "registry", "catalog"} <= set(FILES)


@pytest.mark.parametrize("module", sorted(FILES))
def test_every_module_stands_in_the_table(module: str) -> None:
    assert module == "" or room_of(module), module


@pytest.mark.parametrize("module", sorted(FILES))
def test_no_import_goes_up_or_across(module: str) -> None:
    assert faults_of(module, our_imports(module)) == []


def test_modules_form_no_circle() -> None:
    graph = {module: our_imports(module) for module in FILES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the circle


@pytest.mark.parametrize("head", [head for head in HEADS if head in FILES])
def test_a_head_of_a_drop_in_folder_imports_none_of_its_neighbours(head: str) -> None:
    folder = head.rpartition(".")[0]
    rooms = (f"{folder}.sections",) if folder == "report" else (folder,)
    assert {name for name in our_imports(head) if under(name, rooms)} == set()


@pytest.mark.parametrize(
    "module", sorted(m for m in FILES if under(m, ("results", "analysis", "report")))
)
def test_the_reading_wing_reaches_neither_torch_nor_optuna(module: str) -> None:
    heavy = {
        name: outside_imports(name) & HEAVY - ONCE.get(name, set())
        for name in reach(module)
        if name
    }
    assert {name: taken for name, taken in heavy.items() if taken} == {}


@pytest.mark.parametrize("module", sorted(m for m in FILES if under(m, ("analysis",))))
def test_statistics_import_only_statistics(module: str) -> None:
    assert outside_imports(module) - ONCE.get(module, set()) <= STATISTICS


#: What must stay light, as a newcomer's first lines would have it.
LIGHT = {
    "the face": "import harness",
    "reading a study": "import harness; harness.read_study",
    "the report": "import harness.report.page",
    "the command line": "import harness.cli; harness.cli.make_app()",
}
LATE = {"torch", "transformers", "peft"}
FORBIDDEN = {
    "the face": HEAVY | STATISTICS,
    "the command line": HEAVY | STATISTICS,
    "the report": LATE | {"scipy.stats"},  # takes longer than a page's whole statistics
}
NEEDS = {"reading a study": "storage.records", "the report": "report.page"}


@pytest.mark.parametrize("what", LIGHT)
def test_it_does_not_import_torch(what: str) -> None:
    if NEEDS.get(what, "") not in FILES:
        pytest.skip(f"harness.{NEEDS[what]} does not exist in this checkout")
    code = (
        f"import sys; {LIGHT[what]}; print(sorted({FORBIDDEN.get(what, LATE)} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", sorted(FILES))
def test_files_and_functions_stay_small(module: str) -> None:
    lines = FILES[module].read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_FILE_LINES, f"{FILES[module].name} has {lines} lines"
    long = {
        f"{node.name} (line {node.lineno})": (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(TREES[module])
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES
    }
    assert long == {}


@pytest.mark.parametrize("module", sorted(FILES))
def test_modules_open_with_a_docstring(module: str) -> None:
    tree = TREES[module]
    assert ast.get_docstring(tree), f"{FILES[module].relative_to(ROOT)} has no docstring"


def test_no_module_is_a_bag_of_odds_and_ends() -> None:
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "tasks").rglob("*")]
    assert [str(file.relative_to(ROOT)) for file in files if file.stem in BANNED_NAMES] == []


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("errors", "trial"),  # across, on the ground floor
        ("registry", "sweep"),  # up
        ("report.page", "storage.records"),  # up, and into the other wing
        ("analysis.scores", "trial"),  # down, but not in its line
        ("training.sequential", "analysis.scores"),  # down, but into the other wing
        ("training.sequential", "stages"),  # up
        ("stages", "workers.worker"),  # across
        ("task", "storage.records"),  # across
        ("space", ""),  # the face
    ],
)
def test_the_table_refuses(module: str, target: str) -> None:
    assert len(faults_of(module, {target})) == 1


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("results", "aggregates"),
        ("sweep", "variants"),
        ("report.sections.verdict", "analysis.recommendation"),
        ("report.sections.verdict", "report.section"),
        ("storage.records", "storage.studies"),
        ("training.packed", "training.sequential"),
        ("stages", "analysis.recommendation"),
        ("workers.local", "workers.worker"),
        ("cli.report", "report.page"),
    ],
)
def test_the_table_allows(module: str, target: str) -> None:
    assert faults_of(module, {target}) == []
