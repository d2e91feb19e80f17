"""Replays on a small made-up table: costs, incumbents, and that the policies run as a study's."""

import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import search, search_table
from benchmarks.search import Trace, policies, replay
from benchmarks.search_table import GRID, name_of, points


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Better with rank and at a rate of 5.4e-3; readings rank as the end does; some diverge."""
    rows: list[dict[str, Any]] = []
    for point in points():
        off = abs(math.log(point["learning_rate"] / 5.4e-3))
        value = 0.9 - 0.1 * off - 0.2 / point["rank"]
        lost = point["learning_rate"] > 1e-2 and point["rank"] == 32
        readings = [[step, value * share] for step, share in ((103, 0.5), (206, 0.8), (309, 0.9))]
        rows.append(
            {**point, "state": "failed" if lost else "complete", "value": None if lost else value}
            | {"readings": readings[:1] if lost else readings, "statistics": None}
        )
    path = tmp_path / "table.json.gz"
    monkeypatch.setattr(search_table, "machine", lambda: {"processor": "made up"})
    search_table.write(rows, path)
    return str(path)


def test_the_grid_has_each_point_once_and_parts_are_spread() -> None:
    found = points()
    assert len({name_of(point) for point in found}) == len(found) <= 800
    quarter = found[: len(found) // 4]
    assert {point["rank"] for point in quarter} == set(GRID["rank"])
    assert {point["target_modules"] for point in quarter} == set(GRID["target_modules"])


def test_a_table_is_read_as_it_was_written(table: str) -> None:
    found = search_table.read(Path(table))
    assert found["steps"] == 412
    assert len(found["rows"]) == len(points())
    again = Path(table).with_name("again.json.gz")
    search_table.write(found["rows"][::-1], again)
    assert again.read_bytes() == Path(table).read_bytes()


@pytest.mark.parametrize("name", policies())
def test_every_policy_spends_its_budget_and_gets_better(name: str, table: str) -> None:
    trace = replay(name, 1, table, 12.0)
    assert trace == replay(name, 1, table, 12.0)
    assert 12 <= trace.spent[-1] <= 13.0
    assert list(trace.best) == sorted(trace.best)
    steps = [b - a for a, b in zip((0.0, *trace.spent), trace.spent, strict=False)]
    assert all(0 < step <= 1 + 1e-9 for step in steps)
    if "no pruner" not in name and name not in {"random", "grid"}:
        assert min(steps) < 0.99  # some were ended early
    assert trace.at(12) > 0.6


def test_what_is_needed_for_a_value_is_told() -> None:
    trace = Trace((1.0, 1.5, 2.5), (0.0, 0.7, 0.9))
    assert trace.at(0.5) == 0
    assert (trace.at(1.5), trace.at(2.0), trace.at(9)) == (0.7, 0.7, 0.9)
    assert (trace.needs(0.7), trace.needs(0.8), trace.needs(0.95)) == (1.5, 2.5, math.inf)


def test_shares_are_of_randoms_full_trials() -> None:
    import numpy as np

    quick = [Trace((1.0, 5.0), (0.5, 0.9))] * 3
    slow = [Trace(tuple(range(1, 41)), (0.5,) * 10 + (0.9,) * 30)] * 3
    found = search.shares(quick, slow, np.random.default_rng(0))
    assert found["20"][0] == pytest.approx(0.25)
    assert found["40"][0] == pytest.approx(0.125)


def test_the_table_that_is_kept_has_every_point_of_the_grid() -> None:
    found = search_table.read()
    assert [name_of(row) for row in found["rows"]] == [name_of(point) for point in points()]
    for row in found["rows"]:
        assert row["state"] == "complete"
        assert len(row["readings"]) == 3
        assert 0 <= row["value"] <= 1
        assert len(row["statistics"]) == 200
