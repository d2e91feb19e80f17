"""Tests of the section `provenance`."""

from __future__ import annotations

import dataclasses
import html
import re
from typing import TYPE_CHECKING

import yaml

from harness.report.sections import provenance

if TYPE_CHECKING:
    from harness.results import StudyResults


def test_all_that_was_noted_is_shown(full: StudyResults) -> None:
    frame = provenance.provenance_table(full).set_index("item")["value"]
    assert frame["versions.torch"] == "2.13.0"
    assert frame["commit"] == "0123abc"
    text = html.unescape(provenance.render(full))
    assert all(f">{value}</td>" in text for value in frame)


def test_the_sweep_can_be_read_back(full: StudyResults) -> None:
    text = provenance.render(full)
    (inside,) = re.findall(r'<pre id="sweep" tabindex="0"><code>(.*?)</code>', text, re.DOTALL)
    assert yaml.safe_load(html.unescape(inside)) == full.sweep


def test_uncommitted_changes_are_pointed_out(full: StudyResults) -> None:
    dirty = dataclasses.replace(full, provenance={"dirty": True})
    assert "not committed" in provenance.render(dirty)
    assert "not committed" not in provenance.render(full)


def test_seeds_are_listed_and_shared_ones_found(full: StudyResults) -> None:
    frame = provenance.seed_table(full).set_index("stage")
    assert frame.loc["ablate", "seeds"] == "2000, 2001, 2002"
    assert frame["fresh"].all()
    mixed = full.trials.assign(seed=7)
    shared = provenance.seed_table(dataclasses.replace(full, trials=mixed))
    assert not shared["fresh"].any()


def test_the_commands_are_those_of_this_study(full: StudyResults) -> None:
    command = "python -m harness sweep x --study made_up --results elsewhere"
    text = provenance.render(dataclasses.replace(full, provenance={"command": command}))
    assert f"{command}\npython -m harness pick made_up --results elsewhere\n" in text


def test_an_empty_study_has_commands_still(empty: StudyResults) -> None:
    bare = dataclasses.replace(empty, provenance={})
    text = provenance.render(bare)
    assert "python -m harness pick empty" in text
    assert "Nothing recorded" in text
