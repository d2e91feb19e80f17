import pytest

from harness.config.sweep import Sweep, load_sweep
from harness.study import forecast
from harness.study.forecast import StageForecast, Timing
from harness.tasks.task import load_task_for

TIMING = Timing(train_seconds=30.0, validation_seconds=5.0, test_seconds=10.0, peak_memory=10**9)


def stages_of(sweep: Sweep, workers: int) -> tuple[StageForecast, ...]:
    """The forecast of a sweep with its own task."""
    return forecast.forecast_stages(sweep, load_task_for(sweep), TIMING, workers)


def test_stages_count_what_the_sweep_owes():
    sweep = load_sweep("ner_medical")
    stages = {row.stage: row for row in stages_of(sweep, workers=2)}
    assert list(stages) == ["search", "tune", "ablate", "full", "confirm"]
    assert stages["search"].trials == 30
    assert stages["tune"].trials == 15 * 3
    assert stages["ablate"].trials == 15 * 3
    assert stages["confirm"].trials == 4 * 5 + 2 * 5
    assert stages["ablate"].seconds == pytest.approx(45 * 35.0 / 2)
    assert all(row.fits for row in stages.values())


def test_full_fine_tuning_is_a_row_of_its_own():
    sweep = load_sweep("variants_ner")
    stages = {row.stage: row for row in stages_of(sweep, workers=1)}
    assert stages["search"].trials == 0
    assert stages["tune"].trials == 24 * 3
    assert stages["full"].trials == 3 + 3
    assert stages["full"].seconds == pytest.approx(3 * (10.0 + 5.0) + 3 * 45.0)
    assert stages["confirm"].trials == 0


def test_rates_of_its_own_are_counted():
    sweep = load_sweep("ner_medical", ["baselines.full_rates=[1.0e-4, 2.0e-4]"])
    stages = {row.stage: row for row in stages_of(sweep, workers=1)}
    assert stages["full"].trials == 2 + 3


def test_without_it_there_is_no_such_row():
    sweep = load_sweep("ner_medical", ["baselines.full=false"])
    assert "full" not in {row.stage for row in stages_of(sweep, workers=1)}


def test_more_workers_take_less_time():
    sweep = load_sweep("ner_medical")
    one = sum(row.seconds for row in stages_of(sweep, workers=1))
    two = sum(row.seconds for row in stages_of(sweep, workers=2))
    assert one == pytest.approx(2 * two)


def test_what_minutes_do_not_hold_is_told():
    stages = stages_of(load_sweep("ner_medical", minutes=15), workers=2)
    assert [row.fits for row in stages] == [True, True, False, False, False]


def test_a_few_steps_are_timed_for_real():
    sweep = load_sweep("ner_medical", ["data.limit=8", "space.rank=[2, 4]", "training.epochs=2"])
    timing = forecast.time_trial(sweep, load_task_for(sweep), threads=1)
    assert timing.train_seconds > 0
    assert timing.validation_seconds > 0
    assert timing.test_seconds == pytest.approx(timing.validation_seconds)  # as many examples
    assert timing.peak_memory > 2**20
