"""The command line: one file a verb, and how a run of it ends.

`run` turns what can go wrong into one line on standard error and an exit code: 0 done, 1 a fault
of the program (or a check that failed), 2 a mistake of the user's or a full disk, 130 interrupted.
A verb's docstring is its `--help`. What is heavy is imported inside the verb, so that `--help`
answers at once.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from harness.errors import USER_ERROR_CODE, print_error, print_fault

#: The verbs in the order of `--help`; each has a module with a function of its name.
VERBS: Final = (
    "sweep", "report", "pick", "dashboard", "plan", "check", "init", "list", "doctor", "worker",
)  # fmt: skip


class _Interrupted(Exception):  # noqa: N818 - an interruption is no error
    """Ctrl-C, as opposed to a verb's own exit code 130."""


class _Group(TyperGroup):
    """The verbs; distinguishes Ctrl-C from a verb that ended by itself."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the verb."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise _Interrupted from interrupt


def _show_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"harness {version('harness')}")
        except PackageNotFoundError:
            print("harness, not installed (run from a checkout)")
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", help="show the version", callback=_show_version)
    ] = False,
) -> None:
    """Searches LoRA hyperparameters and recommends a configuration with statistical evidence.

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
    app.callback()(_main)
    for verb in VERBS:
        module = importlib.import_module(f"{__name__}.{verb}")
        # In its own module `list` is the type.
        app.command(verb)(getattr(module, "list_entries" if verb == "list" else verb))
    return app


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: the command-line arguments; None takes those of the process.

    Returns:
        The exit code.

    Raises:
        Exception: any fault of the program, if HARNESS_DEBUG=1 is set.
    """
    # `list` is a module here: the verb's.
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    try:
        code = make_app()(words or ["--help"], standalone_mode=False)
    except TyperException as fault:
        return print_error(_usage_message(fault), USER_ERROR_CODE)
    except (_Interrupted, KeyboardInterrupt, typer.Abort):
        # Trials that ended are stored; a resumed study runs the unfinished ones again.
        resume = "; run the same command to resume" if words[:1] == ["sweep"] else ""
        return print_error(f"interrupted{resume}", 130, prefix="")
    except Exception as fault:
        return print_fault(fault)
    return code if isinstance(code, int) else 0


def _usage_message(fault: TyperException) -> str:
    """What is wrong with a verb or option, and where its help is."""
    context = getattr(fault, "ctx", None)
    message = fault.format_message().replace("Value error, ", "").rstrip(".")
    return f"{message} (see: {context.command_path} --help)" if context else message
