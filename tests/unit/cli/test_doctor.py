"""The doctor's lines: what is fine, what is missing, and what a broken thing leads to."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

import pytest

from harness import embedded
from harness.cli import doctor, probes, run
from harness.cli.finding import Line, text


def test_a_library_in_its_range_is_fine() -> None:
    release = importlib.metadata.version("numpy")
    line = doctor.judge("numpy>=1.0")
    assert (line.level, line.found) == ("ok", f"numpy {release}")


def test_a_library_outside_its_range_is_a_warning() -> None:
    line = doctor.judge("numpy<1.0")
    assert line.level == "warn"
    assert "outside what was tested (<1.0)" in line.found
    assert line.advice == "pip install 'numpy<1.0'"


def test_a_missing_library_is_needed() -> None:
    line = doctor.judge("no-such-library-at-all>=1")
    assert (line.level, line.needed, line.found) == ("no", True, "is not installed")


def test_a_library_that_cannot_be_imported_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_MODULES", {"numpy": "numpy_is_broken"})
    line = doctor.judge("numpy")
    assert (line.level, line.needed) == ("no", True)
    assert "cannot be imported: ModuleNotFoundError" in line.found


def test_all_libraries_of_this_environment_are_in_their_ranges() -> None:
    wanted = importlib.metadata.requires("harness")
    assert wanted
    lines = list(doctor.libraries())
    assert [line.level for line in lines] == ["ok"]
    for name in ("torch", "peft", "optuna"):
        assert f"{name} {importlib.metadata.version(name)}" in lines[0].found


def test_an_environment_without_harness_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", missing)
    (line,) = doctor.libraries()
    assert (line.level, line.needed) == ("warn", False)


def test_the_embedded_model_is_there() -> None:
    (line,) = doctor.embedded_model()
    assert line.level == "ok"
    assert "builtin:tiny" in line.found


def test_a_missing_embedded_model_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "names", tuple)
    (line,) = doctor.embedded_model()
    assert (line.level, line.needed) == ("no", True)


def broken_check() -> Iterator[Line]:
    yield Line("ok", "one", "fine")
    raise OSError("no such device")


def test_a_check_that_fails_does_not_take_the_others_along() -> None:
    first, second = doctor.guarded(broken_check)
    assert first.level == "ok"
    assert (second.level, second.what) == ("no", "broken_check")
    assert "OSError: no such device" in second.found


def test_a_finding_is_wrapped_and_its_advice_stands_below() -> None:
    printed = text(Line("warn", "libraries", ", ".join(["torch 2.13.0"] * 20), "do this"))
    rows = printed.splitlines()
    assert rows[0].startswith("warn libraries     torch 2.13.0")
    assert all(len(row) <= 99 for row in rows)
    assert rows[-1] == " " * 19 + "-> do this"


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves of the probes only the disk, which is quick."""
    for name in ("processor", "memory", "gpu", "quantisation", "hub"):
        monkeypatch.setattr(probes, name, lambda: iter(()))
    for name in ("libraries", "embedded_model"):
        monkeypatch.setattr(doctor, name, lambda: iter(()))


@pytest.mark.usefixtures("only", "workplace")
def test_a_sound_machine_gives_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "ok   python" in out
    assert "disk" in out
    assert out.endswith("All that a sweep needs works.\n")


@pytest.mark.usefixtures("only", "workplace")
def test_a_broken_need_gives_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "libraries", lambda: iter([doctor.judge("no-such-library")]))
    assert run(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "no   no-such-library is not installed" in out
    assert "-> pip install 'no-such-library'" in out
