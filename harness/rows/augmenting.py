"""Training rows that a task's own `task.py` adds: paraphrases, or what a teacher model writes.

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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from harness.errors import UserError
from harness.formats import FORMATS, Row, Wanted, fingerprint
from harness.formats.records import shown
from harness.rows import generating

FILE: Final = "task.py"
HOOK: Final = "training_rows"
#: Stands between the id of the row that one was made from and a number.
MARK: Final = "~"
#: What the folder of kept rows is called, and what rows made of nothing.
_KEPT: Final = "augmented"


def augmented(folder: Path, rows: Sequence[Row], seed: int, wanted: Wanted) -> tuple[Row, ...]:
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
    plain = Wanted(wanted.kind, wanted.labels)
    kept = folder / _KEPT / f"{_key(path, rows, seed)}.jsonl"
    if kept.is_file():
        return FORMATS.get("jsonl").read(kept, plain) if kept.stat().st_size else ()
    made = generating.records(path, HOOK, [record(row, wanted.kind) for row in rows], seed)
    named = _named(path, made, rows)
    found = generating.checked(path, HOOK, named, plain) if named else ()
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
                f"{path}: {HOOK}: row {number}: id {shown(origin)} is none of the training rows; "
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
