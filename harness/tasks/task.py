"""`Task`: the examples, prompt, parser, metrics and objective of one tasks/ folder.

`load_task` loads one by name; `load_task_for` loads that of a sweep, with the sweep's data.
"""

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.config import catalog
from harness.config.sweep import Sweep
from harness.data.rows import Row, fingerprint
from harness.errors import UserError, did_you_mean
from harness.metrics import find_metric
from harness.metrics.metric import Metric
from harness.results import Objective
from harness.tasks import dataset
from harness.tasks.data_card import PreparationCounts
from harness.tasks.entity_format import EntityFormat, Parsed
from harness.tasks.schema import TaskFile, read_task_file
from harness.tasks.sources import SPLITS
from harness.tasks.types import AnswerMode, Example, TaskType, TypeContext, type_for_head


def choose_few_shot(
    training: Sequence[Example],
    task_type: TaskType,
    labels: Sequence[str],
    count: int,
    seed: int = 0,
) -> tuple[Example, ...]:
    """Chooses short few-shot examples that together show all labels.

    From the shorter half of the training split; each is the first in a seeded order that shows
    most of the labels or classes not yet shown.
    """
    pool = sorted(training, key=lambda example: (len(example.text), example.id))
    pool = pool[: max(count, (len(pool) + 1) // 2)]
    random.Random(f"few shot {seed}").shuffle(pool)
    examples: list[Example] = []
    missing = set(labels)
    while pool and len(examples) < count:
        best = max(pool, key=lambda example: len(missing & set(task_type.labels_shown(example))))
        pool.remove(best)
        examples.append(best)
        missing -= set(task_type.labels_shown(best))
        missing = missing or set(labels)
    return tuple(examples)


__all__ = ["SPLITS", "AnswerMode", "Evaluation", "Example", "Parsed", "Task", "load_task"]

_NO_PREPARATION: Final = PreparationCounts({}, 0)
_FIELD: Final = re.compile(r"\{(input|text|instruction)\}")


class Evaluation(NamedTuple):
    """Scored predictions.

    Attributes:
        statistics: one row for each example, in the order of `Objective.columns`.
        values: the objective's metric and its breakdown, then the task's other metrics, by name.
    """

    statistics: tuple[tuple[float, ...], ...]
    values: dict[str, float]


class Task:
    """One task with its data; made by `load_task`.

    Attributes:
        name: as in task.yaml; so are `summary`, `public` and `max_new_tokens`.
        folder: of task.yaml.
        file: the keys of task.yaml.
        type: makes examples, and parses and writes answers.
        labels: the entity labels in the order of writing, or the classes of a choice.
        metrics: those that are reported; one of them is the objective's.
        notes: sentences for the user on the data, such as a test split made from train.
        preparation: what was done to the training rows.
    """

    def __init__(
        self,
        file: TaskFile,
        folder: Path,
        labels: tuple[str, ...],
        rows: Callable[[str], tuple[Row, ...]],
        notes: tuple[str, ...] = (),
        preparation: PreparationCounts = _NO_PREPARATION,
    ) -> None:
        """Made by `load_task`; `rows` returns the rows of a split, called when first needed."""
        self.name = file.name
        self.folder = folder
        self.file = file
        self.summary = file.summary
        self.public = file.public
        self.max_new_tokens = file.max_new_tokens
        self.labels = labels
        self.metrics = _load_metrics(file, folder)
        self.notes = notes
        self.preparation = preparation
        self._rows = rows
        self._examples: dict[str, tuple[Example, ...]] = {}
        target, names = file.target, _label_names(folder, file, labels)
        marks = (target.after_label, target.between_items, target.between_labels, target.empty)
        context = TypeContext(
            labels,
            lambda: self.examples("train"),
            EntityFormat(labels, *marks, names),
            names,
            file.fold_case,
            file.metrics,
            file.answers == "generation",
        )
        self.type: TaskType = type_for_head(file.kind, file.head)(context)

    def rows(self, split: str) -> tuple[Row, ...]:
        """The prepared rows of `train`, `validation` or `test`.

        Raises:
            UserError: there is no such split.
        """
        if split not in SPLITS:
            raise UserError(f"unknown split '{split}'; {did_you_mean(split, SPLITS)}")
        return self._rows(split)

    def examples(self, split: str) -> tuple[Example, ...]:
        """The examples of `train`, `validation` or `test`, always in the same order."""
        if split not in self._examples:
            self._examples[split] = tuple(self.type.example(row) for row in self.rows(split))
        return self._examples[split]

    def prompt(self, example: Example) -> str:
        """The prompt of an example; empty for language modelling.

        Raises:
            UserError: the prompt names a field that the row does not have.
        """
        template = self.file.prompt
        if template is None:
            return ""

        def value(hit: re.Match[str]) -> str:
            field = hit.group(1)
            if field not in example.prompt_fields:
                raise UserError(
                    f"{self.folder / 'task.yaml'}: prompt: names {{{field}}}, which row "
                    f"{example.id} does not have"
                )
            return example.prompt_fields[field]

        return _FIELD.sub(value, template)

    def target(self, example: Example) -> str:
        """The text that the model should generate after the prompt."""
        return example.target

    def write(self, prediction: Any) -> str:
        """A prediction as text; the inverse of `parse`."""
        return self.type.write(prediction)

    def parse(self, text: str) -> Parsed:
        """Parses an output; never raises."""
        return self.type.parse(text)

    @property
    def metric(self) -> Metric:
        """The metric of the objective."""
        return self.metrics[self.file.metrics.index(self.file.objective.metric)]

    @property
    def objective(self) -> Objective:
        """The objective of a study of this task."""
        keys, metric = self.file.objective, self.metric
        return Objective(
            name=metric.name,
            direction=keys.direction,
            margin=keys.margin,
            form=metric.form,
            classes=self.type.classes,
            scale=metric.scale,
            unit=metric.unit,
        )

    def score(
        self, prediction: Any, example: Example, metric: Metric | None = None
    ) -> tuple[float, ...]:
        """The statistics of one example by a metric, by default the objective's.

        In the order of `objective.columns`; the prediction is as the task type defines it.
        """
        used = metric or self.metric
        return used.score(*self.type.metric_inputs(used, prediction, example), self.type.classes)

    def values(
        self, rows: Sequence[Sequence[float]], unparsed: Sequence[bool] = ()
    ) -> dict[str, float]:
        """The objective's values for a split, from rows of `score`; see `Metric.values`."""
        return self.metric.values(rows, self.type.classes, unparsed)

    def evaluate(
        self,
        predictions: Iterable[Any],
        examples: Sequence[Example],
        unparsed: Sequence[bool] = (),
    ) -> Evaluation:
        """Scores the prediction for each example by all metrics of the task.

        `unparsed` says for each example whether its output could not be parsed.
        """
        pairs = list(zip(predictions, examples, strict=True))
        rows = {
            metric.name: [tuple(map(float, self.score(*pair, metric))) for pair in pairs]
            for metric in self.metrics
        }
        values = {
            metric.name: metric.aggregate(rows[metric.name], self.type.classes)
            for metric in self.metrics
        }
        objective = rows[self.metric.name]
        return Evaluation(tuple(objective), values | self.values(objective, unparsed))

    @property
    def baselines(self) -> Mapping[str, Callable[[Example], Any]]:
        """Answers without any model, by name; a model has to beat them."""
        return self.type.baselines

    def baseline_predictions(self, name: str, split: str) -> tuple[Any, ...]:
        """The answers of one of `baselines` to each example of a split."""
        answer = self.baselines[name]
        return tuple(answer(example) for example in self.examples(split))

    def few_shot_examples(self, count: int, seed: int = 0) -> tuple[Example, ...]:
        """Few-shot examples from the training split; see `choose_few_shot`."""
        return choose_few_shot(self.examples("train"), self.type, self.labels, count, seed)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over task.yaml, scripts of metrics and all rows: equal for equal tasks."""
        digest = hashlib.sha256((self.folder / "task.yaml").read_bytes())
        for metric in self.metrics:
            digest.update(metric.digest.encode())
        for split in SPLITS:
            digest.update(f"{split} {fingerprint(self._rows(split))}\n".encode())
        return digest.hexdigest()


def _load_metrics(file: TaskFile, folder: Path) -> tuple[Metric, ...]:
    metrics = tuple(find_metric(name, folder) for name in file.metrics)
    for metric in metrics:
        if file.kind not in metric.task_types:
            raise UserError(
                f"{folder / 'task.yaml'}: metrics: {metric.name} scores tasks of kind "
                f"{' or '.join(metric.task_types)}, not {file.kind}"
            )
    return metrics


def _label_names(folder: Path, file: TaskFile, labels: Sequence[str]) -> dict[str, str]:
    """How these labels are written; a user's data may have others than task.yaml."""
    names = {label: name for label, name in file.target.names.items() if label in labels}
    owners: dict[str, str] = {}
    for label in labels:
        name = names.get(label, label)
        owner = owners.setdefault(name if file.kind == "entities" else name.casefold(), label)
        if owner != label:
            raise UserError(
                f"{folder / 'task.yaml'}: target.names: two labels would be written '{name}'; "
                "rename one of them in the data"
            )
    return names


def load_task(
    name_or_path: str,
    data: Path | None = None,
    limit: int | None = None,
    seed: int | None = None,
) -> Task:
    """Loads a task.

    Args:
        name_or_path: a name in `tasks/`, or a folder with a task.yaml.
        data: a folder with train, validation and perhaps test files that replace the task's data.
        limit: examples of each split, at most; a smaller limit gives a subset of a larger one.
        seed: instead of the one in task.yaml: of the generator, of splits made from train, of
            the hook, and of the selection under a limit.

    Raises:
        UserError: there is no such task, or its file or data are faulty.
    """
    folder = catalog.find_task(str(name_or_path))
    file = read_task_file(folder / "task.yaml")
    if limit is not None and limit < 1:
        raise UserError(f"limit: {limit} examples; give at least 1")
    source = dataset.prepare_dataset(file, folder, data, limit, seed)
    return Task(file, folder, source.labels, source.rows, source.notes, source.preparation)


def load_task_for(sweep: Sweep) -> Task:
    """Loads the task that a sweep names, with its data folder and limit.

    Takes a second or more on large data: a process loads its task once and hands it on.

    Raises:
        UserError: the task or its data are faulty.
    """
    data = Path(sweep.data.folder) if sweep.data.folder else None
    return load_task(sweep.task, data=data, limit=sweep.data.limit)
