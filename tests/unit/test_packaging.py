"""What is installed: pins within ranges, and a wheel with its model, tasks and sweeps."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
#: The pretraining of the embedded model, which the wheel leaves out.
RECIPE = ROOT / "harness" / "embedded" / "recipe"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
#: Packages that are imported under another name than they are installed by.
IMPORT_NAMES = {"pyyaml": "yaml", "scikit-learn": "sklearn"}
PINS = {
    canonicalize_name(name): release
    for name, release in re.findall(
        r"^([A-Za-z0-9_.-]+)==(\S+)$",
        (ROOT / "constraints.txt").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
}


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_every_requirement_is_pinned_within_its_range(requirement: str) -> None:
    parsed = Requirement(requirement)
    assert PINS[canonicalize_name(parsed.name)] in parsed.specifier


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_every_range_has_two_ends(requirement: str) -> None:
    operators = {bound.operator for bound in Requirement(requirement).specifier}
    assert operators == {">=", "<"}


def test_torch_is_pinned_without_a_local_release() -> None:
    assert PINS["torch"] == "2.13.0"


def test_no_pin_belongs_to_a_gpu_maker() -> None:
    assert [name for name in PINS if name.startswith(("nvidia", "cuda", "triton"))] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's wheel, built here."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (file,) = folder.glob("*.whl")
    return file


def test_the_wheel_brings_what_a_sweep_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "harness/_bundled/sweeps/ner_medical.yaml",
        "harness/_bundled/tasks/ner_medical/task.yaml",
        "harness/py.typed",
    } <= names
    assert any(re.fullmatch(r"harness/embedded/tiny/.+\.safetensors", name) for name in names)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"harness"}
    assert [name for name in names if "__pycache__" in name] == []


def test_the_wheel_has_every_task_and_sweep_and_samples_are_small(wheel: Path) -> None:
    sizes = {member.filename: member.file_size for member in zipfile.ZipFile(wheel).infolist()}
    expected = {
        f"harness/_bundled/{file.relative_to(ROOT)}"
        for folder in ("tasks", "sweeps")
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert expected - sizes.keys() == set()
    samples = {name: size for name, size in sizes.items() if "/sample/" in name}
    assert len(samples) >= 24
    assert max(samples.values()) < 5_000


def test_the_wheel_has_every_file_of_the_package_but_the_pretraining(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {
        file
        for file in (ROOT / "harness").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    recipe = {file for file in files if file.is_relative_to(RECIPE)}
    assert recipe
    assert {str(file.relative_to(ROOT)) for file in files - recipe} - names == set()
    assert [name for name in names if name.startswith("harness/embedded/recipe/")] == []


def imported_modules(file: Path) -> set[str]:
    """Full names of the modules that a file imports, `package.name` for `from package import`."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


def test_every_dependency_is_imported_by_a_module_of_the_wheel() -> None:
    imported = {
        module.partition(".")[0]
        for file in (ROOT / "harness").rglob("*.py")
        if not file.is_relative_to(RECIPE)
        for module in imported_modules(file)
    }
    names = [canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]]
    packages = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}
    assert packages - imported == set()


def test_nothing_in_the_wheel_imports_the_pretraining() -> None:
    importers = [
        str(file.relative_to(ROOT))
        for file in (ROOT / "harness").rglob("*.py")
        if not file.is_relative_to(RECIPE)
        and any(name.startswith("harness.embedded.recipe") for name in imported_modules(file))
    ]
    assert importers == []


def test_the_embedded_model_is_found_in_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "from harness import embedded; print(embedded.path('tiny') / 'model.safetensors')\n"
        "try: import harness.embedded.recipe\n"
        "except ImportError: print('no recipe')"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    weights, recipe = completed.stdout.splitlines()
    assert Path(weights).is_relative_to(tmp_path)
    assert Path(weights).is_file()
    assert recipe == "no recipe"


def test_the_installed_wheel_lists_its_sweeps_and_tasks(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    completed = subprocess.run(
        [sys.executable, "-m", "harness", "list"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{site}/harness/_bundled/sweeps/ner_medical.yaml" in completed.stdout
    assert f"{site}/harness/_bundled/tasks/ner_medical" in completed.stdout
