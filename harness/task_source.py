"""Where a task's rows come from: its generator, files in its folder or the user's, or the hub.

Gives the splits that are there, as they are there. Knows nothing of what is done to them then.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.errors import UserError
from harness.formats import FORMATS, Format, Row, Wanted, folders
from harness.kinds import KINDS
from harness.rows import generating
from harness.rows.splitting import DOCUMENT, ROW

if TYPE_CHECKING:
    from harness.task_file import TaskFile

SPLITS: Final = folders.SPLITS
_GENERATE: Final = "generate"

Rows = dict[str, tuple[Row, ...]]


class Found(NamedTuple):
    """The splits that are there.

    Attributes:
        rows: by split; the training split is always there.
        place: what to call the whole in messages.
        train: what to call the training split.
    """

    rows: Rows
    place: str
    train: str


def read(file: TaskFile, folder: Path, data: Path | None, seed: int) -> Found:
    """Reads all splits that are there.

    Args:
        file: the task's keys.
        folder: where task.yaml lies.
        data: the user's own folder, in the place of what task.yaml says.
        seed: of a generator.

    Raises:
        UserError: the data are missing or faulty.
    """
    if data is None and file.data.generator is not None:
        return _generated(file, folder / file.data.generator, seed)
    if data is None and file.data.hub is not None:
        found = _hub(file, file.data.hub)
    else:
        place = data if data is not None else folder / str(file.data.folder)
        fixed = None if data is not None or file.labels == "auto" else tuple(file.labels)
        found = _files(file, place, fixed, users=data is not None)
    _check_asked(file, found)
    return found


def wanted_of(file: TaskFile, labels: Collection[str] | None) -> Wanted:
    """What a task asks of its rows, in its own names."""
    return Wanted(KINDS.get(file.kind).rows, None if labels is None else tuple(labels))


def _in_training(wanted: Wanted, file: TaskFile, there: Collection[str]) -> Wanted:
    """What is asked of training rows besides: the score, and what they are split by."""
    score = None if file.quality.min_score is None else file.quality.score_field
    by = file.data.split.by
    made = by not in (DOCUMENT, ROW) and len(there) < len(SPLITS)
    return replace(wanted, score=score, group=by if made else None)


def _check_asked(file: TaskFile, found: Found) -> None:
    """Formats that keep no records have neither scores nor fields."""
    keys = file.quality
    by = file.data.split.by
    whole = len(found.rows) == len(SPLITS)
    for row in found.rows["train"]:
        if keys.min_score is not None and row.score is None:
            raise UserError(
                f"{found.train}: format {file.data.format} keeps no '{keys.score_field}' with "
                "its rows; leave quality.min_score out of task.yaml"
            )
        if not whole and by not in (DOCUMENT, ROW) and row.group is None:
            raise UserError(
                f"{found.train}: format {file.data.format} keeps no '{by}' with its rows; "
                "data.split.by in task.yaml can be document or row"
            )


def _generated(file: TaskFile, script: Path, seed: int) -> Found:
    sizes = file.data.sizes
    assert sizes is not None  # checked by the model
    fixed = None if file.labels == "auto" else tuple(file.labels)
    wanted = wanted_of(file, fixed)
    rows = {}
    for split in SPLITS:
        made = generating.records(script, _GENERATE, split, getattr(sizes, split), seed)
        asked = _in_training(wanted, file, SPLITS) if split == "train" else wanted
        rows[split] = generating.checked(script, f"{_GENERATE} {split}", made, asked)
    return Found(rows, str(script), f"{script}: {_GENERATE} train")


def _files(
    file: TaskFile, place: Path, labels: tuple[str, ...] | None, users: bool = False
) -> Found:
    keys = file.data
    if not place.is_dir():
        readme = place.parent / "README.md"
        told = f" ({readme} may say where the data are from)" if readme.is_file() else ""
        hint = "" if users else f"; --data FOLDER names another{told}"
        usual = _usual(FORMATS.get(keys.format), keys.splits.get("train", "train"))
        raise UserError(f"{place}: no such folder; it should hold {usual}{hint}")
    splits = {str(split): name for split, name in keys.splits.items()}
    given = folders.Given(keys.format, splits, file.names())
    if users:
        given = folders.as_given(place, *given)
    reader = FORMATS.get(given.format)
    paths: dict[str, Path] = {}
    for split in SPLITS:
        name = given.splits.get(split, split)
        path = folders.path_of(reader, place, name)
        if path is not None:
            paths[split] = path
        elif split == "train" or split in given.splits:
            kind = "file" if reader.suffixes else "folder"
            raise UserError(
                f"{place / _usual(reader, name)}: no such {kind}; a data folder needs train, and "
                f"what data.splits in task.yaml names{_instead(reader, place, name)}"
            )
        else:
            _refuse_other_name(split, str(place), _there(reader, place))
    options = keys.read_options() if given.format == keys.format else None
    wanted = Wanted(KINDS.get(file.kind).rows, labels, given.fields, options)
    asked = _in_training(wanted, file, paths)
    rows = {
        split: reader.read(path, asked if split == "train" else wanted)
        for split, path in paths.items()
    }
    # a file or folder of a name of its own is what the user knows; what it lies in says little
    alone = len(paths) == 1 and given.splits.get("train", "train") != "train"
    called = paths["train"] if alone else place.resolve()
    return Found(rows, called.name, str(paths["train"]))


def _hub(file: TaskFile, name: str) -> Found:
    from harness.formats import hub

    keys = file.data
    fixed = None if file.labels == "auto" else tuple(file.labels)
    wanted = Wanted(KINDS.get(file.kind).rows, fixed, file.names())
    there = hub.split_names(name, keys.config, keys.revision)
    names: dict[str, str] = {}
    for split in SPLITS:
        called = keys.splits.get(split, split)
        if called in there:
            names[split] = called
        elif split == "train" or split in keys.splits:
            raise UserError(
                f"{name}: no split '{called}', only {', '.join(there)}; "
                f"data.splits: {{{split}: NAME}} in task.yaml names another"
            )
        else:
            _refuse_other_name(split, name, there)
    asked = _in_training(wanted, file, names)
    rows = {
        split: hub.read(
            name, keys.config, keys.revision, called, asked if split == "train" else wanted
        )
        for split, called in names.items()
    }
    return Found(rows, Path(name).name, f"{name}/{names['train']}")


def _refuse_other_name(split: str, place: str, there: Collection[str]) -> None:
    """Nobody who has a split `dev` wants validation rows taken out of train."""
    other = next((name for name in folders.ALIASES[split][1:] if name in there), None)
    if other is not None:
        raise UserError(
            f"{place}: no {split}, but {other}; data.splits: {{{split}: {other}}} in task.yaml "
            f"takes it, and without it {split} is made from train"
        )


def _instead(reader: Format, place: Path, name: str) -> str:
    """What else could be read there."""
    for other, one in FORMATS:
        path = folders.path_of(one, place, name)
        if path is not None:
            return f" ({path.name} is there: data.format: {other} in task.yaml reads it)"
    if name == "train" and len(there := _there(reader, place)) == 1:
        return f" (data.splits: {{train: {there[0]}}} in task.yaml takes the one that is there)"
    return ""


def _there(reader: Format, place: Path) -> tuple[str, ...]:
    """Names of what could be a split."""
    found = sorted(place.iterdir())
    if not reader.suffixes:
        return tuple(path.name for path in found if path.is_dir())
    return tuple(path.stem for path in found if path.suffix in reader.suffixes)


def _usual(reader: Format, name: str) -> str:
    return f"{name}{reader.suffixes[0] if reader.suffixes else '/'}"
