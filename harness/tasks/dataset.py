"""A task's rows as a study uses them: splits made, bad rows left out, a hook's rows added.

Gives rows by split, the labels they use and notes on what was done to them. Knows nothing of
prompts, metrics or models.

Training rows that a task's own `task.py` adds: paraphrases, or what a teacher model writes.

`training_rows(rows, seed) -> list[dict]` gets the training rows, when all splits are made and rows
of low quality are out, and gives further ones; validation and test never pass through it. What it
gave is kept in a file: a teacher is asked once, and every process of a study, and everybody who
has the folder, trains on the same rows.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.data import preparation
from harness.data.parsing import quoted
from harness.data.preparation import filter_rows
from harness.data.rows import FORMATS, Row, RowSpec, fingerprint, leaks
from harness.errors import UserError, did_you_mean
from harness.tasks import sources
from harness.tasks.sources import SPLITS, LoadedSplits, Rows
from harness.tasks.types import TASK_TYPES

if TYPE_CHECKING:
    from harness.tasks.schema import TaskFile


FILE: Final = "task.py"
HOOK: Final = "training_rows"
#: Stands between the id of the row that one was made from and a number.
MARK: Final = "~"
#: What the folder of kept rows is called, and what rows made of nothing.
_KEPT: Final = "augmented"


def augmentation_rows(
    folder: Path, rows: Sequence[Row], seed: int, wanted: RowSpec
) -> tuple[Row, ...]:
    """The rows that a task's hook adds to its training rows; none where it has no hook.

    The id of each is that of the row it was made from, `~` and a number: it belongs to the same
    document.

    Args:
        folder: the task's.
        rows: the training rows.
        seed: given to the hook.
        wanted: what the task asks of its rows.

    Raises:
        UserError: the hook fails or gives a faulty row; told with file, function and row.
    """
    path = folder / FILE
    if not path.is_file():
        return ()
    plain = RowSpec(wanted.kind, wanted.labels)
    kept = folder / _KEPT / f"{_key(path, rows, seed)}.jsonl"
    if kept.is_file():
        return FORMATS.get("jsonl").read(kept, plain) if kept.stat().st_size else ()
    made = sources.records(path, HOOK, [record(row, wanted.kind) for row in rows], seed)
    named = _named(path, made, rows)
    found = sources.checked_rows(path, HOOK, named, plain) if named else ()
    _keep(kept, named)
    return found


def record(row: Row, kind: str) -> dict[str, Any]:
    """A row with the keys of a JSONL file of its kind."""
    found = row.plain()
    if kind == "pairs":
        found["input"] = found.pop("text")
    if kind != "entities":
        del found["entities"]
    return found


def _key(path: Path, rows: Sequence[Row], seed: int) -> str:
    """Twelve hex digits over all that decides what a hook gives."""
    source = hashlib.sha256(path.read_bytes())
    source.update(f" {fingerprint(rows)} {seed}".encode())
    return source.hexdigest()[:12]


def _named(path: Path, made: list[dict[str, Any]], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What was made, under ids of its own."""
    originals = {row.id for row in rows}
    taken = set(originals)
    counts: Counter[str] = Counter()
    named = []
    for number, one in enumerate(made, start=1):
        origin = one.get("id", _KEPT)
        if "id" in one and not (isinstance(origin, str) and origin in originals):
            raise UserError(
                f"{path}: {HOOK}: row {number}: id {quoted(origin)} is none of the training rows; "
                "give the id of the row that it was made from, or none"
            )
        name = origin
        while name in taken or name == origin:
            counts[origin] += 1
            name = f"{origin}{MARK}{counts[origin]}"
        taken.add(name)
        named.append({**one, "id": name})
    return named


def _keep(path: Path, made: list[dict[str, Any]]) -> None:
    """Writes rows, whole or not at all, for other processes may read at the same time."""
    draft = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in made)
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as fault:
        raise UserError(
            f"{path.parent}: cannot be written to ({fault.strerror}); the rows of {HOOK} are kept "
            "there, so that every process trains on the same"
        ) from fault
    except (TypeError, ValueError) as fault:
        place = path.parent.parent / FILE
        raise UserError(f"{place}: {HOOK}: {fault}; rows are kept as JSON") from fault


__all__ = ["SPLITS", "PreparationLog", "TaskData", "prepare_dataset"]


class PreparationLog(NamedTuple):
    """What was done to the training rows.

    Attributes:
        left_out: how many went, by reason.
        augmented: how many a hook added.
    """

    left_out: Mapping[str, int]
    augmented: int


class TaskData(NamedTuple):
    """A task's data.

    Attributes:
        labels: the entity labels, or the classes of a choice.
        rows: gives the rows of a split.
        notes: what the user should know.
        history: what was done to the training rows.
    """

    labels: tuple[str, ...]
    rows: Callable[[str], tuple[Row, ...]]
    notes: tuple[str, ...]
    history: PreparationLog


def prepare_dataset(
    file: TaskFile, folder: Path, data: Path | None, limit: int | None, seed: int | None
) -> TaskData:
    """Opens the data of a task; see `harness.tasks.task.load_task`.

    Splits are made first of all, so that nothing that is done to the training rows afterwards
    reaches the rows that scores come from.

    Raises:
        UserError: the data are missing or faulty.
    """
    seed = file.data.seed if seed is None else seed
    found = sources.read(file, folder, data, seed)
    notes: list[str] = []
    left_out: Counter[str] = Counter()
    rows = _with_all_splits(file, found, seed, left_out, notes)
    rows = _screened(file, found, rows, left_out, notes)
    if file.data.leaks == "drop":
        rows = _without_leaks(rows, left_out, notes)
    generated = data is None and file.data.generator is not None
    labels = _declared(file) if generated else _labels(file, rows, notes, found.rows)
    rows = {split: _limited(own, limit, seed) for split, own in rows.items()}
    added = augmentation_rows(folder, rows["train"], seed, sources.row_spec(file, labels or None))
    if added:
        _check_classes(file, folder, added, labels)
        rows["train"] += added
        notes.append(f"{FILE}: {HOOK} added {len(added)} training rows")
        if file.data.leaks == "drop":
            rows = _without_leaks(rows, left_out, notes)
    notes += _leaking(rows)
    whole = {split: rows[split] for split in SPLITS}
    history = PreparationLog(dict(left_out), len(added))
    return TaskData(labels, whole.__getitem__, tuple(notes), history)


def _with_all_splits(
    file: TaskFile, found: LoadedSplits, seed: int, left_out: Counter[str], notes: list[str]
) -> Rows:
    """The splits that are there, and those that are made from train; their order is `SPLITS`.

    A split that is made never has an input of the rows that it was made from.
    """
    rows = dict(found.rows)
    keys, kind = file.data.split, TASK_TYPES.get(file.kind)
    stratified = file.kind == "choice" if keys.stratify is None else keys.stratify
    shares: dict[str, float] = {"test": keys.test_share, "validation": keys.validation_share}
    missing = [split for split in shares if split not in rows]
    whole = rows["train"]
    by = _by(file, whole, notes) if missing else keys.by
    for split in missing:
        groups = len(preparation.grouped(whole, by))
        count = shares[split] * (len(whole) if stratified else groups)
        try:
            cut = preparation.split_off(
                rows["train"], count, seed, by, kind.labels_of if stratified else None
            )
        except ValueError:
            what = "document" if by == preparation.DOCUMENT else f"group by {by}"
            raise UserError(
                f"{found.train}: one {what} only, so no {split} split can be made; add a {split} "
                "file, or say data.split: {by: row} in task.yaml where rows do not belong together"
            ) from None
        rows["train"], rows[split] = cut.kept, cut.carved
        notes.append(
            f"no {split} split in {found.place}: {len(cut.carved)} of {len(whole)} training "
            f"examples ({_groups(by, cut)}seed {seed}) were set aside as {split}"
        )
    made: Rows = {split: rows[split] for split in SPLITS if split == "train" or split in missing}
    rows.update(_without_leaks(made, left_out, notes))
    return {split: rows[split] for split in SPLITS}


def _by(file: TaskFile, rows: Sequence[Row], notes: list[str]) -> str:
    """What must not fall into two splits.

    Ids such as `mine-0001` name no documents. Of notes that were cut into sentences it has to be
    known whether they are one document; other rows are then taken one by one.
    """
    keys = file.data.split
    sentences = file.kind == "entities" or "by" in keys.model_fields_set
    if sentences or keys.by != preparation.DOCUMENT:
        return keys.by
    documents = preparation.grouped(rows, preparation.DOCUMENT)
    if len(documents) > 1 or len(rows) < 2:
        return keys.by
    notes.append(
        f"all training ids begin with '{next(iter(documents))}-', so they were taken to name no "
        "documents; data.split: {by: FIELD} in task.yaml names what belongs together"
    )
    return preparation.ROW


def _groups(by: str, cut: preparation.Split) -> str:
    if by == preparation.ROW or cut.groups == len(cut.carved):
        return ""
    several = "s" if cut.groups != 1 else ""
    if by == preparation.DOCUMENT:
        return f"{cut.groups} document{several}, "
    return f"{cut.groups} group{several} by {by}, "


def _screened(
    file: TaskFile, found: LoadedSplits, rows: Rows, left_out: Counter[str], notes: list[str]
) -> Rows:
    """Training rows that are good enough; the other splits as they are."""
    kept, reasons = filter_rows(rows["train"], file.quality)
    if not reasons:
        return rows
    told = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    if not kept:
        raise UserError(
            f"{found.train}: quality in task.yaml leaves none of {len(rows['train'])} training "
            f"rows ({told})"
        )
    left_out.update(reasons)
    gone = len(rows["train"]) - len(kept)
    notes.append(f"quality: {gone} of {len(rows['train'])} training rows left out ({told})")
    return {**rows, "train": kept}


def _without_leaks(rows: Rows, left_out: Counter[str], notes: list[str]) -> Rows:
    """Rows less those whose input stands in a later split, too."""
    kept = preparation.drop_leaks(rows)
    gone = {split: len(own) - len(kept[split]) for split, own in rows.items()}
    told = [f"{number} of {split}" for split, number in gone.items() if number]
    for split, own in kept.items():
        if not own:
            raise UserError(
                f"no row of {split} is left: the input of each stands in a later split, too"
            )
    if told:
        left_out.update({"in a later split": gone["train"]} if gone["train"] else {})
        notes.append(
            f"{' and '.join(told)} left out, for their input stands in a later split, too"
        )
    return kept


def _limited(rows: tuple[Row, ...], limit: int | None, seed: int) -> tuple[Row, ...]:
    """At most `limit` rows, chosen by the hash of their ids, in their old order."""
    if limit is None or len(rows) <= limit:
        return rows
    names = sorted((row.id for row in rows), key=lambda name: preparation.hash_order(seed, name))
    chosen = set(names[:limit])
    return tuple(row for row in rows if row.id in chosen)


def _declared(file: TaskFile) -> tuple[str, ...]:
    return () if file.labels == "auto" else tuple(file.labels)


def _labels(
    file: TaskFile, rows: Rows, notes: list[str], given: Collection[str]
) -> tuple[str, ...]:
    """The labels in use; those of task.yaml come first, in its order.

    Args:
        file: the task's keys.
        rows: by split.
        notes: gets what the user should know.
        given: the splits that were there; the others were made from train.
    """
    kind, declared = TASK_TYPES.get(file.kind), _declared(file)
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
            advice = did_you_mean(label, train)
            if split not in given:
                advice = "data.split: {stratify: true} in task.yaml keeps each label in train"
            raise UserError(
                f"{file.name}: label '{label}' stands in {split} but in no training row; {advice}"
            )
    present = tuple(name for name in declared if name in train)
    present += tuple(sorted(train.keys() - set(declared)))
    if declared and present != declared:
        notes.append(
            f"labels of the data are {', '.join(present)}; task.yaml names {', '.join(declared)}"
        )
    return present


def _check_classes(
    file: TaskFile, folder: Path, added: tuple[Row, ...], labels: tuple[str, ...]
) -> None:
    """A hook's rows bring no classes of their own; those of entities were checked when read."""
    kind = TASK_TYPES.get(file.kind)
    for row in added if kind.labelled else ():
        for label in sorted(set(kind.labels_of(row)) - set(labels)):
            raise UserError(
                f"{folder / FILE}: {HOOK}: row {row.id}: unknown label '{label}'; "
                f"{did_you_mean(label, labels)}"
            )


def _leaking(rows: Mapping[str, tuple[Row, ...]]) -> list[str]:
    found = leaks(rows)
    return [f"{preparation.leak_message(found)}; scores on them are too good"] if found else []
