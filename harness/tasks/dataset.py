"""Raw rows become the splits of a task: splits made, rows filtered, augmented and limited.

A task's own `task.py` may add training rows, such as paraphrases or the output of a teacher model:
`training_rows(rows, seed) -> list[dict]` gets the training rows after splitting and filtering, and
returns further ones. Validation and test rows never pass through it. What it returns is cached in
a file, so that a teacher is called once, and all processes of a study train on the same rows.
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
from harness.data.rows import FORMATS, Row, RowSpec, find_leaks, fingerprint
from harness.errors import UserError, did_you_mean
from harness.tasks import sources
from harness.tasks.data_card import PreparationCounts
from harness.tasks.sources import SPLITS, LoadedSplits, Rows
from harness.tasks.types import TASK_TYPES

if TYPE_CHECKING:
    from harness.tasks.schema import TaskFile


FILE: Final = "task.py"
HOOK: Final = "training_rows"
#: Separates the id of the original row from a number, in ids of added rows.
MARK: Final = "~"
#: Folder of cached rows; also the id prefix of rows that were made from no row.
_CACHE_FOLDER: Final = "augmented"


def augmentation_rows(
    folder: Path, rows: Sequence[Row], seed: int, spec: RowSpec
) -> tuple[Row, ...]:
    """The rows that a task's hook adds to its training rows; empty without a hook.

    The id of each is that of its original row, `~` and a number, so that it belongs to the same
    document.

    Raises:
        UserError: the hook fails or returns a faulty row.
    """
    path = folder / FILE
    if not path.is_file():
        return ()
    plain = RowSpec(spec.row_type, spec.labels)
    # The key is of all inputs of the hook: its source, the rows and the seed.
    key = hashlib.sha256(path.read_bytes() + f" {fingerprint(rows)} {seed}".encode())
    cache = folder / _CACHE_FOLDER / f"{key.hexdigest()[:12]}.jsonl"
    if cache.is_file():
        return FORMATS.get("jsonl").read(cache, plain) if cache.stat().st_size else ()
    originals = [row_record(row, spec.row_type) for row in rows]
    named = _with_ids(path, sources.call_for_records(path, HOOK, originals, seed), rows)
    added = sources.checked_rows(path, HOOK, named, plain) if named else ()
    _write_cache(cache, named)
    return added


def row_record(row: Row, row_type: str) -> dict[str, Any]:
    """A row with the keys that a JSONL file of its type has."""
    fields = row.to_dict()
    if row_type == "pairs":
        fields["input"] = fields.pop("text")
    if row_type != "entities":
        del fields["entities"]
    return fields


def _with_ids(
    path: Path, records: list[dict[str, Any]], rows: Sequence[Row]
) -> list[dict[str, Any]]:
    """The hook's records with unique ids."""
    originals = {row.id for row in rows}
    taken = set(originals)
    counts: Counter[str] = Counter()
    renamed = []
    for number, record in enumerate(records, start=1):
        origin = record.get("id", _CACHE_FOLDER)
        if "id" in record and not (isinstance(origin, str) and origin in originals):
            raise UserError(
                f"{path}: {HOOK}: row {number}: id {quoted(origin)} is not that of a training "
                "row; give the id of the original row, or no id"
            )
        name = origin
        while name in taken or name == origin:
            counts[origin] += 1
            name = f"{origin}{MARK}{counts[origin]}"
        taken.add(name)
        renamed.append({**record, "id": name})
    return renamed


def _write_cache(path: Path, records: list[dict[str, Any]]) -> None:
    """Writes rows atomically, since other processes may read at the same time."""
    draft = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as fault:
        raise UserError(
            f"{path.parent}: cannot be written to ({fault.strerror}); the rows of {HOOK} are "
            "cached there, so that all processes train on the same ones"
        ) from fault
    except (TypeError, ValueError) as fault:
        script = path.parent.parent / FILE
        raise UserError(f"{script}: {HOOK}: {fault}; rows are cached as JSON") from fault


class TaskData(NamedTuple):
    """A task's data.

    Attributes:
        labels: the entity labels, or the classes of a choice.
        rows: returns the rows of a split.
        notes: sentences for the user.
        preparation: what was done to the training rows.
    """

    labels: tuple[str, ...]
    rows: Callable[[str], tuple[Row, ...]]
    notes: tuple[str, ...]
    preparation: PreparationCounts


def prepare_dataset(
    file: TaskFile, folder: Path, data: Path | None, limit: int | None, seed: int | None
) -> TaskData:
    """Prepares the data of a task; see `harness.tasks.task.load_task`.

    Splits are made first, so that nothing done to training rows afterwards affects the rows that
    scores are computed on.

    Raises:
        UserError: the data are missing or faulty.
    """
    seed = file.data.seed if seed is None else seed
    loaded = sources.read_splits(file, folder, data, seed)
    notes: list[str] = []
    left_out: Counter[str] = Counter()
    rows = _make_missing_splits(file, loaded, seed, left_out, notes)
    rows = _filter_training(file, loaded, rows, left_out, notes)
    if file.data.leaks == "drop":
        rows = _drop_leaks(rows, left_out, notes)
    generated = data is None and file.data.generator is not None
    labels = (
        _declared_labels(file) if generated else _labels_in_use(file, rows, notes, loaded.rows)
    )
    rows = {split: _limit_rows(split_rows, limit, seed) for split, split_rows in rows.items()}
    added = augmentation_rows(folder, rows["train"], seed, sources.row_spec(file, labels or None))
    if added:
        _check_classes(file, folder, added, labels)
        rows["train"] += added
        notes.append(f"{FILE}: {HOOK} added {len(added)} training rows")
        if file.data.leaks == "drop":
            rows = _drop_leaks(rows, left_out, notes)
    notes += _leak_warnings(rows)
    ordered = {split: rows[split] for split in SPLITS}
    counts = PreparationCounts(dict(left_out), len(added))
    return TaskData(labels, ordered.__getitem__, tuple(notes), counts)


def _make_missing_splits(
    file: TaskFile, loaded: LoadedSplits, seed: int, left_out: Counter[str], notes: list[str]
) -> Rows:
    """All three splits, in the order of `SPLITS`; missing ones are made from train.

    A made split shares no input with the rows that it was taken from.
    """
    rows = dict(loaded.rows)
    keys, task_type = file.data.split, TASK_TYPES.get(file.kind)
    stratified = file.kind == "choice" if keys.stratify is None else keys.stratify
    shares: dict[str, float] = {"test": keys.test_share, "validation": keys.validation_share}
    missing = [split for split in shares if split not in rows]
    original = rows["train"]
    by = _grouping(file, original, notes) if missing else keys.by
    for split in missing:
        groups = len(preparation.group_rows(original, by))
        count = shares[split] * (len(original) if stratified else groups)
        try:
            new_split = preparation.split_off(
                rows["train"], count, seed, by, task_type.labels_of if stratified else None
            )
        except ValueError:
            what = "document" if by == preparation.DOCUMENT else f"group by {by}"
            raise UserError(
                f"{loaded.train}: one {what} only, so no {split} split can be made; add a {split} "
                "file, or say data.split: {by: row} in task.yaml where rows are independent"
            ) from None
        rows["train"], rows[split] = new_split.remaining, new_split.taken
        notes.append(
            f"no {split} split in {loaded.source}: {len(new_split.taken)} of {len(original)} "
            f"training examples ({_describe_groups(by, new_split)}seed {seed}) were set aside as "
            f"{split}"
        )
    derived: Rows = {split: rows[split] for split in SPLITS if split in ("train", *missing)}
    rows.update(_drop_leaks(derived, left_out, notes))
    return {split: rows[split] for split in SPLITS}


def _grouping(file: TaskFile, rows: Sequence[Row], notes: list[str]) -> str:
    """What groups rows that must not be divided between splits.

    Ids such as `mine-0001` name no documents: if all ids have the same prefix, rows are taken as
    independent. Not so for entities, whose rows are often the sentences of one document.
    """
    keys = file.data.split
    if file.kind == "entities" or "by" in keys.model_fields_set:
        return keys.by
    documents = preparation.group_rows(rows, preparation.DOCUMENT)
    if len(documents) > 1 or len(rows) < 2:
        return keys.by
    notes.append(
        f"all training ids begin with '{next(iter(documents))}-', so they were taken not to "
        "name documents; data.split: {by: FIELD} in task.yaml names the field to group by"
    )
    return preparation.ROW


def _describe_groups(by: str, split: preparation.Split) -> str:
    if by == preparation.ROW or split.groups == len(split.taken):
        return ""
    several = "s" if split.groups != 1 else ""
    if by == preparation.DOCUMENT:
        return f"{split.groups} document{several}, "
    return f"{split.groups} group{several} by {by}, "


def _filter_training(
    file: TaskFile, loaded: LoadedSplits, rows: Rows, left_out: Counter[str], notes: list[str]
) -> Rows:
    """Drops training rows of low quality; the other splits stay as they are."""
    keys = file.quality
    remaining, reasons = preparation.filter_rows(
        rows["train"], keys.min_score, keys.drop_duplicates, keys.min_words, keys.max_words
    )
    if not reasons:
        return rows
    counts = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    if not remaining:
        raise UserError(
            f"{loaded.train}: quality in task.yaml leaves none of {len(rows['train'])} training "
            f"rows ({counts})"
        )
    left_out.update(reasons)
    dropped = len(rows["train"]) - len(remaining)
    notes.append(f"quality: {dropped} of {len(rows['train'])} training rows left out ({counts})")
    return {**rows, "train": remaining}


def _drop_leaks(rows: Rows, left_out: Counter[str], notes: list[str]) -> Rows:
    """Rows without those whose input also occurs in a later split."""
    remaining = preparation.drop_leaks(rows)
    counts = Counter({split: len(rows[split]) - len(remaining[split]) for split in rows})
    dropped = " and ".join(f"{number} of {split}" for split, number in counts.items() if number)
    for split, split_rows in remaining.items():
        if not split_rows:
            raise UserError(
                f"no row of {split} is left: the input of each also occurs in a later split"
            )
    if dropped:
        left_out.update({"in a later split": counts["train"]} if counts["train"] else {})
        notes.append(f"{dropped} dropped, because their input also occurs in a later split")
    return remaining


def _limit_rows(rows: tuple[Row, ...], limit: int | None, seed: int) -> tuple[Row, ...]:
    """At most `limit` rows, selected by the hash of their ids, in their old order."""
    if limit is None or len(rows) <= limit:
        return rows
    names = sorted((row.id for row in rows), key=lambda name: preparation.hash_order(seed, name))
    selected = set(names[:limit])
    return tuple(row for row in rows if row.id in selected)


def _declared_labels(file: TaskFile) -> tuple[str, ...]:
    return () if file.labels == "auto" else tuple(file.labels)


def _labels_in_use(
    file: TaskFile, rows: Rows, notes: list[str], provided: Collection[str]
) -> tuple[str, ...]:
    """The labels in use, those of task.yaml first; splits not `provided` were made from train."""
    task_type, declared = TASK_TYPES.get(file.kind), _declared_labels(file)
    if not task_type.labelled:
        return ()
    counts = {
        split: Counter(label for row in split_rows for label in task_type.labels_of(row))
        for split, split_rows in rows.items()
    }
    train = counts["train"]
    if not train:
        raise UserError(f"{file.name}: no entity in the training rows; nothing can be learned")
    for split, labels in counts.items():
        for label in sorted(labels.keys() - train.keys()):
            advice = did_you_mean(label, train)
            if split not in provided:
                advice = "data.split: {stratify: true} in task.yaml keeps each label in train"
            raise UserError(
                f"{file.name}: label '{label}' occurs in {split} but in no training row; {advice}"
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
    """Checks that a hook's rows have no new class; labels of entities were checked when read."""
    task_type = TASK_TYPES.get(file.kind)
    for row in added if task_type.labelled else ():
        for label in sorted(set(task_type.labels_of(row)) - set(labels)):
            raise UserError(
                f"{folder / FILE}: {HOOK}: row {row.id}: unknown label '{label}'; "
                f"{did_you_mean(label, labels)}"
            )


def _leak_warnings(rows: Mapping[str, tuple[Row, ...]]) -> list[str]:
    leaks = find_leaks(rows)
    return [f"{preparation.leak_message(leaks)}; scores on them are inflated"] if leaks else []
