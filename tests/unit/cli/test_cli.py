"""How a run of the command line ends: one line on standard error, and the exit code."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import harness.cli
from harness.cli import VERBS, make_app, run
from harness.errors import UserError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Puts a verb `try` beside the others, which does what it is given."""
    original = make_app

    def install(action: Callable[[], None]) -> None:
        def make() -> typer.Typer:
            app = original()
            app.command("try")(action)
            return app

        monkeypatch.setattr(harness.cli, "make_app", make)

    monkeypatch.delenv("HARNESS_DEBUG", raising=False)
    return install


def failing(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


Install = Callable[[Callable[[], None]], None]
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("x.yaml: space.rank: wrong"), 2, "error: x.yaml: space.rank: wrong"),
        (UserError("two\n  lines"), 2, "error: two lines"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            OSError(errno.ENOSPC, "No space left on device", "results/a"),
            2,
            "error: results/a: no space left on the disk; free some, or give other folders with "
            "--results and --reports",
        ),
        (
            caused(RuntimeError("commit failed"), ValueError("database or disk is full")),
            2,
            "error: no space left on the disk; free some, or give other folders with --results "
            "and --reports",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "results"),
            2,
            "error: results: Permission denied; give a folder that you may write to",
        ),
        (
            KeyError("rank"),
            1,
            "internal error: KeyError: 'rank'; please report it, with what the same command "
            "prints under HARNESS_DEBUG=1",
        ),
    ],
)
def test_a_failure_is_one_line_and_a_code(
    verb: Install, capsys: Capture, error: BaseException, code: int, line: str
) -> None:
    verb(failing(error))
    assert run(["try"]) == code
    captured = capsys.readouterr()
    assert captured.err == line + "\n"
    assert captured.out == ""


def test_a_verb_may_leave_with_its_own_code(verb: Install, capsys: Capture) -> None:
    verb(failing(typer.Exit(130)))
    assert run(["try"]) == 130
    assert capsys.readouterr().err == ""


def test_a_verb_that_ends_is_done(verb: Install, capsys: Capture) -> None:
    verb(lambda: print("fine"))
    assert run(["try"]) == 0
    assert capsys.readouterr().out == "fine\n"


def test_debugging_lets_the_traceback_through(
    verb: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    verb(failing(KeyError("rank")))
    monkeypatch.setenv("HARNESS_DEBUG", "1")
    with pytest.raises(KeyError, match="rank"):
        run(["try"])


@pytest.mark.parametrize(
    "arguments", [["swep"], ["list", "sweps"], ["list", "--no-such"], ["pick"]]
)
def test_misuse_is_one_line_with_the_help_to_read(arguments: list[str], capsys: Capture) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.rstrip().endswith("--help)")
    assert captured.err.count("\n") == 1


def test_no_verb_shows_the_help(capsys: Capture) -> None:
    assert run([]) == 0
    text = capsys.readouterr().out
    for name in ("sweep", "report", "pick", "list", "check", "plan", "doctor"):
        assert f"\n  {name} " in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: Capture) -> None:
    assert run([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage:" in text
    assert "--help" in text


def test_version(capsys: Capture) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("harness")


def test_python_m_harness_passes_the_exit_code_on() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "nonsense"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == ("error: No such command 'nonsense' (see: python -m harness --help)\n")


def test_an_interrupted_sweep_says_how_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    app = make_app()
    for name in ("sweep", "try"):
        app.command(name)(failing(KeyboardInterrupt()))
    monkeypatch.setattr(harness.cli, "make_app", lambda: app)
    assert run(["sweep"]) == 130
    assert capsys.readouterr().err == "interrupted; run the same command to resume\n"
    assert run(["try"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
