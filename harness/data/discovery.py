"""Which files of a folder are which split, in which format, under which names.

Goes by suffixes, by common names of splits, and by first lines where formats share a suffix.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from harness.data.rows import FORMATS, Format

SPLITS: Final = ("train", "validation", "test")
#: Common names of each split.
ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "devel", "development", "eval"),
    "test": ("test", "testing", "heldout", "held_out"),
}
#: Bytes of a file that are read to distinguish formats that share a suffix.
_HEAD: Final = 20_000
_PUBTATOR: Final = re.compile(r"[^\s|]+\|[ta]\|")
_TAG: Final = re.compile(r"O|[BIESLUM]-\S+")


class FolderLayout(NamedTuple):
    """The splits of a folder that are in one format.

    Attributes:
        format: key of `FORMATS`.
        names: file or folder name of each split found, without suffix.
        unused: names that could be a split, too, but another was taken.
    """

    format: str
    names: dict[str, str]
    unused: tuple[str, ...] = ()


class DataFiles(NamedTuple):
    """How to read a user's folder that replaces a task's data: keys as in task.yaml."""

    format: str
    splits: Mapping[str, str]
    fields: Mapping[str, str]


def split_path(reader: Format, folder: Path, name: str) -> Path | None:
    """The file (or folder, where the format has no suffixes) of that name, or None."""
    if not reader.suffixes:
        return folder / name if (folder / name).is_dir() else None
    candidates = [folder / f"{name}{suffix}" for suffix in reader.suffixes]
    return next((path for path in candidates if path.is_file()), None)


def detect_format(path: Path) -> str | None:
    """The format of a file, or of a folder that is one split; None if unknown."""
    if path.is_dir():
        if (path / "dataset_info.json").is_file():
            return "saved"
        return "brat" if next(path.glob("*.ann"), None) is not None else None
    candidates = [name for name, reader in FORMATS if path.suffix in reader.suffixes]
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    lines = [line.rstrip("\r") for line in _first_lines(path) if line.strip()]
    if lines and _PUBTATOR.match(lines[0]):
        format_name = "pubtator"
    elif lines and all(_ends_in_tag(line) for line in lines):
        format_name = "conll"
    else:
        format_name = next((name for name in candidates if name not in {"pubtator", "conll"}), "")
    return format_name if format_name in candidates else None


def _first_lines(path: Path) -> list[str]:
    """The first lines of a file, without the last one, which may be incomplete."""
    with path.open("rb") as file:
        text = file.read(_HEAD).decode("utf-8", errors="replace").removeprefix("\ufeff")
    lines = text.split("\n")
    return lines[:-1] or lines


def _ends_in_tag(line: str) -> bool:
    cells = line.split("\t") if "\t" in line else line.split()
    return len(cells) > 1 and (cells[0] == "-DOCSTART-" or bool(_TAG.fullmatch(cells[-1])))


def inspect_folder(folder: Path) -> tuple[FolderLayout, ...]:
    """The splits in a folder, by format; only formats that have a training split.

    The only file of a format is the training split, whatever its name.
    """
    by_format: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        name = None if path.name.startswith(".") else detect_format(path)
        if name is not None:
            by_format[name].append(path.name if path.is_dir() else path.stem)
    layouts = []
    for name, stems in by_format.items():
        names, unused = _match_split_names(stems)
        if not names and len(stems) == 1:
            names = {"train": stems[0]}
        if "train" in names:
            layouts.append(FolderLayout(name, names, unused))
    return tuple(layouts)


def _match_split_names(stems: list[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Splits by exact name, or by a word in names with a common prefix: `Main_TrainingSet`."""
    names: dict[str, str] = {}
    unused: list[str] = []
    prefix = None
    for split, aliases in ALIASES.items():
        prefixes = {stem: _prefix_of_split(stem, aliases) for stem in stems}
        exact = [stem for alias in aliases for stem in stems if stem.casefold() == alias]
        partial = [stem for stem, start in prefixes.items() if start is not None]
        matches = list(dict.fromkeys((*exact, *partial)))
        if prefix is not None:
            matches = [stem for stem in matches if prefixes[stem] == prefix]
        if matches:
            names[split], *others = matches
            unused += others
            prefix = prefixes[matches[0]] if prefix is None else prefix
    return names, tuple(unused)


def _prefix_of_split(stem: str, aliases: tuple[str, ...]) -> str | None:
    """The part of a name before the word that names a split; None without such a word."""
    for hit in re.finditer(r"[A-Z]?[a-z]+(?:Set)?|[A-Z]+(?![a-z])", stem):
        if hit.group().casefold().removesuffix("set") in aliases:
            return stem[: hit.start()]
    return None


def resolve_files(
    folder: Path, name: str, splits: Mapping[str, str], fields: Mapping[str, str]
) -> DataFiles:
    """How to read a user's folder, whose files and columns have the task's names or usual ones.

    Without a training file in the task's format, the only other format with one is taken. A field
    keeps the task's name for it if the training file has such a column.

    Args:
        folder: of the user's data.
        name: of the task's format.
        splits: names of the splits in the task's own data.
        fields: names of the fields there.
    """
    reader = FORMATS.get(name)
    if not all(split_path(reader, folder, split_name) for split_name in splits.values()):
        splits = {}
    splits = splits or _aliased_names(reader, folder)
    train = split_path(reader, folder, splits.get("train", "train"))
    if train is None:
        alternatives = [
            (candidate, path)
            for candidate, other in FORMATS
            if (path := split_path(other, folder, "train")) and detect_format(path) == candidate
        ]
        if len(alternatives) != 1:
            return DataFiles(name, splits, fields)
        ((name, train),) = alternatives
        splits = _aliased_names(FORMATS.get(name), folder)
    columns = FORMATS.get(name).survey(train)
    known = columns.get("keys", columns.get("columns"))
    if known is not None and not isinstance(known, int):
        fields = {key: column for key, column in fields.items() if column in known}
    return DataFiles(name, splits, fields)


def _aliased_names(reader: Format, folder: Path) -> dict[str, str]:
    """Names of the splits of a folder that differ from the first of `ALIASES`."""
    names = {
        split: next((alias for alias in aliases if split_path(reader, folder, alias)), split)
        for split, aliases in ALIASES.items()
    }
    return {split: name for split, name in names.items() if name != split}
