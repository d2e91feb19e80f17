"""What a folder holds: which files are which split, in which format, under which names.

Goes by suffixes, by what others call a split, and by first lines where two formats share a suffix.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from harness.data.rows import FORMATS, Format

SPLITS: Final = ("train", "validation", "test")
#: What others call a split.
ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "devel", "development", "eval"),
    "test": ("test", "testing", "heldout", "held_out"),
}
#: So much of a file is looked at to tell formats apart that share a suffix.
_HEAD: Final = 20_000
_PUBTATOR: Final = re.compile(r"[^\s|]+\|[ta]\|")
_TAG: Final = re.compile(r"O|[BIESLUM]-\S+")


class FolderLayout(NamedTuple):
    """Splits of one format.

    Attributes:
        format: key of `FORMATS`.
        names: what the files or folders call each split that is there, without suffixes.
        beside: names that could be a split as well, but another was taken.
    """

    format: str
    names: dict[str, str]
    beside: tuple[str, ...] = ()


class DataFiles(NamedTuple):
    """How to read a folder that a user gives in the place of a task's own data.

    Attributes:
        format: key of `FORMATS`.
        splits: as in task.yaml.
        fields: as in task.yaml.
    """

    format: str
    splits: Mapping[str, str]
    fields: Mapping[str, str]


def path_of(reader: Format, place: Path, name: str) -> Path | None:
    """The file (or folder, where there are no suffixes) of that name, if it is there."""
    if not reader.suffixes:
        return place / name if (place / name).is_dir() else None
    there = [place / f"{name}{suffix}" for suffix in reader.suffixes]
    return next((path for path in there if path.is_file()), None)


def format_of(path: Path) -> str | None:
    """The format of a file, or of a folder that is one split; None if it looks like none."""
    if path.is_dir():
        if (path / "dataset_info.json").is_file():
            return "saved"
        return "brat" if next(path.glob("*.ann"), None) is not None else None
    named = [name for name, reader in FORMATS if path.suffix in reader.suffixes]
    if len(named) < 2:
        return named[0] if named else None
    lines = [line.rstrip("\r") for line in _head(path) if line.strip()]
    if lines and _PUBTATOR.match(lines[0]):
        found = "pubtator"
    elif lines and all(_tagged(line) for line in lines):
        found = "conll"
    else:
        found = next((name for name in named if name not in {"pubtator", "conll"}), "")
    return found if found in named else None


def _head(path: Path) -> list[str]:
    """The first lines, whole ones unless there is but one."""
    with path.open("rb") as file:
        text = file.read(_HEAD).decode("utf-8", errors="replace").removeprefix("\ufeff")
    lines = text.split("\n")
    return lines[:-1] or lines


def _tagged(line: str) -> bool:
    cells = line.split("\t") if "\t" in line else line.split()
    return len(cells) > 1 and (cells[0] == "-DOCSTART-" or bool(_TAG.fullmatch(cells[-1])))


def inspect_folder(place: Path) -> tuple[FolderLayout, ...]:
    """The splits in a folder, by format; only formats that have a training split.

    A file that is alone of its format is the training split, whatever its name.
    """
    by_format: dict[str, list[str]] = defaultdict(list)
    for path in sorted(place.iterdir()):
        name = None if path.name.startswith(".") else format_of(path)
        if name is not None:
            by_format[name].append(path.name if path.is_dir() else path.stem)
    found = []
    for name, stems in by_format.items():
        names, beside = _named(stems)
        if not names and len(stems) == 1:
            names = {"train": stems[0]}
        if "train" in names:
            found.append(FolderLayout(name, names, beside))
    return tuple(found)


def _named(stems: list[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Splits by their names alone, or by a word in names that begin alike: `Main_TrainingSet`."""
    names: dict[str, str] = {}
    beside: list[str] = []
    begins = None
    for split, aliases in ALIASES.items():
        heads = {stem: _head_of(stem, aliases) for stem in stems}
        exact = [stem for alias in aliases for stem in stems if stem.casefold() == alias]
        part = [stem for stem, head in heads.items() if head is not None]
        found = list(dict.fromkeys((*exact, *part)))
        if begins is not None:
            found = [stem for stem in found if heads[stem] == begins]
        if found:
            names[split], *more = found
            beside += more
            begins = heads[found[0]] if begins is None else begins
    return names, tuple(beside)


def _head_of(stem: str, aliases: tuple[str, ...]) -> str | None:
    """What stands before the word that names a split; None where none does."""
    for hit in re.finditer(r"[A-Z]?[a-z]+(?:Set)?|[A-Z]+(?![a-z])", stem):
        if hit.group().casefold().removesuffix("set") in aliases:
            return stem[: hit.start()]
    return None


def resolve_files(
    place: Path, name: str, splits: Mapping[str, str], fields: Mapping[str, str]
) -> DataFiles:
    """How a user's folder is read, who may call files and columns as the task does, or plainly.

    Where there is no training file of the task's format, another format's is taken if there is
    just one; fields keep the task's names for them where the training file has such.

    Args:
        place: the folder.
        name: the task's format.
        splits: what the task's own data call the splits.
        fields: what they call the fields.
    """
    chosen = name
    if splits and not all(path_of(FORMATS.get(name), place, one) for one in splits.values()):
        splits = _usual_names(FORMATS.get(name), place)
    train = path_of(FORMATS.get(name), place, splits.get("train", "train"))
    if train is None:
        others = [
            (other, path)
            for other, reader in FORMATS
            if (path := path_of(reader, place, "train")) and format_of(path) == other
        ]
        if len(others) != 1:
            return DataFiles(name, splits, fields)
        ((chosen, train),) = others
    if not splits or chosen != name:
        splits = _usual_names(FORMATS.get(chosen), place)
    columns = FORMATS.get(chosen).survey(train)
    there = columns.get("keys", columns.get("columns"))
    if isinstance(there, int) or there is None:
        return DataFiles(chosen, splits, fields)
    return DataFiles(chosen, splits, {key: one for key, one in fields.items() if one in there})


def _usual_names(reader: Format, place: Path) -> dict[str, str]:
    """What the splits of a folder are called, where it is not the first of `ALIASES`."""
    found = {
        split: next((one for one in aliases if path_of(reader, place, one)), split)
        for split, aliases in ALIASES.items()
    }
    return {split: name for split, name in found.items() if name != split}
