"""`UserError`, a mistake of the user's in one line; and how a fault ends a process.

Everything that a user can get wrong (a typo in YAML, a missing file, an impossible combination)
is raised as `UserError`; the command line prints its text and leaves with exit code 2.
"""

from __future__ import annotations

import difflib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, get_args

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

#: Exit code of a process that ended with a mistake of the user's, or for want of disk space.
USER_ERROR_CODE: Final = 2

_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_DISK_FULL_TEXTS: Final = ("no space left on device", "database or disk is full", "quota exceeded")


class UserError(Exception):
    """A mistake of the user's; the text is one line that says where it is and what is right."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Says which known word was probably meant, else which words there are.

    Args:
        word: what the user wrote.
        known: the words that would have been right.

    Returns:
        A clause to put behind "unknown ...": `did you mean 'dora'?` or `known: dora, lora`.
    """
    names = sorted(str(name) for name in known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + (", ".join(names) or "none")


#: Pydantic adds the branch of a union that it tried to the path; that is no key of the file.
_UNION_BRANCHES: Final = ("tuple[", "literal[", "function-")
#: Types of pydantic's faults where a mapping is needed.
_SECTION: Final = ("model_type", "dict_type")


def first_fault(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault that pydantic found, as `key.path: what is wrong`.

    Args:
        error: what `model.model_validate` raised.
        model: the pydantic model of the whole file, for suggestions on unknown keys.
    """
    faults = error.errors(include_url=False)
    # A misspelt required key is also a missing one: report the key that the user wrote.
    first = min(
        faults, key=lambda fault: (fault["type"] != "extra_forbidden", _is_other_branch(fault))
    )
    keys, known = _resolve_path(first["loc"], model)
    path = ".".join(keys)
    if first["type"] == "extra_forbidden":
        return f"{path}: unknown key; {did_you_mean(keys[-1], known)}"
    if first["type"] == "missing":
        return f"{path}: is missing"
    message = first["msg"].removeprefix("Value error, ")
    value = first["input"]
    if first["type"] == "string_type" and isinstance(value, bool):
        message = "YAML takes yes, no, on and off for true and false; put it in quotes"
    elif first["type"] in {"tuple_type", "list_type"}:
        message = f"should be a list, but is {value!r}"
    elif first["type"] in _SECTION:
        message = f"should be keys and values, but is {value!r}"
    elif first["type"] != "value_error" and not isinstance(value, dict | list | tuple):
        message = f"{message}, but is {value!r}"
    return f"{path}: {message}" if path else message


def _is_other_branch(fault: ErrorDetails) -> bool:
    """Whether the value is no section, where a section is one branch of a union."""
    if fault["type"] != "model_type" or not fault["loc"]:
        return False
    return str(fault["loc"][-1]).rstrip("]").endswith(fault["ctx"]["class_name"])


def _resolve_path(
    location: tuple[int | str, ...], model: type[BaseModel]
) -> tuple[list[str], list[str]]:
    """The keys of a pydantic location as the file has them, and what the last could have been."""
    keys: list[str] = []
    known: list[str] = []
    models: list[Any] = [model]  # that may stand at this depth of the file
    for part in map(str, location):
        if part.startswith(_UNION_BRANCHES):
            continue
        branch = [candidate for candidate in models if candidate.__name__ == part]
        if branch:  # of a union of models
            models = branch
            continue
        keys.append(part)
        fields = {
            name: info for candidate in models for name, info in candidate.model_fields.items()
        }
        known = list(fields)
        if part in fields:  # else it is an index of a list, or a key of a mapping
            models = _models_within(fields[part].annotation)
    return keys, known


def _models_within(annotation: Any) -> list[Any]:
    """The pydantic models that an annotation such as `tuple[Pair, ...] | None` names."""
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_within(inner)]


def print_error(message: str, code: int, prefix: str = "error: ") -> int:
    """Prints one line on standard error and returns the exit code."""
    print(prefix + " ".join(message.split()), file=sys.stderr)
    return code


def print_fault(fault: Exception) -> int:
    """Prints what ended the process in one line; returns its exit code.

    Raises:
        Exception: the fault itself, with its traceback, if HARNESS_DEBUG=1 is set and it is a
            fault of the program.
    """
    if isinstance(fault, UserError):
        return print_error(str(fault), USER_ERROR_CODE)
    if os.environ.get("HARNESS_DEBUG") == "1":
        raise fault
    return _print_machine_fault(fault) or print_error(
        f"{type(fault).__name__}: {fault}; please report it, with what the same command "
        "prints under HARNESS_DEBUG=1",
        1,
        prefix="internal error: ",
    )


def _print_machine_fault(fault: Exception) -> int:
    """Prints what the machine refused (a full disk, a closed folder); 0 if that is not it."""
    for cause in _causes(fault):
        text = str(cause).lower()
        file = cause.filename if isinstance(cause, OSError) else None
        prefix = f"{file}: " if file else ""
        # SQLite and torch report a full disk as errors of their own, known by their text alone.
        full = getattr(cause, "errno", None) in _DISK_FULL
        if full or any(phrase in text for phrase in _DISK_FULL_TEXTS):
            advice = "free some, or give other folders with --results and --reports"
            return print_error(f"{prefix}no space left on the disk; {advice}", USER_ERROR_CODE)
        if isinstance(cause, PermissionError) and file:
            advice = "give a folder that you may write to"
            return print_error(f"{prefix}{cause.strerror}; {advice}", USER_ERROR_CODE)
    return 0


def _causes(fault: BaseException) -> Iterator[BaseException]:
    """An exception, then what it was raised from, outermost first."""
    cause: BaseException | None = fault
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
