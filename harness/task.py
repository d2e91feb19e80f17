"""`Task`: the examples, prompt, parser, metrics and objective of one tasks/ folder.

Says what a model is asked, what a right answer looks like and how an answer is scored. Knows
nothing of models, tokens or studies.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness import catalog, task_data
from harness.baselines import EntityDictionary
from harness.entity_text import Layout, Mention, Parsed
from harness.errors import UserError, did_you_mean
from harness.formats import Row, fingerprint
from harness.metrics import METRICS, Metric
from harness.results import Objective
from harness.task_data import SPLITS
from harness.task_file import TaskFile, read_task_file

__all__ = ["SPLITS", "Example", "Mention", "Parsed", "Task", "load"]


@dataclass(frozen=True)
class Example:
    """One example.

    Attributes:
        id: unique within its split.
        prompt_fields: what the prompt is filled with: `text`.
        reference: the right answer, as mentions in the order of the text.
        target: the right answer as text, with a blank in front; the end of text follows it.
    """

    id: str
    prompt_fields: Mapping[str, str]
    reference: tuple[Mention, ...]
    target: str

    @property
    def text(self) -> str:
        """The input."""
        return self.prompt_fields["text"]


class Task:
    """One task with its data; made by `load`.

    Attributes:
        name: as task.yaml says.
        folder: where task.yaml lies.
        summary: one line on what it asks.
        public: whether its data may be shown to anybody.
        labels: the entity labels, in the order of writing.
        max_new_tokens: how much a model may write for one example.
        metrics: those that are reported; the first named by the objective.
        notes: what the user should know of the data, such as a test split carved from train.
    """

    def __init__(
        self,
        file: TaskFile,
        folder: Path,
        labels: tuple[str, ...],
        rows: Callable[[str], tuple[Row, ...]],
        notes: tuple[str, ...] = (),
    ) -> None:
        """Made by `load`; `rows` gives the rows of a split when they are first needed."""
        self.name = file.name
        self.folder = folder
        self.summary = file.summary
        self.public = file.public
        self.labels = labels
        self.max_new_tokens = file.max_new_tokens
        self.metrics: tuple[Metric, ...] = tuple(METRICS.get(name) for name in file.metrics)
        self.notes = notes
        self._file = file
        self._rows = rows
        self._examples: dict[str, tuple[Example, ...]] = {}
        target = file.target
        self._layout = Layout(
            labels,
            target.after_label,
            target.between_items,
            target.between_labels,
            target.empty,
            _names(folder, labels, target.names),
        )

    def examples(self, split: str) -> tuple[Example, ...]:
        """The examples of `train`, `validation` or `test`, always in the same order."""
        if split not in SPLITS:
            raise UserError(f"unknown split '{split}'; {did_you_mean(split, SPLITS)}")
        if split not in self._examples:
            self._examples[split] = tuple(self._example(row) for row in self._rows(split))
        return self._examples[split]

    def _example(self, row: Row) -> Example:
        reference = tuple(
            Mention(span.label, " ".join(span.text.split())) for span in row.entities
        )
        return Example(row.id, {"text": row.text}, reference, self._layout.write(reference))

    def prompt(self, example: Example) -> str:
        """What the model is given."""
        return self._file.prompt.replace("{text}", example.text)

    def target(self, example: Example) -> str:
        """What the model should write after the prompt, before the end of text."""
        return example.target

    def write(self, mentions: Iterable[Mention]) -> str:
        """An answer that says these mentions; `parse` reads it back."""
        return self._layout.write(mentions)

    def parse(self, text: str) -> Parsed:
        """Reads an output: its first line; see `harness.entity_text.Layout.parse`."""
        return self._layout.parse(text)

    @property
    def metric(self) -> Metric:
        """The metric of the objective."""
        return METRICS.get(self._file.objective.metric)

    @property
    def objective(self) -> Objective:
        """What a study of this task optimises."""
        keys, metric = self._file.objective, self.metric
        return Objective(
            name=metric.name,
            direction=keys.direction,
            margin=keys.margin,
            form=metric.form,
            classes=self.labels,
            scale=metric.scale,
            unit=metric.unit,
        )

    def score(self, prediction: Iterable[Mention], example: Example) -> tuple[float, ...]:
        """The statistics of one example, in the order of `objective.columns`."""
        return self.metric.score(
            self._comparable(prediction), self._comparable(example.reference), self.labels
        )

    def values(
        self, rows: Sequence[Sequence[float]], unparsed: Sequence[bool] = ()
    ) -> dict[str, float]:
        """All values reported for a split, from what `score` gave; see `Metric.values`."""
        return self.metric.values(rows, self.labels, unparsed)

    def _comparable(self, mentions: Iterable[Mention]) -> list[Mention]:
        if self._file.fold_case:
            return [Mention(label, text.casefold()) for label, text in mentions]
        return list(mentions)

    @cached_property
    def training_dictionary(self) -> EntityDictionary:
        """All entities of the training split."""
        return EntityDictionary(
            mention for example in self.examples("train") for mention in example.reference
        )

    @property
    def untrained(self) -> Mapping[str, Callable[[Example], tuple[Mention, ...]]]:
        """What a model has to beat, by name: answers of nothing that was trained."""
        return {"dictionary": lambda example: self.training_dictionary.find(example.text)}

    def guesses(self, name: str, split: str) -> tuple[tuple[Mention, ...], ...]:
        """What the entry `name` of `untrained` answers to each example of a split."""
        answer = self.untrained[name]
        return tuple(answer(example) for example in self.examples(split))

    def seen(self, example: Example) -> tuple[bool, ...]:
        """For each mention of the reference whether its form, in any case, was one in training."""
        return tuple(text in self.training_dictionary for _, text in example.reference)

    def unseen_f1(self, predictions: Sequence[Iterable[Mention]], split: str) -> float:
        """Micro-F1 on entities that were never entities in training.

        Both sides leave out forms that were entities in training (in any case) and the labels that
        task.yaml excludes (a dosage is new by its number alone).

        Args:
            predictions: for each example of the split, in its order.
            split: the split.
        """
        rows = [
            self.score(self._new(found), Example(gold.id, {}, self._new(gold.reference), ""))
            for found, gold in zip(predictions, self.examples(split), strict=True)
        ]
        return self.metric.aggregate(rows, self.labels)

    def _new(self, mentions: Iterable[Mention]) -> tuple[Mention, ...]:
        known, excluded = self.training_dictionary, self._file.unseen_excludes
        return tuple(m for m in mentions if m.label not in excluded and m.text not in known)

    def few_shot(self, count: int, seed: int = 0) -> str:
        """A prefix of worked training examples: prompt and target, one block after the other.

        Chosen from the shorter half of the training notes; each is the first in a seeded order
        that shows most of the labels not shown so far, so that they soon cover all.

        Args:
            count: how many; 0 gives an empty prefix.
            seed: of the choice.
        """
        pool = sorted(self.examples("train"), key=lambda one: (len(one.text), one.id))
        pool = pool[: max(count, (len(pool) + 1) // 2)]
        random.Random(f"few shot {seed}").shuffle(pool)
        chosen: list[Example] = []
        missing = set(self.labels)
        while pool and len(chosen) < count:
            best = max(pool, key=lambda one: len(missing & {m.label for m in one.reference}))
            pool.remove(best)
            chosen.append(best)
            missing -= {mention.label for mention in best.reference}
            missing = missing or set(self.labels)
        return "".join(f"{self.prompt(one)}{one.target}\n" for one in chosen)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over task.yaml and all rows: equal digests, equal task."""
        whole = hashlib.sha256((self.folder / "task.yaml").read_bytes())
        for split in SPLITS:
            whole.update(f"{split} {fingerprint(self._rows(split))}\n".encode())
        return whole.hexdigest()


def _names(folder: Path, labels: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    """How these labels are written; the user's own data may have others than task.yaml."""
    chosen = {label: name for label, name in names.items() if label in labels}
    written = [chosen.get(label, label) for label in labels]
    twice = next((name for name in written if written.count(name) > 1), None)
    if twice is not None:
        raise UserError(
            f"{folder / 'task.yaml'}: target.names: two labels would be written '{twice}'; "
            "rename one of them in the data"
        )
    return chosen


def load(
    name_or_path: str,
    data: Path | None = None,
    limit: int | None = None,
    seed: int | None = None,
) -> Task:
    """Loads a task.

    Args:
        name_or_path: a name in `tasks/`, or a folder with a task.yaml.
        data: a folder with train, validation and perhaps test files that replace the task's data.
        limit: at most so many examples of each split; a smaller limit gives a part of a larger.
        seed: instead of the one in task.yaml: of the generator, of a test split carved from
            train, and of the choice under a limit.

    Raises:
        UserError: there is no such task, or its file or data are faulty.
    """
    folder = catalog.find_task(str(name_or_path))
    file = read_task_file(folder / "task.yaml")
    if limit is not None and limit < 1:
        raise UserError(f"limit: {limit} examples; at least 1 is right")
    source = task_data.open_source(file, folder, data, limit, seed)
    return Task(file, folder, source.labels, source.rows, source.notes)
