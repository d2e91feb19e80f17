"""Exponents of made-up figures, and each part of the command once; nothing is timed here."""

import json
import math
import os
import subprocess
from pathlib import Path

import pytest

from benchmarks import growth, growth_processes, growth_study
from benchmarks.growth_fit import Curve, allowed, exponent, markdown
from benchmarks.growth_training import write_task
from harness.tasks.task import load_task
from tests import toy

SIZES = (1, 10, 100, 1000)


def _curve(values: dict[int, float], **more: float) -> Curve:
    curve = Curve("made up", "s", "sizes", **more)  # type: ignore[arg-type]
    for size, value in values.items():
        for factor in (0.5, 1.0, 9.0):  # the median is what counts
            curve.add(size, factor * value)
    return curve


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_an_exponent_is_found_again(power: float) -> None:
    assert exponent(SIZES, [3.0 * n**power for n in SIZES]) == pytest.approx(power)


def test_too_few_sizes_have_no_exponent() -> None:
    assert math.isnan(exponent([5], [1.0]))
    assert math.isnan(exponent([5, 10], [0.0, 1.0]))
    assert _curve({10: 1.0}).keeps is None


def test_n_log_n_is_allowed_and_no_more() -> None:
    assert allowed(SIZES) > 1
    assert _curve({n: n * max(1.0, math.log2(n)) for n in SIZES}).keeps
    assert _curve(dict.fromkeys(SIZES, 2.0)).keeps
    assert not _curve({n: float(n**2) for n in SIZES}).keeps


def test_what_is_done_once_does_not_hide_growth() -> None:
    curve = _curve({n: 100.0 + 1e-4 * n**2 for n in (10, 100, 1000, 5000)})
    whole, last = curve.exponents
    assert whole < 1 < last
    assert not curve.keeps


def test_a_bar_is_for_its_size_and_the_median() -> None:
    values = {10: 0.5, 1000: 2.0}
    assert _curve(values, bar=1.0, at=10).below
    assert not _curve(values, bar=1.0, at=1000).below
    assert not _curve(values, bar=1.0).below
    assert _curve(values, bar=1.0, at=200).below is None
    told = markdown([_curve(values, bar=1.0, at=1000)])
    assert told.splitlines()[-1].endswith("| 1 s at 1000 | no |")


def test_pages_that_processes_share_count_once() -> None:
    own = growth_processes.proportional(os.getpid())
    assert 2**20 < own < 2**40
    child = subprocess.Popen(["sleep", "30"])
    try:
        assert growth_processes.summed_memory() == growth_processes.proportional(child.pid) < own
    finally:
        child.kill()
        child.wait()
    assert growth_processes.proportional(child.pid) == 0


def test_made_up_rows_are_a_task(tmp_path: Path) -> None:
    write_task(tmp_path, 60)
    task = load_task(f"{tmp_path}/")
    assert [len(task.examples(split)) for split in ("train", "validation", "test")] == [60, 6, 6]
    assert task.examples("train")[2].target
    assert len({one.text for one in task.examples("train")}) == 60


@pytest.mark.slow
def test_a_study_of_one_trial_and_one_of_all_stages_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = growth_study.curves()
    growth_study.measure(found, 1)
    monkeypatch.setattr(growth_study, "_AFTER", 1)  # so that three trials have stages behind them
    growth_study.measure(found, 3)
    assert found["open"].values.keys() == {1, 3}
    assert found["report, search alone"].values.keys() == {1}
    assert found["report, all stages"].values.keys() == {3}
    assert found["plan, all stages"].values.keys() == {3}
    assert all(value > 0 for curve in found.values() for value in curve.values.values())


@pytest.mark.slow
def test_the_command_measures_each_other_part(tmp_path: Path) -> None:
    model = toy.save_model(tmp_path / "model")
    words = ["--parts", "slots,threads,workers,examples,start", "--slots", "1,2"]
    words += ["--workers", "1", "--crew-trials", "2", "--examples", "20,40", "--repeats", "1"]
    given = growth.arguments([*words, "--steps", "2", "--model", str(model)])
    found = growth.run(given)
    assert set(found["curves"]) == set(given.parts)
    values = [curve["values"] for each in found["curves"].values() for curve in each]
    assert all(value >= 0 for each in values for value in each.values())
    assert all(values)
    assert str(tmp_path) not in json.dumps(found)


def test_an_unknown_part_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        growth.arguments(["--parts", "slots,wrong"])
    assert "wrong: known: slots" in capsys.readouterr().err
