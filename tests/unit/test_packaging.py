"""What is installed: pins within ranges, and a wheel that brings its model, tasks and sweeps."""

from __future__ import annotations

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
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
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
    wanted = Requirement(requirement)
    assert PINS[canonicalize_name(wanted.name)] in wanted.specifier


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_every_range_has_two_ends(requirement: str) -> None:
    operators = {one.operator for one in Requirement(requirement).specifier}
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
    (found,) = folder.glob("*.whl")
    return found


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
    inside = {one.filename: one.file_size for one in zipfile.ZipFile(wheel).infolist()}
    here = {
        f"harness/_bundled/{file.relative_to(ROOT)}"
        for folder in ("tasks", "sweeps")
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert here - inside.keys() == set()
    samples = {name: size for name, size in inside.items() if "/sample/" in name}
    assert len(samples) >= 24
    assert max(samples.values()) < 5_000


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    here = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "harness").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert here - names == set()


def test_the_installed_wheel_lists_its_sweeps_and_tasks(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "harness", "list"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{site}/harness/_bundled/sweeps/ner_medical.yaml" in done.stdout
    assert f"{site}/harness/_bundled/tasks/ner_medical" in done.stdout
