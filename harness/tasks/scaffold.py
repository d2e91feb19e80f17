"""The text of a task.yaml and of its sweep, with comments; knows nothing of the data itself.

Makes a task and a sweep from data: finds, guesses, loads the task once, then writes.

Nothing is written before the task could be loaded, and no row is copied.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.data.parsing import Recorded
from harness.data.rows import FORMATS, leaks
from harness.errors import UserError, did_you_mean
from harness.tasks import task
from harness.tasks.infer import DataSource, InferredTask, columns, find_data, infer_task
from harness.tasks.types import TASK_TYPES

if TYPE_CHECKING:
    from harness.tasks.infer import Column


#: An input of more words stands on lines of its own.
_LONG: Final = 60


class Lengths(NamedTuple):
    """What is taken down of a task's examples.

    Attributes:
        answer: characters of the longest answers, all but one in a hundred.
        whole: the same of prompt and answer together.
        rows: training rows.
        words: mean number of words of an answer.
        numbered: whether all answers end in a line such as `#### 72`.
    """

    answer: int = 0
    whole: int = 0
    rows: int = 0
    words: float = 0.0
    numbered: bool = False


class Source(NamedTuple):
    """What `data` says in task.yaml.

    Attributes:
        given: what the user gave with --data.
        folder: where the splits lie, seen from the task's folder.
        format: key of `harness.data.FORMATS`.
        splits: what the files call the splits, where not as usual.
        options: those of the format.
        whole: whether all three splits are there.
        leaks: rows whose input also stands in another split.
    """

    given: str
    folder: str
    format: str
    splits: Mapping[str, str]
    options: Mapping[str, Any]
    whole: bool
    leaks: int = 0


class Measured(NamedTuple):
    """Metrics by kind, the objective first, with a margin and what it means."""

    metrics: tuple[str, ...]
    direction: str
    margin: float
    told: str


def measured(kind: str, lengths: Lengths) -> Measured:
    """What a task of a kind is scored by."""
    if kind == "entities":
        return Measured(("entity_f1",), "maximize", 0.02, "2 points of F1")
    if kind == "choice":
        return Measured(("accuracy", "class_f1"), "maximize", 0.01, "1 point of accuracy")
    if kind == "text":
        metrics = ("bits_per_byte", "word_perplexity", "perplexity")
        return Measured(metrics, "minimize", 0.005, "about 2 % of perplexity by word")
    if lengths.numbered:
        return Measured(("number_match",), "maximize", 0.02, "2 of 100 numbers")
    if lengths.words <= 4:
        return Measured(("exact_match", "rougeL"), "maximize", 0.02, "2 of 100 answers")
    return Measured(("rougeL", "rouge1", "rouge2"), "maximize", 0.01, "1 point of ROUGE-L")


def task_text(name: str, source: Source, guess: InferredTask, lengths: Lengths) -> str:
    """A task.yaml.

    Args:
        name: of the task.
        source: where the rows are.
        guess: kind and fields.
        lengths: of the examples, as far as known.
    """
    chosen = measured(guess.kind, lengths)
    lines = [
        f"# Made by: python -m harness init {name} --data {_plain(source.given)}",
        "# What each key may say stands in docs/tasks.md. The rows stay where they are.",
        f"name: {name}",
        f"summary: {_quoted(_summary(guess, source))}",
        "public: false # true, if anybody may see its rows: reports show some of them",
        f"kind: {guess.kind} # {_plain(guess.why[0].partition(', ')[2]) or 'as its format says'}",
    ]
    if guess.kind in {"entities", "choice"}:
        lines.append("labels: auto # those of the training rows")
    lines += ["", "data:", f"  folder: {_quoted(source.folder)}", f"  format: {source.format}"]
    if source.options:
        lines.append(f"  options: {_mapping(source.options)}")
    if source.splits:
        lines.append(f"  splits: {_mapping(source.splits)} # what the files call them")
    if guess.kind == "entities" and not source.whole:
        lines.append("  split: {stratify: true} # so that each label stays in training")
    if source.leaks:
        told = "row stands" if source.leaks == 1 else "rows stand"
        lines.append(f"  leaks: drop # {source.leaks} {told} in two splits, and leave the earlier")
    if guess.fields:
        lines.append(f"fields: {_mapping(guess.fields)} # what the files call them")
    lines += ["", *_asked(guess, lengths), ""]
    lines += [
        f"metrics: [{', '.join(chosen.metrics)}]",
        "objective:",
        f"  metric: {chosen.metrics[0]}",
        f"  direction: {chosen.direction}",
        "  # Yours to choose, before you look at a score: differences of at most this much do not",
        f"  # matter to you. Here: {chosen.told}.",
        f"  margin: {chosen.margin}",
    ]
    return "\n".join(lines) + "\n"


def _asked(guess: InferredTask, lengths: Lengths) -> list[str]:
    """Prompt, and what belongs to it."""
    if guess.kind == "text":
        return [
            "# Texts longer than a window are scored in overlapping ones, each token once.",
            "window: {length: 1024, stride: 512}",
        ]
    lines = [
        "# The model goes on from the end of the prompt. It is learnt with the answers, so that",
        "# short is better than polite.",
        f"prompt: {_quoted(prompt(guess))}",
        "truncate: left # the side of the input that is cut where an example is too long",
    ]
    if guess.kind == "choice":
        return [*lines, "answers: likelihood # the likeliest class; generation: the one it writes"]
    if guess.kind == "entities":
        lines.append("# target.names gives labels short names, which makes answers short:")
        lines.append("# target: {names: {SOME_LONG_LABEL: SLL}}")
    longest = f" # 99 of 100 answers have at most {lengths.answer} characters"
    return [*lines, f"max_new_tokens: {new_tokens(lengths)}{longest}"]


def prompt(guess: InferredTask) -> str:
    """A prompt of the columns' own names."""
    if guess.kind == "entities":
        return "Text: {text}\n"
    asked, answer = _title(guess.input, "Input"), _title(guess.output, "Output")
    column = guess.input
    long = column is not None and (column.lines or column.words > _LONG)
    middle = "\n{input}\n" if long else " {input}\n"
    before = "{instruction}\n" if guess.instructed else ""
    return f"{before}{asked}:{middle}{answer}:"


def new_tokens(lengths: Lengths) -> int:
    """Tokens of an answer, by its characters: two and a half a token, as in small vocabularies."""
    return max(16, _rounded(lengths.answer / 2.5, 16))


def max_length(lengths: Lengths) -> int:
    """Tokens of a training example, within what most small models were made for."""
    return min(1024, max(96, _rounded(lengths.whole / 2.2, 32)))


def sweep_text(name: str, guess: InferredTask, lengths: Lengths) -> str:
    """A sweep of the task, of moderate size, with a quick preset."""
    epochs = 4 if lengths.rows < 500 else 3 if lengths.rows < 3000 else 2
    length = 512 if guess.kind == "text" else max_length(lengths)
    texts = guess.kind == "text"
    # A choice is made by running all its classes after each prompt.
    classes = guess.output.values if guess.kind == "choice" and guess.output else 0
    return _SWEEP.format(
        name=name,
        epochs=epochs,
        steps=f"{max(1, round(epochs * lengths.rows / 8)):,} steps",
        length=length,
        packing="true " if texts else "false",
        micro=4 if length > 384 else 8,
        score=32 if classes < 2 else min(512, _rounded(4 * classes, 32)),
        shots="[0]" if texts or classes > 20 else "[0, 2]" if length > 512 else "[0, 5]",
    )


def _rounded(value: float, step: int) -> int:
    return int(-(-value // step) * step)


def _summary(guess: InferredTask, source: Source) -> str:
    place = re.split(r"[\\/]", source.given.rstrip("\\/"))[-1]
    if guess.output is not None and guess.input is not None:
        return f"{guess.kind}: from {guess.input.name} to {guess.output.name}, of {place}"
    return f"{guess.kind}, of {place}"


def _title(column: Column | None, other: str) -> str:
    name = "" if column is None else " ".join(column.name.replace("_", " ").split())
    return name[:1].upper() + name[1:] if re.fullmatch(r"[A-Za-z][A-Za-z ]*", name) else other


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _mapping(values: Mapping[str, Any]) -> str:
    inside = ", ".join(f"{key}: {_quoted(value)}" for key, value in values.items())
    return f"{{{inside}}}"


def _plain(text: str) -> str:
    """Text for a comment: one line."""
    return " ".join(text.split())


_SWEEP: Final = """\
# Made by `python -m harness init`; docs/configuration.md explains every key.
task: {name}
summary: which LoRA settings are best on {name}?
seed: 0
model:
  name: builtin:tiny        # runs anywhere; for a real answer give --model a folder or a hub id
  dtype: float32
space:
  variant: [lora, rslora, dora]
  rank: [4, 8, 16, 32]
  alpha_ratio: [1, 2]                    # alpha = alpha_ratio * rank
  target_modules: [qv, attention, all_linear]
  dropout: [0.0, 0.05]
  learning_rate: {{low: 1.0e-4, high: 1.0e-2, log: true}}
training:
  epochs: {epochs}                              # {steps}
  batch_size: 8
  micro_batch_size: {micro}                    # examples at once in memory
  max_length: {length:<4}                       # tokens of prompt and answer; prompts are cut, answers never
  packing: {packing}                         # language modelling: texts share rows of that length
  warmup: 0.05
  schedule: cosine
  floor: 0.05
  readings: 3                            # on validation, for the pruner
  reading_examples: 64
  score_batch_size: {score}
search:
  trials: 16
  sampler: tpe
  startup: 6                             # at random before TPE
  pruner: median
ablation:
  factors:                               # cells are taken in this order, up to max_cells
    rank: [4, 16, 32]
    target_modules: [qv, attention, all_linear]
    variant: [lora, rslora, dora]
  rates: 3                               # learning rates tried at each cell
  seeds: 3                               # fresh ones, at the best rate
  max_cells: 8
confirmation:
  looks: [5]                             # seeds of each finalist, each scored on test once
  max_configurations: 3
baselines:
  shots: {shots}                          # worked examples before a prompt of the bare base
  full: true                             # all weights, tuned like the adapters
presets:
  quick:
    search: {{trials: 4, startup: 2}}
    space: {{variant: [lora], rank: [8, 32], alpha_ratio: [2], dropout: [0.0]}}
    ablation:
      {{factors: {{rank: [8, 32], target_modules: [qv, all_linear]}}, max_cells: 4, rates: 2, seeds: 2}}
    confirmation: {{looks: [3], max_configurations: 2}}
    baselines: {{shots: [0], full: false}}
"""  # noqa: E501 - the YAML's own lines


_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_NUMBER: Final = re.compile(r"\n?#### *[-+$]?[\d.,]+\s*$")


class ScaffoldResult(NamedTuple):
    """What was written.

    Attributes:
        files: task.yaml and the sweep.
        why: what was found and why it was taken for that, in sentences.
    """

    files: tuple[Path, Path]
    why: tuple[str, ...]


def create_task(
    name: str,
    data: Path,
    kind: str | None = None,
    format_name: str | None = None,
    fields: Mapping[str, str] | None = None,
    force: bool = False,
) -> ScaffoldResult:
    """Writes tasks/NAME/task.yaml and sweeps/NAME.yaml in the working folder.

    Args:
        name: of the task.
        data: a file, or a folder of splits.
        kind: one of `harness.tasks.KINDS`, where it should not be guessed.
        format_name: one of `harness.data.FORMATS`, the same.
        fields: columns by task.yaml's names for them, the same.
        force: write over files that are there.

    Raises:
        UserError: a name is wrong, the files are there already, or the data cannot be told.
    """
    folder, sweep = Path("tasks") / name, Path("sweeps") / f"{name}.yaml"
    if not _NAME.fullmatch(name):
        raise UserError(f"{name}: a task's name has letters, digits, _ and - only")
    if kind is not None and kind not in TASK_TYPES:
        raise UserError(f"--kind {kind}: unknown kind; {did_you_mean(kind, TASK_TYPES.names())}")
    for file in (folder / "task.yaml", sweep):
        if file.exists() and not force:
            raise UserError(f"{file}: is there already; --force writes over it")
    found = find_data(data, format_name)
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
    return ScaffoldResult((folder / "task.yaml", sweep), why)


def _guess(found: DataSource, kind: str | None, fields: Mapping[str, str]) -> InferredTask:
    reader = FORMATS.get(found.format)
    if isinstance(reader, Recorded):
        records = list(reader.records(found.train))
        if not records:
            raise UserError(f"{found.train}: no rows")
        return infer_task(columns(records), len(records), kind, fields)
    if fields:
        raise UserError(f"--field: format {found.format} has no columns to name")
    why = f"{kind or 'entities'}, for {found.format} holds texts with entities"
    return InferredTask(kind or "entities", {}, None, None, False, (why,))


def _loaded(name: str, source: Source, found: DataSource, chosen: InferredTask) -> task.Task:
    """The task, as it would be read; every fault of the data comes up here."""
    text = task_text(name, source._replace(folder=str(found.folder)), chosen, Lengths())
    with tempfile.TemporaryDirectory() as place:
        draft = Path(place) / name
        draft.mkdir()
        (draft / "task.yaml").write_text(text, encoding="utf-8")
        try:
            return task.load_task(str(draft))
        except UserError as fault:
            # what the draft says is what the user would have to say
            raise UserError(str(fault).replace(str(draft), f"tasks/{name}")) from None


def _lengths(made: task.Task, chosen: InferredTask) -> Lengths:
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
