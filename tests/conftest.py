"""What all tests share: no network, no clock in property tests, a browser if there is one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from harness.study.launcher import WorkerSpec

# No test reaches a model hub, even where the machine is online.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

# Scripts of metrics are copied to a folder and imported from there as parts of one package, which
# a process looks for in one place only: each process has its own, and leaves nothing at home.
_COPIES = tempfile.TemporaryDirectory(prefix="harness-tests-", ignore_cleanup_errors=True)
os.environ["HF_MODULES_CACHE"] = str(Path(_COPIES.name) / "modules")
os.environ["HF_METRICS_CACHE"] = str(Path(_COPIES.name) / "metrics")

settings.register_profile(
    "harness", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("harness")

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> Path | None:
    """The system's Chromium, None where there is none."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    return Path(path) if path else None


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--gpu`."""
    description = "run the tests marked `gpu`, on the GPU; without it all run on the processor"
    parser.addoption("--gpu", action="store_true", help=description)


def pytest_configure(config: pytest.Config) -> None:
    """Decides on the device: without `--gpu` every machine runs the same tests the same way."""
    if not config.getoption("--gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    import torch

    if not torch.cuda.is_available():
        raise pytest.UsageError("--gpu: torch finds no GPU here")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps to the device; skips what needs a browser where there is none, and says so."""
    if config.getoption("--gpu"):
        others = [item for item in items if not item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item.get_closest_marker("gpu")]
    if find_chromium() is None:
        skip = pytest.mark.skip(reason="no Chromium; on Debian: apt-get install chromium")
        for item in items:
            if item.get_closest_marker("chromium"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def chromium() -> Path:
    """Path of the system's Chromium, for tests marked `chromium`."""
    path = find_chromium()
    assert path is not None, "mark the test with pytest.mark.chromium"
    return path


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working folder while the test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def workers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep's workers run in this process: for tests where a process of its own is no point."""

    def run(assignments: Sequence[WorkerSpec], _logs: Path, tick: Callable[[], None]) -> None:
        from harness.study.worker import Worker

        for assignment in assignments:
            worker = Worker(assignment)
            try:
                worker.run()
            finally:
                worker.studies.close()
            tick()

    monkeypatch.setattr("harness.study.launcher.run_workers", run)
