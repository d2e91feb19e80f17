"""Finds the studies of a folder for the index page, each to be read only when it is asked for.

Knows where studies lie and when one has changed; what is shown of them is `report.index`'s.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from harness.errors import UserError
from harness.results import StudyResults
from harness.storage.records import read_study
from harness.storage.studies import url_of


class Found(NamedTuple):
    """A study of a folder, not read yet.

    Attributes:
        name: its name, which is its folder's.
        stamp: another one whenever its database has been written to.
        read: reads its tables; raises UserError where it cannot be read.
    """

    name: str
    stamp: str
    read: Callable[[], StudyResults]


def studies(results: Path) -> Iterator[Found]:
    """The studies of a folder, by name.

    Args:
        results: folder of studies; it may be missing.
    """
    for file in sorted(results.glob("*/study.db")):
        folder = file.parent
        yield Found(folder.name, _stamp(file), functools.partial(_read, folder))


def _read(folder: Path) -> StudyResults:
    try:
        return read_study(folder.name, folder.parent)
    except UserError as error:
        # A page is passed on: where the folder lies on this machine is nobody's business.
        raise UserError(str(error).removeprefix(f"{url_of(folder)}: ")) from None


def _stamp(file: Path) -> str:
    parts = [str(file.resolve())]
    for each in (file, file.with_name(f"{file.name}-wal")):
        # A reader leaves an empty log of writes behind: that is no change.
        if each.is_file() and each.stat().st_size:
            parts.append(f"{each.stat().st_size}:{each.stat().st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
