"""`harness doctor`: what will work on this machine, what will not, and what to do about it.

Each check is a function that measures one thing and answers lines. Changes nothing.
"""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, Final

import typer

from harness.cli import probes
from harness.cli.finding import Line, text


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("doctor")(show)


def show(
    results: Annotated[Path, typer.Option(help="Folder that studies go to.")] = Path("results"),
) -> None:
    """Say what will work on this machine.

    Looks at Python, the libraries, the processor, memory, GPU, 4-bit weights, the model hub and
    the disk. Exit code 0, or 1 if something that every sweep needs is broken.
    """
    checks: tuple[Callable[[], Iterator[Line]], ...] = (
        python,
        libraries,
        embedded_model,
        probes.processor,
        probes.memory,
        probes.gpu,
        probes.quantisation,
        probes.hub,
        lambda: probes.disk(results),
    )
    broken = 0
    for check in checks:
        for line in guarded(check):
            print(text(line), flush=True)
            broken += line.level == "no" and line.needed
    print(f"\n{broken} needed thing(s) broken." if broken else "\nAll that a sweep needs works.")
    if broken:
        raise typer.Exit(1)


def guarded(check: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    """A check's lines; if the check itself fails, a line that says so."""
    name = getattr(check, "__name__", "check")
    try:
        yield from check()
    except Exception as fault:
        yield Line("no", name, f"could not be looked at: {type(fault).__name__}: {fault}")


def python() -> Iterator[Line]:
    """The interpreter."""
    found = f"{sys.version.split()[0]}, {sys.executable}"
    if sys.version_info < (3, 11):  # noqa: UP036 - the code runs from a checkout as well
        yield Line("no", "python", found, "use Python 3.11 or later", needed=True)
    else:
        yield Line("ok", "python", found)


def libraries() -> Iterator[Line]:
    """Every library that is needed, with its release against the range that was tested."""
    try:
        wanted = requires("harness") or []
    except PackageNotFoundError:
        found = "harness is not installed: tested releases are not known"
        yield Line("warn", "libraries", found, "make venv, or pip install -e .")
        return
    fine = []
    for one in wanted:
        if "extra ==" not in one:
            line = judge(one)
            if line.level == "ok":
                fine.append(line.found)
            else:
                yield line
    yield Line("ok", "libraries", ", ".join(fine))


def judge(requirement: str) -> Line:
    """Whether a library is there, in a tested release, and can be imported.

    Args:
        requirement: as in pyproject.toml, such as `torch<3,>=2.13`.
    """
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    install = f"pip install '{requirement}'"
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return Line("no", wanted.name, "is not installed", install, needed=True)
    if not wanted.specifier.contains(found, prereleases=True):
        said = f"{found} is outside what was tested ({wanted.specifier})"
        return Line("warn", wanted.name, said, install)
    try:
        import_module(_MODULES.get(wanted.name.lower(), wanted.name.replace("-", "_")))
    except Exception as fault:
        said = f"{found} cannot be imported: {type(fault).__name__}: {fault}"
        return Line("no", wanted.name, said, f"pip install --force-reinstall {wanted.name}", True)
    return Line("ok", wanted.name, f"{wanted.name} {found}")


#: Libraries that are imported by another name than they are installed by.
_MODULES: Final = {"pyyaml": "yaml", "scikit-learn": "sklearn", "sqlalchemy": "sqlalchemy"}


def embedded_model() -> Iterator[Line]:
    """The base model that travels inside the package."""
    from harness import embedded

    names = embedded.names()
    if names:
        size = sum(f.stat().st_size for n in names for f in embedded.path(n).glob("*"))
        listed = ", ".join(f"builtin:{name}" for name in names)
        yield Line("ok", "base model", f"{listed} ({size / 1e6:.1f} MB), no download needed")
    else:
        advice = "install the package again"
        yield Line("no", "base model", "builtin:tiny is missing", advice, needed=True)
