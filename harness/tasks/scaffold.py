"""`init`: writes a commented task.yaml and a sweep for a user's data.

Infers the task, loads it once as a check, then writes; no row is copied.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.data.parsing import RecordFormat
from harness.data.rows import FORMATS, find_leaks
from harness.errors import UserError, did_you_mean
from harness.tasks import task
from harness.tasks.infer import DataSource, InferredTask, describe_columns, find_data, infer_task
from harness.tasks.types import TASK_TYPES

if TYPE_CHECKING:
    from harness.tasks.infer import Column


#: A prompt puts inputs of more words on lines of their own.
_LONG: Final = 60


class ExampleLengths(NamedTuple):
    """Lengths of a task's training examples.

    Attributes:
        answer: characters of an answer, 99th percentile.
        total: characters of prompt and answer together, 99th percentile.
        rows: number of training rows.
        words: mean number of words of an answer.
        numbered: whether all answers end in a line such as `#### 72`.
    """

    answer: int = 0
    total: int = 0
    rows: int = 0
    words: float = 0.0
    numbered: bool = False


class DataSection(NamedTuple):
    """The section `data` of a task.yaml.

    Attributes:
        data_argument: the value of --data.
        folder: of the splits, relative to the task's folder.
        format: key of `harness.data.FORMATS`.
        splits: names of the splits, where not the usual ones.
        options: of the format.
        has_all_splits: whether none has to be made from train.
        leaks: number of rows whose input also occurs in another split.
    """

    data_argument: str
    folder: str
    format: str
    splits: Mapping[str, str]
    options: Mapping[str, Any]
    has_all_splits: bool
    leaks: int = 0


class MetricChoice(NamedTuple):
    """Metrics, the objective first, with a margin and its meaning in words."""

    metrics: tuple[str, ...]
    direction: str
    margin: float
    margin_meaning: str


def choose_metrics(task_type: str, lengths: ExampleLengths) -> MetricChoice:
    """Default metrics and margin of a task type."""
    if task_type == "entities":
        return MetricChoice(("entity_f1",), "maximize", 0.02, "2 points of F1")
    if task_type == "choice":
        return MetricChoice(("accuracy", "class_f1"), "maximize", 0.01, "1 point of accuracy")
    if task_type == "text":
        metrics = ("bits_per_byte", "word_perplexity", "perplexity")
        return MetricChoice(metrics, "minimize", 0.005, "about 2 % of perplexity by word")
    if lengths.numbered:
        return MetricChoice(("number_match",), "maximize", 0.02, "2 of 100 numbers")
    if lengths.words <= 4:
        return MetricChoice(("exact_match", "rougeL"), "maximize", 0.02, "2 of 100 answers")
    return MetricChoice(("rougeL", "rouge1", "rouge2"), "maximize", 0.01, "1 point of ROUGE-L")


def render_task_yaml(
    name: str, source: DataSection, inferred: InferredTask, lengths: ExampleLengths
) -> str:
    """The text of a task.yaml, with comments; lengths are of the examples, as far as known."""
    metrics = choose_metrics(inferred.task_type, lengths)
    reason = _one_line(inferred.reasons[0].partition(", ")[2]) or "by its format"
    lines = [
        f"# Made by: python -m harness init {name} --data {_one_line(source.data_argument)}",
        "# docs/tasks.md explains every key. The rows stay where they are.",
        f"name: {name}",
        f"summary: {_yaml_string(_summary(inferred, source))}",
        "public: false # true if anybody may see the rows: reports show some of them",
        f"kind: {inferred.task_type} # {reason}",
    ]
    if inferred.task_type in {"entities", "choice"}:
        lines.append("labels: auto # from the training rows")
    folder = _yaml_string(source.folder)
    lines += ["", "data:", f"  folder: {folder}", f"  format: {source.format}"]
    if source.options:
        lines.append(f"  options: {_yaml_mapping(source.options)}")
    if source.splits:
        lines.append(f"  splits: {_yaml_mapping(source.splits)} # names in the files")
    if inferred.task_type == "entities" and not source.has_all_splits:
        lines.append("  split: {stratify: true} # keeps each label in the training rows")
    if source.leaks:
        stand = "row stands" if source.leaks == 1 else "rows stand"
        note = f"{source.leaks} {stand} in two splits, and leave the earlier"
        lines.append(f"  leaks: drop # {note}")
    if inferred.fields:
        lines.append(f"fields: {_yaml_mapping(inferred.fields)} # what the files call them")
    lines += ["", *_prompt_lines(inferred, lengths), ""]
    lines += [
        f"metrics: [{', '.join(metrics.metrics)}]",
        "objective:",
        f"  metric: {metrics.metrics[0]}",
        f"  direction: {metrics.direction}",
        "  # Choose it before you look at a score: differences of at most this much do not",
        f"  # matter in practice. Here: {metrics.margin_meaning}.",
        f"  margin: {metrics.margin}",
    ]
    return "\n".join(lines) + "\n"


def _prompt_lines(inferred: InferredTask, lengths: ExampleLengths) -> list[str]:
    """The lines of the prompt and of the keys that depend on it."""
    if inferred.task_type == "text":
        return [
            "# Texts longer than a window are scored in overlapping windows, each token once.",
            "window: {length: 1024, stride: 512}",
        ]
    lines = [
        "# The model continues from the end of the prompt. Training teaches it the format of the",
        "# answers, so a short prompt suffices.",
        f"prompt: {_yaml_string(suggest_prompt(inferred))}",
        "truncate: left # side at which the input of a long example is truncated",
    ]
    if inferred.task_type == "choice":
        answers = "likelihood # the most likely class; generation: the one the model writes"
        return [*lines, f"answers: {answers}"]
    if inferred.task_type == "entities":
        lines.append("# target.names gives labels short names, which shortens answers:")
        lines.append("# target: {names: {SOME_LONG_LABEL: SLL}}")
    longest = f" # 99 % of the answers have at most {lengths.answer} characters"
    return [*lines, f"max_new_tokens: {suggest_max_new_tokens(lengths)}{longest}"]


def suggest_prompt(inferred: InferredTask) -> str:
    """A prompt that uses the names of the columns."""
    if inferred.task_type == "entities":
        return "Text: {text}\n"
    column = inferred.input
    long = column is not None and (column.multiline or column.words > _LONG)
    before = "{instruction}\n" if inferred.instructed else ""
    value = "\n{input}\n" if long else " {input}\n"
    return f"{before}{_title(column, 'Input')}:{value}{_title(inferred.output, 'Output')}:"


def suggest_max_new_tokens(lengths: ExampleLengths) -> int:
    """Tokens of an answer, at 2.5 characters a token, as with small vocabularies."""
    return max(16, _round_up(lengths.answer / 2.5, 16))


def suggest_max_length(lengths: ExampleLengths) -> int:
    """Tokens of a training example, within the context of most small models."""
    return min(1024, max(96, _round_up(lengths.total / 2.2, 32)))


def render_sweep_yaml(name: str, inferred: InferredTask, lengths: ExampleLengths) -> str:
    """The text of a moderate sweep of the task, with a quick preset."""
    epochs = 4 if lengths.rows < 500 else 3 if lengths.rows < 3000 else 2
    length = 512 if inferred.task_type == "text" else suggest_max_length(lengths)
    texts = inferred.task_type == "text"
    # Choosing the most likely class scores every class after each prompt.
    classes = inferred.output.values if inferred.task_type == "choice" and inferred.output else 0
    return _SWEEP.format(
        name=name,
        epochs=epochs,
        steps=f"{max(1, round(epochs * lengths.rows / 8)):,} steps",
        length=length,
        packing="true " if texts else "false",
        micro=4 if length > 384 else 8,
        score=32 if classes < 2 else min(512, _round_up(4 * classes, 32)),
        shots="[0]" if texts or classes > 20 else "[0, 2]" if length > 512 else "[0, 5]",
    )


def _round_up(value: float, step: int) -> int:
    return int(-(-value // step) * step)


def _summary(inferred: InferredTask, source: DataSection) -> str:
    data_name = re.split(r"[\\/]", source.data_argument.rstrip("\\/"))[-1]
    if inferred.output is not None and inferred.input is not None:
        columns = f"from {inferred.input.name} to {inferred.output.name}"
        return f"{inferred.task_type}: {columns}, of {data_name}"
    return f"{inferred.task_type}, of {data_name}"


def _title(column: Column | None, default: str) -> str:
    name = "" if column is None else " ".join(column.name.replace("_", " ").split())
    return name[:1].upper() + name[1:] if re.fullmatch(r"[A-Za-z][A-Za-z ]*", name) else default


def _yaml_string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _yaml_mapping(values: Mapping[str, Any]) -> str:
    items = [f"{key}: {_yaml_string(value)}" for key, value in values.items()]
    return f"{{{', '.join(items)}}}"


def _one_line(text: str) -> str:
    """Text on one line, for a comment."""
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
  shots: {shots}                          # few-shot examples before each prompt of the base model
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


def create_task(
    name: str,
    data: Path,
    task_type: str | None = None,
    format_name: str | None = None,
    fields: Mapping[str, str] | None = None,
    force: bool = False,
) -> tuple[tuple[Path, Path], tuple[str, ...]]:
    """Writes tasks/NAME/task.yaml and sweeps/NAME.yaml in the working folder.

    Args:
        name: of the task.
        data: a file, or a folder of splits.
        task_type: key of `TASK_TYPES`, or None to infer it.
        format_name: key of `FORMATS`, or None to infer it.
        fields: columns by task.yaml's names for them, instead of inferred ones.
        force: overwrite existing files.

    Returns:
        Both files, and what was inferred and why, in sentences.

    Raises:
        UserError: a name is wrong, a file exists, or the task cannot be inferred.
    """
    folder = Path("tasks") / name
    files = folder / "task.yaml", Path("sweeps") / f"{name}.yaml"
    if not _NAME.fullmatch(name):
        raise UserError(f"{name}: a task's name has letters, digits, _ and - only")
    if task_type is not None and task_type not in TASK_TYPES:
        raise UserError(
            f"--kind {task_type}: unknown kind; {did_you_mean(task_type, TASK_TYPES.names())}"
        )
    for file in files:
        if file.exists() and not force:
            raise UserError(f"{file}: exists already; --force overwrites it")
    data_source = find_data(data, format_name)
    inferred = _infer(data_source, task_type, fields or {})
    complete = set(data_source.names) == set(task.SPLITS)
    relative = _relative_folder(folder, data_source.folder)
    source = DataSection(
        str(data), relative, data_source.format, data_source.splits, data_source.options, complete
    )
    draft = _load_draft(name, source, data_source, inferred)
    leaking = find_leaks({split: draft.rows(split) for split in task.SPLITS})
    if leaking:
        source = source._replace(leaks=len(leaking))
        draft = _load_draft(name, source, data_source, inferred)
    lengths = _measure_examples(draft, inferred)
    task_yaml = render_task_yaml(name, source, inferred, lengths)
    texts = task_yaml, render_sweep_yaml(name, inferred, lengths)
    for file, text in zip(files, texts, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    counts = ", ".join(f"{len(draft.rows(split)):,} {split}" for split in task.SPLITS)
    why = (*data_source.reasons, *inferred.reasons, f"rows: {counts}", *draft.notes)
    return files, why


def _infer(
    data_source: DataSource, task_type: str | None, fields: Mapping[str, str]
) -> InferredTask:
    reader = FORMATS.get(data_source.format)
    if isinstance(reader, RecordFormat):
        records = list(reader.records(data_source.train))
        if not records:
            raise UserError(f"{data_source.train}: no rows")
        return infer_task(describe_columns(records), len(records), task_type, fields)
    if fields:
        raise UserError(f"--field: format {data_source.format} has no columns to name")
    why = f"{task_type or 'entities'}, for {data_source.format} holds texts with entities"
    return InferredTask(task_type or "entities", {}, None, None, False, (why,))


def _load_draft(
    name: str, source: DataSection, data_source: DataSource, inferred: InferredTask
) -> task.Task:
    """Loads the task from a draft of its task.yaml, which raises every fault of the data."""
    text = render_task_yaml(
        name, source._replace(folder=str(data_source.folder)), inferred, ExampleLengths()
    )
    with tempfile.TemporaryDirectory() as temporary:
        draft = Path(temporary) / name
        draft.mkdir()
        (draft / "task.yaml").write_text(text, encoding="utf-8")
        try:
            return task.load_task(str(draft))
        except UserError as fault:
            # The user has to correct their own task.yaml, not the draft.
            raise UserError(str(fault).replace(str(draft), f"tasks/{name}")) from None


def _measure_examples(draft: task.Task, inferred: InferredTask) -> ExampleLengths:
    """Lengths of the training examples."""
    examples = draft.examples("train")
    if inferred.task_type == "text":
        return ExampleLengths(rows=len(examples))
    answers = [example.target for example in examples]
    totals = [len(draft.prompt(example)) + len(example.target) for example in examples]
    return ExampleLengths(
        _percentile_99([len(text) for text in answers]),
        _percentile_99(totals),
        len(examples),
        sum(len(text.split()) for text in answers) / len(answers),
        all(_NUMBER.search(text) for text in answers),
    )


def _percentile_99(numbers: Sequence[int]) -> int:
    """The 99th percentile (nearest rank)."""
    return sorted(numbers)[max(0, -(-99 * len(numbers) // 100) - 1)]


def _relative_folder(folder: Path, data: Path) -> str:
    """The data's folder relative to the task's, if both are below the working folder."""
    working = Path.cwd()
    if data.is_relative_to(working):
        return Path(os.path.relpath(data, working / folder)).as_posix()
    return str(data)
