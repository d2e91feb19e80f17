"""Where a task's rows come from: its generator, files in its folder, or a user's folder.

Gives rows by split, the labels they use and notes on what was done to them. Knows nothing of
prompts, metrics or models.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.errors import UserError, did_you_mean
from harness.formats import FORMATS, Format, Row, Span, Wanted, folders, leaks
from harness.kinds import KINDS

if TYPE_CHECKING:
    from harness.task_file import TaskFile
    from harness.task_sections import Data

SPLITS: Final = ("train", "validation", "test")

Rows = dict[str, tuple[Row, ...]]


class Source(NamedTuple):
    """A task's data.

    Attributes:
        labels: the entity labels.
        rows: gives the rows of a split.
        notes: what the user should know.
    """

    labels: tuple[str, ...]
    rows: Callable[[str], tuple[Row, ...]]
    notes: tuple[str, ...]


def open_source(
    file: TaskFile, folder: Path, data: Path | None, limit: int | None, seed: int | None
) -> Source:
    """Opens the data of a task; see `harness.task.load`.

    Raises:
        UserError: the data are missing or faulty.
    """
    seed = file.data.seed if seed is None else seed
    if data is None and file.data.generator is not None:
        generated = _generated(file, folder, file.data.generator, seed)
        labels = () if file.labels == "auto" else tuple(file.labels)
        return Source(labels, lambda split: _limited(generated(split), limit, seed), ())
    if data is None and file.data.hub is not None:
        rows, notes = _hub(file, file.data.hub, seed)
    else:
        place = data if data is not None else folder / str(file.data.folder)
        fixed = None if data is not None or file.labels == "auto" else tuple(file.labels)
        rows, notes = _files(file, place, fixed, seed, data is not None)
    labels = _labels(file, rows, notes)
    notes += _leaking(rows)
    cut = {split: _limited(found, limit, seed) for split, found in rows.items()}
    return Source(labels, cut.__getitem__, tuple(notes))


def _generated(
    file: TaskFile, folder: Path, script: str, seed: int
) -> Callable[[str], tuple[Row, ...]]:
    module = load_module(folder / script)
    sizes = file.data.sizes
    assert sizes is not None  # checked by TaskFile

    @cache
    def rows(split: str) -> tuple[Row, ...]:
        found = module.generate(split, getattr(sizes, split), seed)
        return tuple(_row(row) for row in found)

    return rows


def _row(made: Mapping[str, Any]) -> Row:
    """A generator's row; its keys are those of a JSONL file."""
    entities = tuple(Span(**entity) for entity in made.get("entities", ()))
    text = made["input"] if "input" in made else made["text"]
    return Row(made["id"], text, entities, made.get("output"), made.get("instruction"))


def load_module(path: Path) -> ModuleType:
    """Runs a Python file of a task's folder, which is no package, and answers it as a module.

    Raises:
        UserError: there is no such file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; task.yaml names it under data.generator")
    spec = importlib.util.spec_from_file_location(f"_task_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _files(
    file: TaskFile, place: Path, labels: tuple[str, ...] | None, seed: int, users: bool
) -> tuple[Rows, list[str]]:
    """Rows by split and notes."""
    keys, given = file.data, folders.Given(file.data.format, {str(k): v for k, v in file.data.splits.items()}, file.names())
    if users and place.is_dir():
        given = folders.as_given(place, *given)
    reader = FORMATS.get(given.format)
    if not place.is_dir():
        raise UserError(f"{place}: no such folder; it should hold {_usual(reader, 'train')}")
    names = {split: given.splits.get(split, split) for split in SPLITS}
    paths = {split: _path(reader, place, name) for split, name in names.items()}
    for split in ("train", "validation"):
        if paths[split] is None:
            raise UserError(
                f"{place / _usual(reader, names[split])}: no such "
                f"{'file' if reader.suffixes else 'folder'}; a data folder needs train, validation"
                f"{_instead(place, names[split])}"
            )
    options = keys.read_options() if given.format == keys.format else None
    wanted = Wanted(KINDS.get(file.kind).rows, labels, given.fields, options)
    rows = {split: reader.read(path, wanted) for split, path in paths.items() if path is not None}
    return _with_test(rows, keys, seed, str(place), str(paths["train"]))


def _hub(file: TaskFile, name: str, seed: int) -> tuple[Rows, list[str]]:
    """The same of a data set."""
    from harness.formats import hub

    keys = file.data
    fixed = None if file.labels == "auto" else tuple(file.labels)
    wanted = Wanted(KINDS.get(file.kind).rows, fixed, file.names())
    names = {split: keys.splits.get(split, split) for split in SPLITS}
    there = hub.split_names(name, keys.config, keys.revision)
    for split in ("train", "validation"):
        if names[split] not in there:
            raise UserError(
                f"{name}: no split '{names[split]}', only {', '.join(there)}; "
                f"data.splits: {{{split}: NAME}} in task.yaml names another"
            )
    rows = {
        split: hub.read(name, keys.config, keys.revision, called, wanted)
        for split, called in names.items()
        if called in there
    }
    return _with_test(rows, keys, seed, name, f"{name}/{names['train']}")


def _instead(place: Path, name: str) -> str:
    """What else could be read there."""
    found = {path.name: other for other, reader in FORMATS if (path := _path(reader, place, name))}
    if not found:
        return ""
    file, other = next(iter(found.items()))
    return f" ({file} is there: data.format: {other} in task.yaml reads it)"


def _usual(reader: Format, name: str) -> str:
    return f"{name}{reader.suffixes[0] if reader.suffixes else '/'}"


def _path(reader: Format, place: Path, name: str) -> Path | None:
    if not reader.suffixes:
        return place / name if (place / name).is_dir() else None
    there = [place / f"{name}{suffix}" for suffix in reader.suffixes]
    return next((path for path in there if path.is_file()), None)


def _with_test(
    rows: Rows, keys: Data, seed: int, place: str, train: str
) -> tuple[Rows, list[str]]:
    if "test" in rows:
        return rows, []
    kept, carved = _carve(rows["train"], keys.test_share, seed, train)
    documents = len({row.document for row in carved})
    note = (
        f"no test split in {Path(place).name}: {len(carved)} of {len(rows['train'])} training "
        f"examples ({documents} documents, seed {seed}) were set aside as test"
    )
    return {**rows, "train": kept, "test": carved}, [note]


def _carve(
    rows: tuple[Row, ...], share: float, seed: int, place: str
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Training rows and test rows, no document in both."""
    documents = sorted({row.document for row in rows}, key=lambda name: _order(seed, name))
    if len(documents) < 2:
        raise UserError(
            f"{place}: one document only, so no test split can be made; add a test file"
        )
    chosen = set(documents[: max(1, round(share * len(documents)))])
    return (
        tuple(row for row in rows if row.document not in chosen),
        tuple(row for row in rows if row.document in chosen),
    )


def _order(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _limited(rows: tuple[Row, ...], limit: int | None, seed: int) -> tuple[Row, ...]:
    """At most `limit` rows, chosen by the hash of their ids, in their old order."""
    if limit is None or len(rows) <= limit:
        return rows
    chosen = set(sorted((row.id for row in rows), key=lambda name: _order(seed, name))[:limit])
    return tuple(row for row in rows if row.id in chosen)


def _labels(
    file: TaskFile, rows: Mapping[str, tuple[Row, ...]], notes: list[str]
) -> tuple[str, ...]:
    """The labels in use; those of task.yaml come first, in its order."""
    kind = KINDS.get(file.kind)
    if not kind.labelled:
        return ()
    counts = {
        split: Counter(label for row in found for label in kind.labels_of(row))
        for split, found in rows.items()
    }
    train = counts["train"]
    if not train:
        raise UserError(f"{file.name}: no entity in the training rows; nothing can be learnt")
    for split, found in counts.items():
        for label in sorted(found.keys() - train.keys()):
            raise UserError(
                f"{file.name}: label '{label}' stands in {split} but in no training row; "
                f"{did_you_mean(label, train)}"
            )
    declared = () if file.labels == "auto" else tuple(file.labels)
    present = tuple(name for name in declared if name in train)
    present += tuple(sorted(train.keys() - set(declared)))
    if declared and present != declared:
        notes.append(
            f"labels of the data are {', '.join(present)}; task.yaml names {', '.join(declared)}"
        )
    return present


def _leaking(rows: Mapping[str, tuple[Row, ...]]) -> list[str]:
    found = leaks({split: rows[split] for split in SPLITS})
    if not found:
        return []
    first = found[0]
    return [
        f"{len(found)} texts stand in more than one split, such as {first.id} ({first.split}) "
        f"and {first.other_id} ({first.other_split}); scores on them are too good"
    ]
