"""The structure of the package: which room may import which, no circles, light imports.

`TABLE` is the table of docs/architecture.md as data: a new package needs a line here, a new
module inside one does not.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "harness"
#: The words that all rooms share: modules at the top level, which import each other alone.
GROUND = ("errors", "aggregates", "costs", "trial", "registry", "results")

#: Packages from the ground up; each may import all in GROUND and what its line names.
TABLE: dict[str, tuple[str, ...]] = {
    "errors": (),
    "aggregates": (),
    "costs": (),
    "trial": (),
    "registry": (),
    "results": (),
    "embedded": (),
    "config": (),
    "metrics": (),
    "data": (),
    "analysis": (),
    "report": ("analysis",),
    "plots": ("analysis", "report"),
    "tasks": ("config", "data", "metrics"),
    "models": ("config", "embedded"),
    "adapters": ("config", "models"),
    "training": ("adapters", "config", "data", "metrics", "models", "tasks"),
    "storage": ("config",),
    "study": (
        "adapters",
        "analysis",
        "config",
        "data",
        "metrics",
        "models",
        "storage",
        "tasks",
        "training",
    ),
    "cli": ("analysis", "config", "embedded", "models", "report", "storage", "study", "tasks"),
    "": ("analysis", "config", "plots", "report", "storage", "study"),
    "__main__": ("cli",),
}

#: Heads of drop-in folders: their neighbours register with them, never the other way round.
HEADS = ("metrics.metric", "data.rows", "report.section")
#: What the reading wing may take from outside; `results` and the report stay light.
STATISTICS = {"numpy", "pandas", "scipy"}
#: Taken within a function, for what is computed once a study and then kept with it.
ONCE = {"analysis.importance": {"optuna", "sklearn"}}
HEAVY = {"torch", "transformers", "peft", "optuna", "bitsandbytes", "datasets", "sqlalchemy"}


def name_of(file: Path) -> str:
    """`harness/report/page.py` -> `report.page`; the face is the empty name."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in FILES.items()}


def room_of(module: str) -> str:
    """The package or top-level module that a module belongs to."""
    return module.split(".")[0]


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
    name = room_of(module)
    allowed = {name, *GROUND, *TABLE[name]}
    faults = []
    for target in sorted(targets):
        other = room_of(target)
        if name in GROUND and GROUND.index(name) < len(GROUND) and other not in GROUND:
            faults.append(f"{module} imports {target}")
        elif other not in allowed:
            faults.append(f"{module} imports {target}; {name} may import only {TABLE[name]}")
    return faults


def test_the_package_was_found() -> None:
    assert {"errors", "trial", "results", "registry", "config.catalog"} <= set(FILES)


@pytest.mark.parametrize("module", sorted(FILES))
def test_every_module_stands_in_the_table(module: str) -> None:
    assert room_of(module) in TABLE, module


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
    "module", sorted(m for m in FILES if under(m, ("results", "analysis", "plots", "report")))
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
    "the face": "import harness; harness.plots.plot_rank",
    "reading a study": "import harness; harness.read_study",
    "the report": "import harness.report.page",
    "the command line": "import harness.cli; harness.cli.make_app()",
}
LATE = {"torch", "transformers", "peft"}
FORBIDDEN = {
    "the face": HEAVY | STATISTICS | {"plotly"},
    "the command line": HEAVY | STATISTICS | {"plotly"},
    "the report": LATE | {"scipy.stats", "plotly"},  # scipy.stats takes longer than a page's own
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
def test_modules_open_with_a_docstring(module: str) -> None:
    tree = TREES[module]
    assert ast.get_docstring(tree), f"{FILES[module].relative_to(ROOT)} has no docstring"


def test_the_top_level_has_the_face_and_the_shared_words_and_nothing_else() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert modules == {"__init__", "__main__", *GROUND}


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("config.sweep", "tasks.task"),
        ("report.page", "storage.records"),  # into the writing wing
        ("training.sequential", "analysis.scores"),  # into the reading wing
        ("tasks.task", "storage.records"),
        ("storage.study", "study.stages"),
        ("data.rows", "tasks.types"),
        ("config.space", ""),  # the face
    ],
)
def test_the_table_refuses(module: str, target: str) -> None:
    assert len(faults_of(module, {target})) == 1


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("results", "aggregates"),
        ("config.sweep", "config.variants"),
        ("report.sections.verdict", "analysis.recommendation"),
        ("storage.records", "storage.study"),
        ("training.packed.trainer", "training.sequential"),
        ("study.stages", "analysis.recommendation"),
        ("cli.report", "report.page"),
    ],
)
def test_the_table_allows(module: str, target: str) -> None:
    assert faults_of(module, {target}) == []
