from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from harness.report.snippets import add_seeds, again, commands

if TYPE_CHECKING:
    from harness.results import StudyResults


def noted(study: StudyResults, command: str) -> StudyResults:
    return dataclasses.replace(study, provenance={"command": command})


def test_the_command_is_the_one_that_was_noted_else_the_plain_one(full: StudyResults) -> None:
    assert again(noted(full, "python -m harness sweep x --trials 9")) == (
        "python -m harness sweep x --trials 9"
    )
    assert again(full) == "python -m harness sweep made_up"
    assert commands(full) == (
        "python -m harness sweep made_up",
        "python -m harness pick made_up",
        "python -m harness report made_up",
    )


@pytest.mark.parametrize("places", ["--results 'a b' --reports=c", "--reports c --results='a b'"])
def test_a_study_is_read_where_it_was_written(places: str, full: StudyResults) -> None:
    first, pick, report = commands(noted(full, f"python -m harness sweep x --study y {places}"))
    assert first.endswith(places)
    assert pick == "python -m harness pick made_up --results 'a b'"
    options = report.removeprefix("python -m harness report made_up ")
    assert options in ("--results 'a b' --reports c", "--reports c --results 'a b'")


def test_a_command_that_cannot_be_taken_apart_is_kept(full: StudyResults) -> None:
    command = "python -m harness sweep it's --results there"
    assert commands(noted(full, command))[:2] == (
        command,
        "python -m harness pick made_up --results there",
    )


def test_seeds_are_added_only_once_the_looks_are_done(full: StudyResults) -> None:
    assert add_seeds(full, 6) == "python -m harness sweep made_up --add-seeds 6"
    planned = dict(full.sweep, confirmation={**full.sweep["confirmation"], "looks": [5, 10, 99]})
    assert add_seeds(dataclasses.replace(full, sweep=planned), 6) is None
    assert add_seeds(dataclasses.replace(full, sweep={}), 6) is None
