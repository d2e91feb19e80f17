"""`init`: infers format, task type and fields from a user's files, with reasons in words.

Goes by the names of files and columns and by their content; raises an error that names the option
to give where these do not decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.data import discovery
from harness.data.brat import BratOptions
from harness.data.rows import FORMATS, RowSpec
from harness.errors import UserError, did_you_mean

#: A longer value is a text, not a class.
_CLASS_LENGTH: Final = 60
#: More different values are not classes.
_CLASSES: Final = 300
#: Mean number of rows of a class, at least.
_ROWS_A_CLASS: Final = 3


@dataclass(frozen=True)
class Column:
    """One column of a table of records.

    Attributes:
        name: as the file has it.
        holds: `text`, `number`, `words` (a list of texts), `spans` (a list of objects with start,
            end and label), or `other`.
        rows: number of records that have it.
        empty: number of these in which it is empty.
        values: number of different values; 0 unless they are texts or numbers.
        rarest: number of records with the rarest value.
        words: mean number of words of a text.
        longest: characters of the longest text.
        multiline: whether a text has several lines.
    """

    name: str
    holds: str
    rows: int
    empty: int = 0
    values: int = 0
    rarest: int = 0
    words: float = 0.0
    longest: int = 0
    multiline: bool = False

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
            and not self.multiline
        )


def describe_columns(records: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """The columns of records, in order of first occurrence."""
    values_by_name: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.items():
            values_by_name.setdefault(str(name), []).append(value)
    return tuple(_describe_column(name, values) for name, values in values_by_name.items())


def _describe_column(name: str, values: list[Any]) -> Column:
    full = [value for value in values if value is not None and value != "" and value != []]
    types = {_value_type(value) for value in full}
    holds = types.pop() if len(types) == 1 else "other"
    column = Column(name, holds, len(values), empty=len(values) - len(full))
    if holds not in {"text", "number"}:
        return column
    counts = Counter(full)
    column = replace(column, values=len(counts), rarest=min(counts.values()))
    if holds == "number":
        return column
    return replace(
        column,
        words=sum(len(text.split()) for text in full) / len(full),
        longest=max(map(len, full)),
        multiline=any("\n" in text.strip() for text in full),
    )


def _value_type(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    if isinstance(value, list | tuple):
        if all(isinstance(item, str) for item in value):
            return "words"
        keys = {"start", "end", "label"}
        if all(isinstance(item, dict) and keys <= item.keys() for item in value):
            return "spans"
    return "other"


#: Usual names of inputs and outputs; no name is in both lists.
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
    """A task as inferred from its columns.

    Attributes:
        task_type: key of `TASK_TYPES`.
        fields: as in task.yaml, only names that differ from the usual ones.
        input: the input's column; None where the format has no columns.
        output: the output's column, if there is one.
        instructed: whether rows have different instructions.
        reasons: sentences for the user.
    """

    task_type: str
    fields: Mapping[str, str]
    input: Column | None
    output: Column | None
    instructed: bool
    reasons: tuple[str, ...]


def infer_task(
    columns: Sequence[Column], rows: int, task_type: str | None, fields: Mapping[str, str]
) -> InferredTask:
    """Infers task type and fields from the columns of the training records.

    A task type, and columns by task.yaml's names for them, may be given by the user.

    Raises:
        UserError: a column does not exist, or the columns do not decide.
    """
    by_name = {column.name: column for column in columns}
    for key, name in fields.items():
        if name not in by_name:
            raise UserError(f"--field {key}={name}: no such column; {did_you_mean(name, by_name)}")
    inferred = _infer_entities(by_name, fields) if task_type in (None, "entities") else None
    if inferred is None and task_type == "entities":
        raise UserError(
            f"--kind entities: no column of {_column_names(columns)} holds entities (lists of "
            "start, end, label); --field entities=COLUMN, or --field tokens=COLUMN and --field "
            "tags=COLUMN, name them"
        )
    return inferred or _infer_from_texts(columns, rows, task_type, fields)


def _infer_entities(
    by_name: Mapping[str, Column], fields: Mapping[str, str]
) -> InferredTask | None:
    """A task of type entities, if a column holds some."""
    spans = [column.name for column in by_name.values() if column.holds == "spans"]
    column = fields.get("entities", spans[0] if spans else None)
    if column is not None:
        identity = _id_column(tuple(by_name.values()), fields)
        texts = [c for c in by_name.values() if c.holds == "text" and c is not identity]
        text = _find_column(texts, fields.get("text"), "text", INPUTS)
        if text is None and len(texts) == 1:
            text = texts[0]
        if text is None:
            raise UserError(
                f"column '{column}' holds entities, but it is unclear which of "
                f"{_column_names(by_name.values())} is the text; say --field text=COLUMN"
            )
        why = f"entities, for `{column}` holds lists of start, end and label"
        detected = {"entities": column, "text": text.name}
        return InferredTask(
            "entities", _renamed_fields(fields, detected), text, None, False, (why,)
        )
    tokens = by_name.get(fields.get("tokens", "tokens"))
    tagged = [name for name in by_name if "tag" in name.casefold() and by_name[name] != tokens]
    tags = fields.get("tags", tagged[0] if tagged else None)
    if tokens is None or tags is None or tokens.holds != "words":
        return None
    if by_name[tags].holds != "words":
        raise UserError(
            f"column '{tags}' does not hold lists of words; tags are names such as B-Disease"
        )
    why = f"entities, for `{tokens.name}` holds lists of words and `{tags}` their tags"
    detected = {"tokens": tokens.name, "tags": tags}
    return InferredTask("entities", _renamed_fields(fields, detected), tokens, None, False, (why,))


def _infer_from_texts(
    columns: Sequence[Column], rows: int, task_type: str | None, fields: Mapping[str, str]
) -> InferredTask:
    by_name = {column.name: column for column in columns}
    identity = _id_column(columns, fields)
    instruction = by_name.get(fields.get("instruction", _INSTRUCTION))
    texts = [c for c in columns if c.holds == "text" and c.values > 1 and c is not identity]
    others = [column for column in texts if column is not instruction]
    if len(others) > 1 or (task_type == "text" and others):
        texts = others  # otherwise the instruction is the input
    source, answer = _input_and_output(columns, texts, task_type, fields)
    roles = {} if identity is None else {"id": identity.name}
    if answer is None:
        inferred_type = "text"
        roles["text"] = source.name
    else:
        inferred_type = task_type or ("choice" if answer.classes else "pairs")
        roles |= {"input": source.name, "output": answer.name}
    reasons = _reasons(inferred_type, source, answer, rows)
    if answer is not None:
        used = (source, answer, instruction)
        reasons += _unused_columns([column for column in texts if column not in used])
    instructed = instruction is not None and instruction is not source and instruction.values > 1
    if instruction is not None and instruction is not source and not instructed:
        reasons += (
            f"`{instruction.name}` is the same in every row and is not part of the prompt",
        )
    extra = {key: name for key, name in fields.items() if key == _INSTRUCTION}
    return InferredTask(
        inferred_type, _renamed_fields(extra, roles), source, answer, instructed, reasons
    )


def _id_column(columns: Sequence[Column], fields: Mapping[str, str]) -> Column | None:
    if "id" in fields:
        return next(column for column in columns if column.name == fields["id"])
    usual = (column for column in columns if column.name.casefold() in _IDS and column.unique)
    return next(usual, None)


def _input_and_output(
    columns: Sequence[Column],
    texts: Sequence[Column],
    task_type: str | None,
    fields: Mapping[str, str],
) -> tuple[Column, Column | None]:
    """The column of the input, and that of the output if there is one."""
    if not texts:
        raise UserError(
            f"no column of {_column_names(columns)} holds texts that differ between rows"
        )
    single = task_type == "text" or (task_type is None and len(texts) == 1)
    requested = fields.get("input", fields.get("text"))
    source = _find_column(texts, requested, "text" if single else "input", INPUTS)
    if single:
        _refuse_numbers(columns, task_type)
        source = texts[0] if len(texts) == 1 else source
        if source is None:
            raise _undecided(texts, "text")
        return source, None
    others = [column for column in texts if column is not source]
    answer = _find_column(others, fields.get("output"), "output", OUTPUTS)
    rest = [column for column in texts if column not in (source, answer)]
    long = [column for column in rest if not column.classes]
    if source is None and len(long) == 1:
        source = long[0]
        rest.remove(source)
    elif source is None and answer is not None and len(rest) == 1:
        source = rest.pop()
    if source is not None and answer is None:
        remaining = rest if len(rest) == 1 else [column for column in rest if not column.classes]
        answer = remaining[0] if len(remaining) == 1 else None
    if source is None or answer is None:
        missing = {"input": source, "output": answer}
        raise _undecided(texts, *(key for key, column in missing.items() if column is None))
    return source, answer


def _refuse_numbers(columns: Sequence[Column], task_type: str | None) -> None:
    """Refuses numeric classes instead of ignoring their column; answers have to be texts."""
    for column in columns:
        if task_type is None and column.name.casefold() in OUTPUTS and column.holds == "number":
            raise UserError(
                f"column '{column.name}' holds numbers ({column.values} different ones); write "
                "their meaning as text, or say --kind text to ignore the column"
            )


def _find_column(
    columns: Sequence[Column], requested: str | None, key: str, usual: Sequence[str]
) -> Column | None:
    """The column that the user names, or the one named like the key, or the only usual one."""
    by_name = {column.name: column for column in columns}
    if requested is not None or key in by_name:
        return by_name.get(key if requested is None else requested)
    matches = [column for column in columns if column.name.casefold() in usual]
    return matches[0] if len(matches) == 1 else None


def _reasons(task_type: str, source: Column, answer: Column | None, rows: int) -> tuple[str, ...]:
    if answer is None:
        return (f"text, for `{source.name}` is the only column used: language modelling",)
    values = f"{answer.values:,} different values in {rows:,} rows"
    if task_type == "choice":
        minimum = f", each at least {answer.rarest} times" if answer.rarest > 1 else ""
        first = f"choice, for column `{answer.name}` has {values}{minimum}"
    else:
        mean = f"{answer.words:.0f} words on average"
        first = f"pairs, for column `{answer.name}` has {values}, of {mean}"
    return (first, f"`{source.name}` is the input, of {source.words:.0f} words on average")


def _unused_columns(columns: Sequence[Column]) -> tuple[str, ...]:
    """Reports text columns that are neither input nor output."""
    if not columns:
        return ()
    names = " and ".join(f"`{column.name}`" for column in columns)
    if len(columns) > 1:
        return (f"{names} are not used; --field output=COLUMN makes one the output",)
    return (f"{names} is not used; --field output={columns[0].name} makes it the output",)


def _renamed_fields(requested: Mapping[str, str], detected: Mapping[str, str]) -> dict[str, str]:
    """The fields that task.yaml has to name: those with other names than the usual ones."""
    usual = {"tags": "ner_tags"}
    names = {**detected, **requested}
    return {key: name for key, name in names.items() if name != usual.get(key, key)}


def _undecided(columns: Sequence[Column], *keys: str) -> UserError:
    roles = " and which ".join(f"is the {key}" for key in keys)
    options = " ".join(f"--field {key}=COLUMN" for key in keys)
    return UserError(
        f"it is unclear which column of {_column_names(columns)} {roles}; say {options}"
    )


def _column_names(columns: Iterable[Column]) -> str:
    return ", ".join(column.name for column in columns)


#: Documents of more words are read line by line, if their lines are short.
_LONG: Final = 150


class DataSource(NamedTuple):
    """A user's data, as task.yaml describes them.

    Attributes:
        format: key of `harness.data.FORMATS`.
        folder: of the splits.
        names: of the files or folders of the splits that exist.
        train: path of the training split.
        options: for `data.options`.
        reasons: sentences for the user.
    """

    format: str
    folder: Path
    names: dict[str, str]
    train: Path
    options: dict[str, Any]
    reasons: tuple[str, ...]

    @property
    def splits(self) -> dict[str, str]:
        """For `data.splits`: names other than the usual ones."""
        return {split: name for split, name in self.names.items() if split != name}


def find_data(path: Path, format_name: str | None) -> DataSource:
    """Finds the splits at a path: one file, one split, or a folder of splits.

    Raises:
        UserError: the path does not exist, or its format or splits are unclear.
    """
    if format_name is not None and format_name not in FORMATS:
        raise UserError(
            f"--format {format_name}: unknown; {did_you_mean(format_name, FORMATS.names())}"
        )
    if not path.exists():
        raise UserError(f"--data {path}: no such file or folder")
    is_split = path.is_file() or discovery.detect_format(path) is not None
    layout = _single_split(path, format_name) if is_split else _folder_splits(path, format_name)
    folder = path.resolve().parent if is_split else path.resolve()
    train = discovery.split_path(FORMATS.get(layout.format), folder, layout.names["train"])
    if train is None:
        suffixes = ", ".join(FORMATS.get(layout.format).suffixes)
        message = f"format {layout.format} is read from files that end in {suffixes}"
        raise UserError(f"{path}: {message}")
    options, why_options = _format_options(layout.format, train)
    why = [f"{path}: {layout.format}", *why_options]
    if layout.unused:
        why.append(f"not used: {', '.join(layout.unused)}")
    return DataSource(layout.format, folder, dict(layout.names), train, options, tuple(why))


def _single_split(path: Path, format_name: str | None) -> discovery.FolderLayout:
    """A single split, unless other files of its folder are named as splits of the same data."""
    detected = format_name or discovery.detect_format(path)
    if detected is None:
        raise UserError(
            f"{path}: neither its name nor its first lines show its format; say --format "
            f"{'|'.join(FORMATS.names())}"
        )
    stem = path.stem if path.is_file() else path.name
    for layout in discovery.inspect_folder(path.resolve().parent):
        if layout.format == detected and layout.names["train"] == stem:
            return layout
    return discovery.FolderLayout(detected, {"train": stem})


def _folder_splits(path: Path, format_name: str | None) -> discovery.FolderLayout:
    layouts = [
        layout for layout in discovery.inspect_folder(path) if format_name in (None, layout.format)
    ]
    if len(layouts) == 1:
        return layouts[0]
    if layouts:
        formats = "|".join(layout.format for layout in layouts)
        raise UserError(f"{path}: has training files of several formats; say --format {formats}")
    names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    listing = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    raise UserError(
        f"{path}: no readable training split ({listing or 'it is empty'}); name a file "
        "train, or give one file with --data"
    )


def _format_options(name: str, train: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Reads BRAT line by line if documents are long and no entity crosses a line's end."""
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
    reason = f"a row is a line of a document, since documents have {mean:.0f} words on average"
    return {"passages": "line"}, (reason,)
