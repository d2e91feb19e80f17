"""From a path that a user gives to its format and its splits.

Knows what lies in a folder, nothing of what the rows are for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.errors import UserError, did_you_mean
from harness.formats import FORMATS, Wanted, folders
from harness.formats.brat import BratOptions

#: Documents of more words than this are taken line by line, if their lines are short.
_LONG: Final = 150


class Found(NamedTuple):
    """Data as task.yaml names them.

    Attributes:
        format: key of `harness.formats.FORMATS`.
        folder: where the splits lie.
        names: what files or folders call the splits that are there.
        train: the training split.
        options: for `data.options`.
        why: sentences for the user.
    """

    format: str
    folder: Path
    names: dict[str, str]
    train: Path
    options: dict[str, Any]
    why: tuple[str, ...]

    @property
    def splits(self) -> dict[str, str]:
        """For `data.splits`: names that are not the usual ones."""
        return {split: name for split, name in self.names.items() if split != name}


def find(path: Path, chosen: str | None) -> Found:
    """What lies at a path: one file, one split, or a folder of splits.

    Args:
        path: as the user gave it.
        chosen: the format that the user names, or None.

    Raises:
        UserError: nothing lies there, or nothing that can be told.
    """
    if chosen is not None and chosen not in FORMATS:
        raise UserError(f"--format {chosen}: unknown; {did_you_mean(chosen, FORMATS.names())}")
    if not path.exists():
        raise UserError(f"--data {path}: no such file or folder")
    alone = path.is_file() or folders.format_of(path) is not None
    laid = _one(path, chosen) if alone else _folder(path, chosen)
    place = path.resolve().parent if alone else path.resolve()
    train = folders.path_of(FORMATS.get(laid.format), place, laid.names["train"])
    if train is None:
        suffixes = ", ".join(FORMATS.get(laid.format).suffixes)
        raise UserError(f"{path}: format {laid.format} is read from files that end in {suffixes}")
    options, told = _options(laid.format, train)
    why = [f"{path}: {laid.format}", *told]
    if laid.beside:
        why.append(f"left aside: {', '.join(laid.beside)}")
    return Found(laid.format, place, dict(laid.names), train, options, tuple(why))


def _one(path: Path, chosen: str | None) -> folders.Laid:
    """One split alone, unless those beside it are named as its own splits."""
    name = chosen or folders.format_of(path)
    if name is None:
        raise UserError(
            f"{path}: neither its name nor its first lines say what it is; say --format "
            f"{'|'.join(FORMATS.names())}"
        )
    stem = path.stem if path.is_file() else path.name
    for laid in folders.laid_out(path.resolve().parent):
        if laid.format == name and laid.names["train"] == stem:
            return laid
    return folders.Laid(name, {"train": stem})


def _folder(path: Path, chosen: str | None) -> folders.Laid:
    found = [laid for laid in folders.laid_out(path) if chosen in (None, laid.format)]
    if len(found) == 1:
        return found[0]
    if found:
        formats = "|".join(laid.format for laid in found)
        raise UserError(f"{path}: has training files of several formats; say --format {formats}")
    there = sorted(one.name for one in path.iterdir() if not one.name.startswith("."))
    shown = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "")
    raise UserError(
        f"{path}: no training split that can be read ({shown or 'it is empty'}); name a file "
        "train, or give one file with --data"
    )


def _options(name: str, train: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """BRAT documents line by line where they are long and no entity goes over a line's end."""
    if name != "brat":
        return {}, ()
    reader = FORMATS.get(name)
    try:
        lines = reader.read(train, Wanted("entities", options=BratOptions(passages="line")))
    except UserError:
        return {}, ()
    words = [len(row.text.split()) for row in lines]
    documents = len({row.document for row in lines})
    mean = sum(words) / documents
    if mean <= _LONG or max(words) > _LONG:
        return {}, ()
    told = f"a row is a line of a document, for documents have {mean:.0f} words on average"
    return {"passages": "line"}, (told,)
