"""How many workers a study gets: by what was said, noted, or measured."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config import sweep as sweeps
from harness.config.sweep import Sweep
from harness.study import launcher as crews
from harness.study import launcher as local
from harness.study.launcher import Crew, pace
from tests import toy

RULE = Crew(2, 1)
Paces = Callable[[float | None, float | None], list[Crew]]


def no_gpu() -> bool:
    return False


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


@pytest.fixture
def paces(monkeypatch: pytest.MonkeyPatch) -> Paces:
    """Puts figures in the place of measurements; answers what was asked for."""

    def put(many: float | None, fewer: float | None) -> list[Crew]:
        asked: list[Crew] = []

        def found(_: Sweep, workers: int, threads: int) -> float | None:
            asked.append(Crew(workers, threads))
            return many if workers == 2 else fewer

        monkeypatch.setattr(crews, "pace", found)
        return asked

    return put


def loaded(*settings: str) -> Sweep:
    return sweeps.load("ner_medical", settings)


@pytest.mark.parametrize(
    ("many", "fewer", "chosen"),
    [(20.0, 19.9, (2, 1)), (20.0, 20.0, (1, 2)), (None, 5.0, (1, 2)), (5.0, None, (2, 1))],
)
def test_fewer_workers_are_taken_where_they_are_as_fast(
    many: float | None, fewer: float | None, chosen: tuple[int, int], paces: Paces
) -> None:
    asked = paces(many, fewer)
    found = crews.choose(loaded(), no_gpu, None, least=1)
    assert (found.workers, found.threads) == chosen
    assert asked == [Crew(2, 1), Crew(1, 2)]
    assert "2 workers with 1 thread each: " in found.why
    assert "1 worker with 2 threads: " in found.why


def test_where_neither_runs_the_rule_holds(paces: Paces) -> None:
    paces(None, None)
    found = crews.choose(loaded(), no_gpu, None, least=1)
    assert (found.workers, found.threads) == (2, 1)


@pytest.mark.parametrize(
    ("settings", "noted", "gpu", "wanted"),
    [
        ((), None, False, RULE),  # the embedded base is small
        (("workers=3",), None, False, Crew(3, 1)),
        (("threads=2",), {"threads": 1}, False, Crew(2, 2)),
        ((), {"threads": 2, "workers": 1}, False, Crew(1, 2)),
        ((), {"threads": 1, "workers": 2}, False, RULE),
        ((), {"threads": 8, "workers": 4}, False, Crew(1, 8)),
        ((), None, True, Crew(1, 2)),
    ],
)
def test_nothing_is_measured_where_there_is_nothing_to_choose(
    settings: tuple[str, ...],
    noted: dict[str, int] | None,
    gpu: bool,
    wanted: Crew,
    paces: Paces,
) -> None:
    asked = paces(1.0, 2.0)
    assert crews.choose(loaded(*settings), lambda: gpu, noted) == wanted
    assert asked == []


@pytest.mark.parametrize("name", ["./nowhere", "owner/name"])
def test_a_base_that_is_not_here_is_not_measured(name: str, paces: Paces) -> None:
    asked = paces(1.0, 2.0)
    assert crews.choose(loaded(f"model.name={name}"), no_gpu, None, least=1) == RULE
    assert asked == []


def test_real_processes_train_side_by_side(tmp_path: Path) -> None:
    toy.save_model(tmp_path)
    small = sweeps.load(
        "ner_medical", [f"model.name={tmp_path}", "model.dtype=auto"], data__limit=8
    )
    found = pace(small, 2, 1)
    assert found is not None
    assert found > 0


def test_a_process_that_fails_is_no_pace(tmp_path: Path) -> None:
    assert pace(loaded(f"model.name={tmp_path}"), 1, 1) is None
