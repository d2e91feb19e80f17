"""Where a task's rows come from: its generator, files in its folder or the user's, or the hub.

Gives the splits that are there, as they are there. Knows nothing of what is done to them then.

Rows that Python in a task's folder gives; what it does wrong is told with file and row.

Knows how a function is found and called, not what it is for.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.data import discovery
from harness.data.parsing import parse_rows
from harness.data.preparation import DOCUMENT, ROW
from harness.data.rows import FORMATS, Format, Row, RowSpec
from harness.errors import UserError, did_you_mean
from harness.tasks.types import TASK_TYPES

if TYPE_CHECKING:
    from harness.tasks.schema import TaskFile


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


def checked_rows(
    path: Path, name: str, made: list[dict[str, Any]], wanted: RowSpec
) -> tuple[Row, ...]:
    """Rows of what a function gave, checked as those of a file are.

    Raises:
        UserError: told as `file: function: row N: what`.
    """
    numbered = ((number, lambda one=one: one) for number, one in enumerate(made, start=1))
    return parse_rows(
        path.with_name(f"{path.name}: {name}"), numbered, wanted, "one is right", "row"
    )


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


SPLITS: Final = discovery.SPLITS
_GENERATE: Final = "generate"

Rows = dict[str, tuple[Row, ...]]


class LoadedSplits(NamedTuple):
    """The splits that are there.

    Attributes:
        rows: by split; the training split is always there.
        place: what to call the whole in messages.
        train: what to call the training split.
    """

    rows: Rows
    place: str
    train: str


def read(file: TaskFile, folder: Path, data: Path | None, seed: int) -> LoadedSplits:
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


def row_spec(file: TaskFile, labels: Collection[str] | None) -> RowSpec:
    """What a task asks of its rows, in its own names."""
    return RowSpec(TASK_TYPES.get(file.kind).rows, None if labels is None else tuple(labels))


def _in_training(wanted: RowSpec, file: TaskFile, there: Collection[str]) -> RowSpec:
    """What is asked of training rows besides: the score, and what they are split by."""
    score = None if file.quality.min_score is None else file.quality.score_field
    by = file.data.split.by
    made = by not in (DOCUMENT, ROW) and len(there) < len(SPLITS)
    return replace(wanted, score=score, group=by if made else None)


def _check_asked(file: TaskFile, found: LoadedSplits) -> None:
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


def _generated(file: TaskFile, script: Path, seed: int) -> LoadedSplits:
    sizes = file.data.sizes
    assert sizes is not None  # checked by the model
    fixed = None if file.labels == "auto" else tuple(file.labels)
    wanted = row_spec(file, fixed)
    rows = {}
    for split in SPLITS:
        made = records(script, _GENERATE, split, getattr(sizes, split), seed)
        asked = _in_training(wanted, file, SPLITS) if split == "train" else wanted
        rows[split] = checked_rows(script, f"{_GENERATE} {split}", made, asked)
    return LoadedSplits(rows, str(script), f"{script}: {_GENERATE} train")


def _files(
    file: TaskFile, place: Path, labels: tuple[str, ...] | None, users: bool = False
) -> LoadedSplits:
    keys = file.data
    if not place.is_dir():
        readme = place.parent / "README.md"
        told = f" ({readme} may say where the data are from)" if readme.is_file() else ""
        hint = "" if users else f"; --data FOLDER names another{told}"
        usual = _usual(FORMATS.get(keys.format), keys.splits.get("train", "train"))
        raise UserError(f"{place}: no such folder; it should hold {usual}{hint}")
    splits = {str(split): name for split, name in keys.splits.items()}
    given = discovery.DataFiles(keys.format, splits, file.names())
    if users:
        given = discovery.resolve_files(place, *given)
    reader = FORMATS.get(given.format)
    paths: dict[str, Path] = {}
    for split in SPLITS:
        name = given.splits.get(split, split)
        path = discovery.path_of(reader, place, name)
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
    wanted = RowSpec(TASK_TYPES.get(file.kind).rows, labels, given.fields, options)
    asked = _in_training(wanted, file, paths)
    rows = {
        split: reader.read(path, asked if split == "train" else wanted)
        for split, path in paths.items()
    }
    # a file or folder of a name of its own is what the user knows; what it lies in says little
    alone = len(paths) == 1 and given.splits.get("train", "train") != "train"
    called = paths["train"] if alone else place.resolve()
    return LoadedSplits(rows, called.name, str(paths["train"]))


def _hub(file: TaskFile, name: str) -> LoadedSplits:
    from harness.data import tabular

    keys = file.data
    fixed = None if file.labels == "auto" else tuple(file.labels)
    wanted = RowSpec(TASK_TYPES.get(file.kind).rows, fixed, file.names())
    there = tabular.split_names(name, keys.config, keys.revision)
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
        split: tabular.read(
            name, keys.config, keys.revision, called, asked if split == "train" else wanted
        )
        for split, called in names.items()
    }
    return LoadedSplits(rows, Path(name).name, f"{name}/{names['train']}")


def _refuse_other_name(split: str, place: str, there: Collection[str]) -> None:
    """Nobody who has a split `dev` wants validation rows taken out of train."""
    other = next((name for name in discovery.ALIASES[split][1:] if name in there), None)
    if other is not None:
        raise UserError(
            f"{place}: no {split}, but {other}; data.splits: {{{split}: {other}}} in task.yaml "
            f"takes it, and without it {split} is made from train"
        )


def _instead(reader: Format, place: Path, name: str) -> str:
    """What else could be read there."""
    for other, one in FORMATS:
        path = discovery.path_of(one, place, name)
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
