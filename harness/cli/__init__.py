"""The command line: one file a verb, and how a run of it ends.

`run` turns what can go wrong into one line on standard error and an exit code: 0 done, 1 a fault
of the program (or a check that failed), 2 a mistake of the user's or a full disk, 130 interrupted.
A verb's module registers itself here and imports what is heavy inside the verb, so that `--help`
answers at once. Knows nothing of what the verbs do.
"""

import errno
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from harness.errors import UserError

#: Modules of the verbs, in the order that `--help` tells them. Each has `register(app)`.
VERBS: Final = (
    "sweep",
    "report",
    "pick",
    "dashboard",
    "plan",
    "check",
    "init",
    "listing",
    "doctor",
    "worker",
)

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS: Final = ("no space left on device", "database or disk is full", "quota exceeded")


class _Stopped(Exception):  # noqa: N818 - an interruption is no error
    """Ctrl-C, kept apart from a verb's own exit code 130."""


class _Group(TyperGroup):
    """The verbs, in the order of `VERBS`; tells a Ctrl-C from a verb that left by itself."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the verb."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise _Stopped from interrupt


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"harness {version('harness')}")
        except PackageNotFoundError:
            print("harness, from a checkout that is not installed")
        raise typer.Exit


def _about(
    version: Annotated[
        bool,
        typer.Option("--version", help="Say which release this is.", callback=_show_version),
    ] = False,
) -> None:
    """Searches LoRA hyperparameters and says, with statistics, which to use.

    A sweep searches, ablates around the best configuration, confirms the finalists on fresh seeds
    and the test split, and writes one HTML report. Start with: python -m harness sweep ner_medical
    """


def make_app() -> typer.Typer:
    """The typer app with all its verbs."""
    app = typer.Typer(
        cls=_Group,
        add_completion=False,
        pretty_exceptions_enable=False,
        # Plain help: square brackets in it (`--set space.rank=[8,16]`) are not markup.
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 99},
    )
    app.callback()(_about)
    for verb in VERBS:
        importlib.import_module(f"{__name__}.{verb}").register(app)
    return app


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: what stands behind the program's name; None takes the process's own.

    Returns:
        The exit code.

    Raises:
        Exception: any fault of the program, if HARNESS_DEBUG=1 is set.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = make_app()(given or ["--help"], standalone_mode=False)
    except TyperException as fault:
        return _told(_usage(fault), 2)
    except (_Stopped, KeyboardInterrupt, typer.Abort):
        # Whatever ended is stored, and what was in progress is run again.
        on = "; the same command goes on from here" if given[:1] == ["sweep"] else ""
        return _told(f"interrupted{on}", 130, prefix="")
    except UserError as fault:
        return _told(str(fault), 2)
    except Exception as fault:
        if os.environ.get("HARNESS_DEBUG") == "1":
            raise
        return _of_the_machine(fault) or _told(
            f"{type(fault).__name__}: {fault}; please report it, with what the same command "
            "prints under HARNESS_DEBUG=1",
            1,
            prefix="internal error: ",
        )
    return code if isinstance(code, int) else 0


def _told(message: str, code: int, prefix: str = "error: ") -> int:
    """Prints one line on standard error and answers the exit code."""
    print(prefix + " ".join(message.split()), file=sys.stderr)
    return code


def _usage(fault: TyperException) -> str:
    """A misused verb or option, with the help that tells more."""
    context = getattr(fault, "ctx", None)
    message = fault.format_message().replace("Value error, ", "").rstrip(".")
    return f"{message} (see: {context.command_path} --help)" if context else message


def _of_the_machine(fault: BaseException) -> int:
    """The exit code for what the machine refused (a full disk, a closed folder), else 0."""
    for cause in _chain(fault):
        text = str(cause)
        named = isinstance(cause, OSError) and cause.filename
        where = f"{cause.filename}: " if isinstance(cause, OSError) and named else ""
        if getattr(cause, "errno", None) in _FULL or any(t in text.lower() for t in _FULL_TEXTS):
            advice = "free some, or give other folders with --results and --reports"
            return _told(f"{where}no space left on the disk; {advice}", 2)
        if isinstance(cause, PermissionError) and named:
            return _told(f"{where}{cause.strerror}; give a folder that you may write to", 2)
    return 0


def _chain(fault: BaseException) -> Iterator[BaseException]:
    """An exception, then what it was raised from, outermost first."""
    cause: BaseException | None = fault
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
