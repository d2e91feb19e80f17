"""Where a task's raw rows come from: a generator script, files, a user's folder, or the hub.

`read_splits` returns the splits that exist, unchanged; `harness.tasks.dataset` prepares them.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Collection, Iterator
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
    """Runs a Python file of a task's folder, which is not a package, as a module.

    Raises:
        UserError: there is no such file, or it fails.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; task.yaml names it under data.generator")
    spec = importlib.util.spec_from_file_location(f"_task_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module there
    with _locate_faults(path, "cannot be run"):
        spec.loader.exec_module(module)
    return module


def call_for_records(path: Path, name: str, *arguments: Any) -> list[dict[str, Any]]:
    """Calls a function of a file, which returns a list of rows as dicts.

    Raises:
        UserError: the file, the function or what it returns is faulty.
    """
    names = {key: value for key, value in vars(load_module(path)).items() if callable(value)}
    if name not in names:
        known = did_you_mean(name, (key for key in names if key[0] != "_"))
        raise UserError(f"{path}: no function '{name}'; {known}")
    with _locate_faults(path, name):
        returned = names[name](*arguments)
        records = None if isinstance(returned, dict | str | None) else list(returned)
    if records is None:
        type_name = type(returned).__name__
        raise UserError(f"{path}: {name} returned a {type_name}; return a list of dicts")
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            type_name = type(record).__name__
            raise UserError(f"{path}: {name}: row {number} is a {type_name}; it should be a dict")
    return records


def checked_rows(
    path: Path, name: str, records: list[dict[str, Any]], spec: RowSpec
) -> tuple[Row, ...]:
    """Parses records that a function returned, with the same checks as for a file.

    Raises:
        UserError: a record is faulty; the message is `file: function: row N: fault`.
    """
    numbered = ((n, record.copy) for n, record in enumerate(records, start=1))
    location = path.with_name(f"{path.name}: {name}")
    return parse_rows(location, numbered, spec, "return at least one", "row")


@contextmanager
def _locate_faults(path: Path, what: str) -> Iterator[None]:
    """Turns an exception of a user's file into one line with file and line number."""
    try:
        yield
    except UserError:
        raise
    except Exception as fault:
        frames = traceback.extract_tb(fault.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
        if isinstance(fault, SyntaxError) and fault.filename == str(path):
            lines.append(fault.lineno)
        location = f"{path}:{lines[-1]}" if lines else str(path)
        reason = " ".join(str(fault).split())
        raise UserError(f"{location}: {what}: {type(fault).__name__}: {reason}") from fault


SPLITS: Final = discovery.SPLITS
_GENERATE: Final = "generate"

Rows = dict[str, tuple[Row, ...]]


class LoadedSplits(NamedTuple):
    """The splits that exist, train always; how messages name the data and the training split."""

    rows: Rows
    source: str
    train: str


def read_splits(file: TaskFile, folder: Path, data: Path | None, seed: int) -> LoadedSplits:
    """Reads all splits that exist.

    Args:
        file: of the task.
        folder: of task.yaml.
        data: the user's folder, instead of what task.yaml says.
        seed: of a generator.

    Raises:
        UserError: the data are missing or faulty.
    """
    if data is None and file.data.generator is not None:
        return _read_generator(file, folder / file.data.generator, seed)
    if data is None and file.data.hub is not None:
        loaded = _read_hub(file, file.data.hub)
    else:
        data_folder = data if data is not None else folder / str(file.data.folder)
        labels = None if data is not None or file.labels == "auto" else file.labels
        loaded = _read_folder(file, data_folder, labels, users=data is not None)
    _check_score_and_group(file, loaded)
    return loaded


def row_spec(file: TaskFile, labels: Collection[str] | None) -> RowSpec:
    """What a task requires of its rows, with the usual field names."""
    return RowSpec(TASK_TYPES.get(file.kind).row_type, None if labels is None else tuple(labels))


def _training_spec(spec: RowSpec, file: TaskFile, provided: Collection[str]) -> RowSpec:
    """Adds the fields that only training rows need: the score, and what they are grouped by."""
    score = None if file.quality.min_score is None else file.quality.score_field
    by = file.data.split.by
    derived = by not in (DOCUMENT, ROW) and len(provided) < len(SPLITS)
    return replace(spec, score=score, group=by if derived else None)


def _check_score_and_group(file: TaskFile, loaded: LoadedSplits) -> None:
    """Formats without records have neither scores nor further fields."""
    keys = file.quality
    by = file.data.split.by
    complete = len(loaded.rows) == len(SPLITS)
    for row in loaded.rows["train"]:
        if keys.min_score is not None and row.score is None:
            raise UserError(
                f"{loaded.train}: format {file.data.format} has no field '{keys.score_field}'; "
                "leave quality.min_score out of task.yaml"
            )
        if not complete and by not in (DOCUMENT, ROW) and row.group is None:
            raise UserError(
                f"{loaded.train}: format {file.data.format} has no field '{by}'; "
                "data.split.by in task.yaml can be document or row"
            )


def _read_generator(file: TaskFile, script: Path, seed: int) -> LoadedSplits:
    spec = row_spec(file, None if file.labels == "auto" else file.labels)
    rows = {}
    for split in SPLITS:
        size = getattr(file.data.sizes, split)  # the model of task.yaml has checked that it is set
        records = call_for_records(script, _GENERATE, split, size, seed)
        split_spec = _training_spec(spec, file, SPLITS) if split == "train" else spec
        rows[split] = checked_rows(script, f"{_GENERATE} {split}", records, split_spec)
    return LoadedSplits(rows, str(script), f"{script}: {_GENERATE} train")


def _read_folder(
    file: TaskFile, folder: Path, labels: tuple[str, ...] | None, users: bool = False
) -> LoadedSplits:
    keys = file.data
    if not folder.is_dir():
        readme = folder.parent / "README.md"
        readme_hint = f" ({readme} may say where to get the data)" if readme.is_file() else ""
        hint = "" if users else f"; --data FOLDER names another{readme_hint}"
        usual = _usual_file_name(FORMATS.get(keys.format), keys.splits.get("train", "train"))
        raise UserError(f"{folder}: no such folder; it should hold {usual}{hint}")
    splits = {str(split): name for split, name in keys.splits.items()}
    files = discovery.DataFiles(keys.format, splits, file.field_names())
    if users:
        files = discovery.resolve_files(folder, *files)
    reader = FORMATS.get(files.format)
    paths: dict[str, Path] = {}
    for split in SPLITS:
        name = files.splits.get(split, split)
        path = discovery.split_path(reader, folder, name)
        if path is not None:
            paths[split] = path
        elif split == "train" or split in files.splits:
            noun, usual = "file" if reader.suffixes else "folder", _usual_file_name(reader, name)
            raise UserError(
                f"{folder / usual}: no such {noun}; a data folder needs train, and what "
                f"data.splits in task.yaml names{_suggest_alternative(reader, folder, name)}"
            )
        else:
            _refuse_other_name(split, str(folder), _candidate_names(reader, folder))
    options = keys.read_options() if files.format == keys.format else None
    spec = replace(row_spec(file, labels), fields=files.fields, options=options)
    training_spec = _training_spec(spec, file, paths)
    rows = {
        split: reader.read(path, training_spec if split == "train" else spec)
        for split, path in paths.items()
    }
    # A single file with an unusual name says more to the user than its folder does.
    single = len(paths) == 1 and files.splits.get("train", "train") != "train"
    source = paths["train"] if single else folder.resolve()
    return LoadedSplits(rows, source.name, str(paths["train"]))


def _read_hub(file: TaskFile, name: str) -> LoadedSplits:
    from harness.data import tabular

    keys = file.data
    labels = None if file.labels == "auto" else file.labels
    spec = replace(row_spec(file, labels), fields=file.field_names())
    available = tabular.hub_split_names(name, keys.config, keys.revision)
    names: dict[str, str] = {}
    for split in SPLITS:
        hub_name = keys.splits.get(split, split)
        if hub_name in available:
            names[split] = hub_name
        elif split == "train" or split in keys.splits:
            raise UserError(
                f"{name}: no split '{hub_name}', only {', '.join(available)}; "
                f"data.splits: {{{split}: NAME}} in task.yaml names another"
            )
        else:
            _refuse_other_name(split, name, available)
    training_spec = _training_spec(spec, file, names)
    rows = {
        split: tabular.read_hub(
            name, keys.config, keys.revision, hub_name, training_spec if split == "train" else spec
        )
        for split, hub_name in names.items()
    }
    return LoadedSplits(rows, Path(name).name, f"{name}/{names['train']}")


def _refuse_other_name(split: str, source: str, available: Collection[str]) -> None:
    """Refuses to make a split from train if the data have it under another usual name."""
    alias = next((name for name in discovery.ALIASES[split][1:] if name in available), None)
    if alias is not None:
        raise UserError(
            f"{source}: no {split}, but {alias}; add data.splits: {{{split}: {alias}}} to "
            f"task.yaml to use it, or rename {alias} to have {split} made from train"
        )


def _suggest_alternative(reader: Format, folder: Path, name: str) -> str:
    """A hint at data in another format or under another name."""
    for format_name, candidate in FORMATS:
        path = discovery.split_path(candidate, folder, name)
        if path is not None:
            return f" ({path.name} exists: data.format: {format_name} in task.yaml reads it)"
    if name == "train" and len(names := _candidate_names(reader, folder)) == 1:
        return f" (data.splits: {{train: {names[0]}}} in task.yaml reads the only one)"
    return ""


def _candidate_names(reader: Format, folder: Path) -> tuple[str, ...]:
    """Names of files or folders that could be a split."""
    entries = sorted(folder.iterdir())
    if not reader.suffixes:
        return tuple(path.name for path in entries if path.is_dir())
    return tuple(path.stem for path in entries if path.suffix in reader.suffixes)


def _usual_file_name(reader: Format, name: str) -> str:
    return f"{name}{reader.suffixes[0] if reader.suffixes else '/'}"
