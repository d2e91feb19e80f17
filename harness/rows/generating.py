"""Rows that Python in a task's folder gives; what it does wrong is told with file and row.

Knows how a function is found and called, not what it is for.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.errors import UserError, did_you_mean
from harness.formats.collecting import rows_of

if TYPE_CHECKING:
    from harness.formats import Row, Wanted


def load_module(path: Path) -> ModuleType:
    """Runs a Python file of a task's folder, which is no package, and answers it as a module.

    Raises:
        UserError: there is no such file, or it fails.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; task.yaml names it under data.generator")
    spec = importlib.util.spec_from_file_location(f"_task_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with _told(path, "cannot be run"):
        spec.loader.exec_module(module)
    return module


def function(module: ModuleType, name: str, path: Path) -> Callable[..., Any]:
    """A function of a module.

    Raises:
        UserError: it has none of that name.
    """
    found = getattr(module, name, None)
    if not callable(found):
        there = [own for own, value in vars(module).items() if callable(value) and own[0] != "_"]
        raise UserError(f"{path}: no function '{name}'; {did_you_mean(name, there)}")
    return found  # type: ignore[no-any-return]


def records(path: Path, name: str, *given: Any) -> list[dict[str, Any]]:
    """What a function of a file gives: a list of rows as dicts.

    Args:
        path: the file.
        name: the function.
        *given: its arguments.

    Raises:
        UserError: the file, the function or what it gives is faulty.
    """
    wanted = function(load_module(path), name, path)
    with _told(path, name):
        found = wanted(*given)
        made = None if isinstance(found, dict | str | None) else list(found)
    if made is None:
        raise UserError(f"{path}: {name} gave a {type(found).__name__}; a list of dicts is right")
    for number, one in enumerate(made, start=1):
        if not isinstance(one, dict):
            kind = type(one).__name__
            raise UserError(f"{path}: {name}: row {number} is a {kind}; a dict is right")
    return made


def checked(path: Path, name: str, made: list[dict[str, Any]], wanted: Wanted) -> tuple[Row, ...]:
    """Rows of what a function gave, checked as those of a file are.

    Raises:
        UserError: told as `file: function: row N: what`.
    """
    numbered = ((number, lambda one=one: one) for number, one in enumerate(made, start=1))
    return rows_of(path.with_name(f"{path.name}: {name}"), numbered, wanted, "one is right", "row")


@contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    """Turns what goes wrong in a file into one line with its place."""
    try:
        yield
    except UserError:
        raise
    except Exception as fault:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(fault.__traceback__)
            if Path(frame.filename) == path
        ]
        if isinstance(fault, SyntaxError) and fault.filename == str(path):
            lines.append(fault.lineno)
        place = f"{path}:{lines[-1]}" if lines else str(path)
        reason = " ".join(str(fault).split())
        raise UserError(f"{place}: {what}: {type(fault).__name__}: {reason}") from fault
