"""Makes a task and a sweep from data: finds, guesses, loads the task once, then writes.

Nothing is written before the task could be loaded, and no row is copied.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from harness import task
from harness.errors import UserError, did_you_mean
from harness.formats import FORMATS, leaks
from harness.formats.collecting import Recorded
from harness.initialise.columns import columns
from harness.initialise.finding import Found, find
from harness.initialise.guessing import Guess, guess
from harness.initialise.writing import Lengths, Source, sweep_text, task_text
from harness.kinds import KINDS

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_NUMBER: Final = re.compile(r"\n?#### *[-+$]?[\d.,]+\s*$")


class Made(NamedTuple):
    """What was written.

    Attributes:
        files: task.yaml and the sweep.
        why: what was found and why it was taken for that, in sentences.
    """

    files: tuple[Path, Path]
    why: tuple[str, ...]


def make(
    name: str,
    data: Path,
    kind: str | None = None,
    format_name: str | None = None,
    fields: Mapping[str, str] | None = None,
    force: bool = False,
) -> Made:
    """Writes tasks/NAME/task.yaml and sweeps/NAME.yaml in the working folder.

    Args:
        name: of the task.
        data: a file, or a folder of splits.
        kind: one of `harness.kinds.KINDS`, where it should not be guessed.
        format_name: one of `harness.formats.FORMATS`, the same.
        fields: columns by task.yaml's names for them, the same.
        force: write over files that are there.

    Raises:
        UserError: a name is wrong, the files are there already, or the data cannot be told.
    """
    folder, sweep = Path("tasks") / name, Path("sweeps") / f"{name}.yaml"
    if not _NAME.fullmatch(name):
        raise UserError(f"{name}: a task's name has letters, digits, _ and - only")
    if kind is not None and kind not in KINDS:
        raise UserError(f"--kind {kind}: unknown kind; {did_you_mean(kind, KINDS.names())}")
    for file in (folder / "task.yaml", sweep):
        if file.exists() and not force:
            raise UserError(f"{file}: is there already; --force writes over it")
    found = find(data, format_name)
    chosen = _guess(found, kind, fields or {})
    whole = set(found.names) == set(task.SPLITS)
    place = _seen_from(folder, found.folder)
    source = Source(str(data), place, found.format, found.splits, found.options, whole)
    made = _loaded(name, source, found, chosen)
    twice = leaks({split: made.rows(split) for split in task.SPLITS})
    if twice:
        source = source._replace(leaks=len(twice))
        made = _loaded(name, source, found, chosen)
    lengths = _lengths(made, chosen)
    texts = (task_text(name, source, chosen, lengths), sweep_text(name, chosen, lengths))
    for file, text in zip((folder / "task.yaml", sweep), texts, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    counts = ", ".join(f"{len(made.rows(split)):,} {split}" for split in task.SPLITS)
    why = (*found.why, *chosen.why, f"rows: {counts}", *made.notes)
    return Made((folder / "task.yaml", sweep), why)


def _guess(found: Found, kind: str | None, fields: Mapping[str, str]) -> Guess:
    reader = FORMATS.get(found.format)
    if isinstance(reader, Recorded):
        records = list(reader.records(found.train))
        if not records:
            raise UserError(f"{found.train}: no rows")
        return guess(columns(records), len(records), kind, fields)
    if fields:
        raise UserError(f"--field: format {found.format} has no columns to name")
    why = f"{kind or 'entities'}, for {found.format} holds texts with entities"
    return Guess(kind or "entities", {}, None, None, False, (why,))


def _loaded(name: str, source: Source, found: Found, chosen: Guess) -> task.Task:
    """The task, as it would be read; every fault of the data comes up here."""
    text = task_text(name, source._replace(folder=str(found.folder)), chosen, Lengths())
    with tempfile.TemporaryDirectory() as place:
        draft = Path(place) / name
        draft.mkdir()
        (draft / "task.yaml").write_text(text, encoding="utf-8")
        try:
            return task.load(str(draft))
        except UserError as fault:
            # what the draft says is what the user would have to say
            raise UserError(str(fault).replace(str(draft), f"tasks/{name}")) from None


def _lengths(made: task.Task, chosen: Guess) -> Lengths:
    """Taken down of the training examples."""
    examples = made.examples("train")
    if chosen.kind == "text":
        return Lengths(rows=len(examples))
    answers = [one.target for one in examples]
    whole = [len(made.prompt(one)) + len(one.target) for one in examples]
    return Lengths(
        _nearly_longest([len(text) for text in answers]),
        _nearly_longest(whole),
        len(examples),
        sum(len(text.split()) for text in answers) / len(answers),
        all(_NUMBER.search(text) for text in answers),
    )


def _nearly_longest(numbers: Sequence[int]) -> int:
    """All but one in a hundred are at most this."""
    return sorted(numbers)[max(0, -(-99 * len(numbers) // 100) - 1)]


def _seen_from(folder: Path, data: Path) -> str:
    """The data's folder as seen from the task's, where both lie under the working folder."""
    here = Path.cwd()
    if data.is_relative_to(here):
        return Path(os.path.relpath(data, here / folder)).as_posix()
    return str(data)
