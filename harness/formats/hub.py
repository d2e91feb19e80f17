"""Data sets of the Hugging Face hub, by id, configuration and revision; or a folder like one.

Columns are mapped as in `harness.formats.records`. Uses `datasets`, which keeps what it loaded in
its own cache; imported when something is read.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.errors import UserError, did_you_mean
from harness.formats.collecting import rows_of
from harness.formats.tables import records

if TYPE_CHECKING:
    from harness.formats.format import Row, Wanted


#: An id on the hub: a name, or an owner's.
_ID: Final = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def split_names(name: str, config: str | None, revision: str | None) -> tuple[str, ...]:
    """Splits of a data set, as it calls them.

    Raises:
        UserError: it cannot be had.
    """
    return _split_names(name, config, revision)


@cache  # every question goes over the network
def _split_names(name: str, config: str | None, revision: str | None) -> tuple[str, ...]:
    from datasets import get_dataset_split_names

    return tuple(_told(name, lambda: get_dataset_split_names(name, config, revision=revision)))


def read(
    name: str, config: str | None, revision: str | None, split: str, wanted: Wanted
) -> tuple[Row, ...]:
    """All rows of a split, checked.

    Args:
        name: id on the hub, such as `org/name`, or a folder.
        config: its configuration, where it has several.
        revision: branch, tag or commit; None: the default branch.
        split: as the data set calls it.
        wanted: what the task asks of its rows.

    Raises:
        UserError: it cannot be had, or a row is faulty, told as `name/split: row N: what`.
    """
    from datasets import load_dataset

    splits = split_names(name, config, revision)
    if split not in splits:
        raise UserError(f"{name}: no split '{split}'; {did_you_mean(split, splits)}")
    table: Any = _told(name, lambda: load_dataset(name, config, revision=revision, split=split))
    return rows_of(Path(name) / split, records(table), wanted, "one row is right", "row")


def _told(name: str, action: Any) -> Any:
    if not Path(name).is_dir() and not _ID.fullmatch(name):
        raise UserError(f"{name}: no such folder, and no id of the hub such as org/name")
    try:
        return action()
    except UserError:
        raise
    except Exception as fault:
        told = " ".join(str(fault).split())[:200] or type(fault).__name__
        raise UserError(
            f"{name}: neither a data set of the hub nor a folder that can be loaded ({told})"
        ) from None
