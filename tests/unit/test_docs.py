"""The documents say what is there: every key of a sweep, every verb, no dead link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from harness.cli import make_app
from harness.config.sweep import Sweep
from harness.metrics.metric import METRICS
from harness.tasks.schema import TaskFile
from tests.unit.test_architecture import GROUND, TABLE

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
#: What a user reads in a checkout; not what their own studies leave there.
TEXTS = [
    *PAGES,
    *(path for name in ("results", "reports", "benchmarks") for path in ROOT.glob(f"{name}/*.md")),
    *sorted(ROOT.glob("tasks/**/*.md")),
    *sorted([*ROOT.glob("tasks/**/*.yaml"), *ROOT.glob("sweeps/*.yaml")]),
]


def keys(model: type[BaseModel]) -> Iterator[str]:
    """Every key of a model and of the models in it."""
    for name, field in model.model_fields.items():
        yield name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from keys(kind)


@pytest.mark.parametrize("key", sorted(set(keys(Sweep))))
def test_every_key_of_a_sweep_is_documented(key: str) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert re.search(rf"\b{key}\b", page), f"docs/configuration.md says nothing of '{key}'"


@pytest.mark.parametrize("key", sorted(set(keys(TaskFile))))
def test_every_key_of_a_task_is_documented(key: str) -> None:
    pages = [ROOT / "docs" / name for name in ("tasks.md", "data.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert re.search(rf"\b{key}\b", text), f"docs/tasks.md and docs/data.md do not name '{key}'"


def test_every_shipped_task_stands_in_the_table_of_tasks() -> None:
    page = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    table = page.partition("## Shipped tasks")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `(\w+)` \| (?:entities|pairs|choice|text) \|", table, re.M)
    assert sorted(told) == sorted(path.parent.name for path in ROOT.glob("tasks/*/task.yaml"))


def test_every_metric_stands_in_the_table_of_metrics() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ((?:`[\w:.]+` ?)+)\|([^|]+)\|.*\| (more|less|as the task says) \|", page, re.M
    )
    told = {name: (kinds.strip(), better) for names, kinds, better in rows
            for name in re.findall(r"`(.+?)`", names)}  # fmt: skip
    del told["evaluate:..."]
    better = {"maximize": "more", "minimize": "less"}
    assert told == {
        name: (", ".join(metric.task_types), better[metric.direction]) for name, metric in METRICS
    }


def test_every_verb_stands_in_the_readme() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    verbs = {command.name for command in make_app().registered_commands}
    assert verbs == set(re.findall(r"^\| `python -m harness (\w+)", page, flags=re.MULTILINE))


def architecture_part(name: str) -> str:
    """What docs/architecture.md has between `<!-- name -->` and `<!-- /name -->`."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return page.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]


def test_the_rooms_of_the_architecture_page_are_those_of_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", architecture_part("rooms"), re.M)
    imports = {room: tuple(sorted(re.findall(r"`(\w+)`", cell))) for room, cell in rows}
    rooms = {
        room or "__init__": tuple(sorted(imported))
        for room, imported in TABLE.items()
        if room not in GROUND
    }
    assert imports == rooms


def reachable(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """All pairs of rooms that a chain of arrows connects."""
    pairs = set(arrows)
    while more := {(a, d) for a, b in pairs for c, d in arrows if b == c} - pairs:
        pairs |= more
    return pairs


def test_the_arrows_of_the_architecture_page_are_those_of_the_table() -> None:
    drawn = set(re.findall(r"^\s+(\w+) --> (\w+)$", architecture_part("arrows"), re.M))
    table = {(room, target) for room, targets in TABLE.items() if room for target in targets}
    assert drawn <= table
    assert reachable(drawn) == reachable(table)


def test_every_file_that_the_architecture_page_names_exists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:harness|tests)/[\w/.]+)`", page)
    modules = re.findall(r"participant \w+ as ([\w/]+\.py)$", page, re.M)
    paths += [f"harness/{module}" for module in modules]
    assert len(paths) > 40
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_page_of_the_documentation_stands_in_its_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages <= set(re.findall(r"\]\((\w+\.md)\)", index))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_is_dead(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_was_left_to_be_filled_in(text: Path) -> None:
    assert re.findall(r"@@.*|\b(?:TODO|FIXME|TBD|XXX)\b.*", text.read_text(encoding="utf-8")) == []


def test_the_readme_opens_with_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [line.split()[1] for line in lines[:6] if line.startswith("make ")]
    assert commands == ["sweep", "test"]
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in commands:
        assert re.search(rf"^{command}:", rules, flags=re.MULTILINE)
