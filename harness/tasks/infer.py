"""From columns to a kind of task and its fields, with the reasons in plain words.

Goes by what columns are called and by what they hold; where that does not decide it, asks.

What the columns of a user's records hold: texts, classes, numbers, tokens, entities.

Counts; knows nothing of tasks.

From a path that a user gives to its format and its splits.

Knows what lies in a folder, nothing of what the rows are for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.data import discovery
from harness.data.brat import BratOptions
from harness.data.rows import FORMATS, RowSpec
from harness.errors import UserError, did_you_mean

#: A class has so many characters at most; more are a text.
_CLASS_LENGTH: Final = 60
#: So many different values at most are classes.
_CLASSES: Final = 300
#: Each class stands in so many rows at least, all in all.
_ROWS_A_CLASS: Final = 3


@dataclass(frozen=True)
class Column:
    """One column of a table of records.

    Attributes:
        name: as the file has it.
        holds: `text`, `number`, `words` (a list of texts), `spans` (a list of objects with start,
            end and label), or `other`.
        rows: in how many records it stands.
        empty: in how many of them there is nothing.
        values: how many different ones there are; 0 unless they are texts or numbers.
        rarest: in how many records the rarest value stands.
        words: mean number of words of a text.
        longest: characters of the longest.
        lines: whether a text has several lines.
    """

    name: str
    holds: str
    rows: int
    empty: int = 0
    values: int = 0
    rarest: int = 0
    words: float = 0.0
    longest: int = 0
    lines: bool = False

    @property
    def unique(self) -> bool:
        """Whether no two records have the same value."""
        return self.rows > 1 and self.values == self.rows

    @property
    def classes(self) -> bool:
        """Whether the values look like classes: few, short, each several times."""
        return (
            self.holds == "text"
            and 2 <= self.values <= min(_CLASSES, self.rows // _ROWS_A_CLASS)
            and self.longest <= _CLASS_LENGTH
            and not self.lines
        )


def columns(records: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """The columns of records, in the order in which they come up."""
    found: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.items():
            found.setdefault(str(name), []).append(value)
    return tuple(_column(name, values) for name, values in found.items())


def _column(name: str, values: list[Any]) -> Column:
    full = [value for value in values if value is not None and value != "" and value != []]
    holds = _holds(full)
    empty = len(values) - len(full)
    if holds not in {"text", "number"}:
        return Column(name, holds, len(values), empty)
    counts = Counter(full)
    rarest = min(counts.values(), default=0)
    if holds == "number":
        return Column(name, holds, len(values), empty, len(counts), rarest)
    return Column(
        name,
        holds,
        len(values),
        empty,
        len(counts),
        rarest,
        sum(len(text.split()) for text in full) / max(1, len(full)),
        max((len(text) for text in full), default=0),
        any("\n" in text.strip() for text in full),
    )


def _holds(values: Iterable[Any]) -> str:
    kinds = {_kind(value) for value in values}
    return kinds.pop() if len(kinds) == 1 else "other"


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    if isinstance(value, list | tuple):
        if all(isinstance(one, str) for one in value):
            return "words"
        if all(isinstance(one, dict) and {"start", "end", "label"} <= one.keys() for one in value):
            return "spans"
    return "other"


#: What inputs and outputs are often called; a name stands in one list only.
INPUTS: Final = (
    "input", "text", "question", "dialogue", "dialog", "conversation", "message", "sentence",
    "utterance", "document", "article", "passage", "note_text", "query", "prompt", "source",
    "context", "content", "body", "report", "review", "problem",
)  # fmt: skip
OUTPUTS: Final = (
    "output", "answer", "response", "target", "completion", "summary", "note", "reference",
    "label", "labels", "class", "category", "intent", "topic", "sentiment", "solution",
    "translation", "highlights", "headline", "label_text", "reply",
)  # fmt: skip
_IDS: Final = ("id", "_id", "uid", "guid", "idx", "index", "row_id", "doc_id", "document_id")
_INSTRUCTION: Final = "instruction"


class InferredTask(NamedTuple):
    """What a task is taken to be.

    Attributes:
        kind: one of `harness.tasks.KINDS`.
        fields: as in task.yaml, only names that differ from the usual ones.
        input: the input's column; None where the format has no columns.
        output: the output's column, if there is one.
        instructed: whether rows bring instructions that differ.
        why: sentences for the user.
    """

    kind: str
    fields: Mapping[str, str]
    input: Column | None
    output: Column | None
    instructed: bool
    why: tuple[str, ...]


def infer_task(
    columns: Sequence[Column], rows: int, kind: str | None, fields: Mapping[str, str]
) -> InferredTask:
    """What columns make of a task.

    Args:
        columns: of the training records.
        rows: how many records there are.
        kind: what the user says it is, or None.
        fields: what the user says of columns, by the name that task.yaml has for them.

    Raises:
        UserError: a column is not there, or it cannot be told which is which.
    """
    by_name = {column.name: column for column in columns}
    for key, name in fields.items():
        if name not in by_name:
            raise UserError(f"--field {key}={name}: no such column; {did_you_mean(name, by_name)}")
    found = _entities(by_name, fields) if kind in (None, "entities") else None
    if found is None and kind == "entities":
        raise UserError(
            f"--kind entities: no column of {_list(columns)} holds entities (lists of start, end, "
            "label); --field entities=COLUMN, or --field tokens=COLUMN and --field tags=COLUMN, "
            "name them"
        )
    return found or _of_texts(columns, rows, kind, fields)


def _entities(by_name: Mapping[str, Column], fields: Mapping[str, str]) -> InferredTask | None:
    """A task of entities, if a column holds some."""
    spans = [column.name for column in by_name.values() if column.holds == "spans"]
    place = fields.get("entities", spans[0] if spans else None)
    if place is not None:
        identity = _identity(tuple(by_name.values()), fields)
        texts = [one for one in by_name.values() if one.holds == "text" and one is not identity]
        text = _named(texts, fields.get("text"), "text", INPUTS)
        if text is None and len(texts) == 1:
            text = texts[0]
        if text is None:
            raise UserError(
                f"column '{place}' holds entities, but which of {_list(by_name.values())} is the "
                "text cannot be told; say --field text=COLUMN"
            )
        why = f"entities, for `{place}` holds lists of start, end and label"
        found = {"entities": place, "text": text.name}
        return InferredTask("entities", _other_names(fields, found), text, None, False, (why,))
    tokens = by_name.get(fields.get("tokens", "tokens"))
    tagged = [name for name in by_name if "tag" in name.casefold() and by_name[name] != tokens]
    tags = fields.get("tags", tagged[0] if tagged else None)
    if tokens is None or tags is None or tokens.holds != "words":
        return None
    if by_name[tags].holds != "words":
        raise UserError(
            f"column '{tags}' holds no lists of words; tags are written out, such as B-Disease"
        )
    why = f"entities, for `{tokens.name}` holds lists of words and `{tags}` their tags"
    found = {"tokens": tokens.name, "tags": tags}
    return InferredTask("entities", _other_names(fields, found), tokens, None, False, (why,))


def _of_texts(
    columns: Sequence[Column], rows: int, kind: str | None, fields: Mapping[str, str]
) -> InferredTask:
    by_name = {column.name: column for column in columns}
    identity = _identity(columns, fields)
    instruction = by_name.get(fields.get("instruction", _INSTRUCTION))
    texts = [
        column
        for column in columns
        if column.holds == "text" and column.values > 1 and column is not identity
    ]
    aside = [column for column in texts if column is not instruction]
    if len(aside) > 1 or (kind == "text" and aside):
        texts = aside  # else the instruction is the input
    source, answer = _roles(columns, texts, kind, fields)
    found = {} if identity is None else {"id": identity.name}
    if answer is None:
        chosen = "text"
        found["text"] = source.name
    else:
        chosen = kind or ("choice" if answer.classes else "pairs")
        found |= {"input": source.name, "output": answer.name}
    told = _why(chosen, source, answer, rows)
    if answer is not None:
        told += _left([one for one in texts if one not in (source, answer, instruction)])
    varied = instruction is not None and instruction is not source and instruction.values > 1
    if instruction is not None and instruction is not source and not varied:
        told += (f"`{instruction.name}` says the same in every row and stays out of the prompt",)
    more = {key: name for key, name in fields.items() if key == _INSTRUCTION}
    return InferredTask(chosen, _other_names(more, found), source, answer, varied, told)


def _identity(columns: Sequence[Column], fields: Mapping[str, str]) -> Column | None:
    if "id" in fields:
        return next(column for column in columns if column.name == fields["id"])
    usual = (column for column in columns if column.name.casefold() in _IDS and column.unique)
    return next(usual, None)


def _roles(
    columns: Sequence[Column],
    texts: Sequence[Column],
    kind: str | None,
    fields: Mapping[str, str],
) -> tuple[Column, Column | None]:
    """Which column is the input and which the output, if there is one."""
    if not texts:
        raise UserError(f"no column of {_list(columns)} holds texts that differ from row to row")
    alone = kind == "text" or (kind is None and len(texts) == 1)
    asked = fields.get("input", fields.get("text"))
    source = _named(texts, asked, "text" if alone else "input", INPUTS)
    if alone:
        _refuse_numbers(columns, kind)
        source = texts[0] if len(texts) == 1 else source
        if source is None:
            raise _undecided(texts, "text")
        return source, None
    answer = _named(
        [one for one in texts if one is not source], fields.get("output"), "output", OUTPUTS
    )
    rest = [column for column in texts if column not in (source, answer)]
    long = [column for column in rest if not column.classes]
    if source is None and len(long) == 1:
        source = long[0]
        rest.remove(source)
    elif source is None and answer is not None and len(rest) == 1:
        source = rest.pop()
    if source is not None and answer is None:
        left = rest if len(rest) == 1 else [one for one in rest if not one.classes]
        answer = left[0] if len(left) == 1 else None
    if source is None or answer is None:
        missing = {"input": source, "output": answer}
        raise _undecided(texts, *(key for key, column in missing.items() if column is None))
    return source, answer


def _refuse_numbers(columns: Sequence[Column], kind: str | None) -> None:
    """Classes that are numbers would be overlooked; rows have to have texts."""
    for column in columns:
        if kind is None and column.name.casefold() in OUTPUTS and column.holds == "number":
            raise UserError(
                f"column '{column.name}' holds numbers ({column.values} different ones); write "
                "what they stand for as text, or say --kind text to pass over it"
            )


def _named(
    columns: Sequence[Column], asked: str | None, key: str, usual: Sequence[str]
) -> Column | None:
    """The column that the user names, or the one of the key's name, or the only usual one."""
    by_name = {column.name: column for column in columns}
    if asked is not None or key in by_name:
        return by_name.get(key if asked is None else asked)
    found = [column for column in columns if column.name.casefold() in usual]
    return found[0] if len(found) == 1 else None


def _why(kind: str, source: Column, answer: Column | None, rows: int) -> tuple[str, ...]:
    if answer is None:
        return (f"text, for `{source.name}` is the only column that is read: language modelling",)
    values = f"{answer.values:,} different values in {rows:,} rows"
    if kind == "choice":
        least = f", each at least {answer.rarest} times" if answer.rarest > 1 else ""
        first = f"choice, for column `{answer.name}` has {values}{least}"
    else:
        mean = f"{answer.words:.0f} words on average"
        first = f"pairs, for column `{answer.name}` has {values}, of {mean}"
    return (first, f"`{source.name}` is the input, of {source.words:.0f} words on average")


def _left(columns: Sequence[Column]) -> tuple[str, ...]:
    """What is said of texts that are neither input nor output."""
    if not columns:
        return ()
    names = " and ".join(f"`{column.name}`" for column in columns)
    if len(columns) > 1:
        told = f"{names} are passed over; --field output=COLUMN would make one the output"
        return (told,)
    name = columns[0].name
    return (f"{names} is passed over; --field output={name} would make it the output",)


def _other_names(given: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """What task.yaml has to say: names that are not the usual ones."""
    usual = {"tags": "ner_tags"}
    whole = {**found, **given}
    return {key: name for key, name in whole.items() if name != usual.get(key, key)}


def _undecided(columns: Sequence[Column], *keys: str) -> UserError:
    which = " and which ".join(f"is the {key}" for key in keys)
    options = " ".join(f"--field {key}=COLUMN" for key in keys)
    return UserError(f"which column of {_list(columns)} {which} cannot be told; say {options}")


def _list(columns: Iterable[Column]) -> str:
    return ", ".join(column.name for column in columns)


#: Documents of more words than this are taken line by line, if their lines are short.
_LONG: Final = 150


class DataSource(NamedTuple):
    """Data as task.yaml names them.

    Attributes:
        format: key of `harness.data.FORMATS`.
        folder: where the splits lie.
        names: what files or folders call the splits that are there.
        train: the training split.
        options: for `data.options`.
        why: sentences for the user.
    """

    format: str
    folder: Path
    names: dict[str, str]
    train: Path
    options: dict[str, Any]
    why: tuple[str, ...]

    @property
    def splits(self) -> dict[str, str]:
        """For `data.splits`: names that are not the usual ones."""
        return {split: name for split, name in self.names.items() if split != name}


def find_data(path: Path, chosen: str | None) -> DataSource:
    """What lies at a path: one file, one split, or a folder of splits.

    Args:
        path: as the user gave it.
        chosen: the format that the user names, or None.

    Raises:
        UserError: nothing lies there, or nothing that can be told.
    """
    if chosen is not None and chosen not in FORMATS:
        raise UserError(f"--format {chosen}: unknown; {did_you_mean(chosen, FORMATS.names())}")
    if not path.exists():
        raise UserError(f"--data {path}: no such file or folder")
    alone = path.is_file() or discovery.format_of(path) is not None
    laid = _one(path, chosen) if alone else _folder(path, chosen)
    place = path.resolve().parent if alone else path.resolve()
    train = discovery.path_of(FORMATS.get(laid.format), place, laid.names["train"])
    if train is None:
        suffixes = ", ".join(FORMATS.get(laid.format).suffixes)
        raise UserError(f"{path}: format {laid.format} is read from files that end in {suffixes}")
    options, told = _options(laid.format, train)
    why = [f"{path}: {laid.format}", *told]
    if laid.beside:
        why.append(f"left aside: {', '.join(laid.beside)}")
    return DataSource(laid.format, place, dict(laid.names), train, options, tuple(why))


def _one(path: Path, chosen: str | None) -> discovery.FolderLayout:
    """One split alone, unless those beside it are named as its own splits."""
    name = chosen or discovery.format_of(path)
    if name is None:
        raise UserError(
            f"{path}: neither its name nor its first lines say what it is; say --format "
            f"{'|'.join(FORMATS.names())}"
        )
    stem = path.stem if path.is_file() else path.name
    for laid in discovery.inspect_folder(path.resolve().parent):
        if laid.format == name and laid.names["train"] == stem:
            return laid
    return discovery.FolderLayout(name, {"train": stem})


def _folder(path: Path, chosen: str | None) -> discovery.FolderLayout:
    found = [laid for laid in discovery.inspect_folder(path) if chosen in (None, laid.format)]
    if len(found) == 1:
        return found[0]
    if found:
        formats = "|".join(laid.format for laid in found)
        raise UserError(f"{path}: has training files of several formats; say --format {formats}")
    there = sorted(one.name for one in path.iterdir() if not one.name.startswith("."))
    shown = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "")
    raise UserError(
        f"{path}: no training split that can be read ({shown or 'it is empty'}); name a file "
        "train, or give one file with --data"
    )


def _options(name: str, train: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """BRAT documents line by line where they are long and no entity goes over a line's end."""
    if name != "brat":
        return {}, ()
    reader = FORMATS.get(name)
    try:
        lines = reader.read(train, RowSpec("entities", options=BratOptions(passages="line")))
    except UserError:
        return {}, ()
    words = [len(row.text.split()) for row in lines]
    documents = len({row.document for row in lines})
    mean = sum(words) / documents
    if mean <= _LONG or max(words) > _LONG:
        return {}, ()
    told = f"a row is a line of a document, for documents have {mean:.0f} words on average"
    return {"passages": "line"}, (told,)
