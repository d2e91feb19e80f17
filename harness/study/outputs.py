"""Model outputs next to the texts they were written for, for the report's error analysis.

The database has the outputs but not the texts: those come from the task's files, if they are on
this machine and unchanged. Outputs are parsed as the task's metric does.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pandas as pd

from harness.analysis import error_analysis
from harness.analysis.scores import share_cache
from harness.config import sweep
from harness.errors import UserError
from harness.results import ANSWER_COLUMNS, PASSAGE_COLUMNS, StudyResults, Texts
from harness.tasks.entities import Entities
from harness.tasks.task import Task, load_task_for
from harness.tasks.types import AnswerMode, Choice, Example

#: Outputs are read of at most so many seeds of a configuration, the first ones.
SEEDS: Final = 5


def attach_outputs(
    results: StudyResults, show: bool = False, task: Task | None = None
) -> StudyResults:
    """The study with `StudyResults.texts`.

    Args:
        results: the study.
        show: also texts of a task that is not marked `public: true`.
        task: the study's task where the caller has it; else it is loaded as the sweep names it.
    """
    compared = error_analysis.compared_configurations(results)
    if compared is None:
        return results
    try:
        if task is None:
            task = load_task_for(sweep.parse_sweep(dict(results.sweep), f"study '{results.name}'"))
        missing = ""
        if task.digest != results.provenance.get("task_digest"):
            missing = "The task or its data have changed since the study was made."
    except UserError as error:
        missing = f"The task is not at hand: {error}.".replace("..", ".")
    if missing or task is None:
        passages, answers = (
            pd.DataFrame(columns=list(names)) for names in (PASSAGE_COLUMNS, ANSWER_COLUMNS)
        )
        texts = Texts(compared.split, passages, answers, missing=missing)
        return share_cache(replace(results, texts=texts), results)
    examples = {example.id: example for example in task.examples(compared.split)}
    visible = task.public or show
    rows = []
    for example in examples.values():
        text = example.target if task.type.answers is AnswerMode.LIKELIHOOD else example.text
        shown = (text, task.target(example).strip()) if visible else ("", "")
        rows.append((example.id, len(text.split()), *shown))
    answer_rows = [
        (name, seed, *row)
        for name in compared.names
        for seed, identifier, output in _predictions(results, compared, name)
        if identifier in examples
        for row in _answer_rows(task, output, examples[identifier])
    ]
    passages = pd.DataFrame(rows, columns=list(PASSAGE_COLUMNS))
    answers = pd.DataFrame(answer_rows, columns=list(ANSWER_COLUMNS))
    hidden = ""
    if not visible:
        answers["surface"] = ""
        hidden = "The task is not marked public: true, so no text is shown"
        hidden += " (report STUDY --show-text)."
    texts = Texts(compared.split, passages, answers, hidden)
    return share_cache(replace(results, texts=texts), results)


def _predictions(
    results: StudyResults, compared: error_analysis.ComparedConfigurations, name: str
) -> Iterator[tuple[int, str, str]]:
    """Seed, example and output of the first seeds."""
    rows = error_analysis.rows_of(results, compared, name)
    first = sorted(set(rows["seed"]))[:SEEDS]
    for seed, identifier, output in zip(
        rows["seed"], rows["example"].astype(str), rows["prediction"], strict=True
    ):
        if seed in first:
            yield int(seed), identifier, str(output)


def _answer_rows(task: Task, output: str, example: Example) -> list[tuple[Any, ...]]:
    """Rows of `ANSWER_COLUMNS` without the first two, configuration and seed."""
    if isinstance(task.type, Entities):
        return _entity_rows(task.type, output, example)
    if isinstance(task.type, Choice):
        label, prediction = example.reference, task.parse(output).prediction
        correct = prediction == label
        outcome, instead = ("found", "") if correct else ("missed", prediction or "")
        return [(example.id, label, "", -1, outcome, instead, pd.NA)]
    return []


def _entity_rows(task_type: Entities, output: str, example: Example) -> list[tuple[Any, ...]]:
    """Each entity of the text and each spurious one, as multisets of label and surface form."""
    fold = task_type.context.fold_case

    def form(text: str) -> str:
        normalized = " ".join(text.split())
        return normalized.casefold() if fold else normalized

    mentions = task_type.mentions(task_type.parse(output).prediction)
    unmatched = Counter((label, form(text)) for label, text in mentions)
    assert example.row is not None, "examples of entities have a row"
    in_training = task_type.seen_in_training(example)
    rows: list[tuple[Any, ...]] = []
    missed = []
    for span, seen in zip(example.row.entities, in_training, strict=True):
        key = (span.label, form(span.text))
        if unmatched[key] > 0:
            unmatched[key] -= 1
            rows.append((example.id, span.label, span.text, span.start, "found", "", seen))
        else:
            missed.append((span, seen))
    # Only now: a mention under another label may match another entity of the text.
    for span, seen in missed:
        labels = [
            label for (label, text), n in unmatched.items() if n > 0 and text == form(span.text)
        ]
        instead = labels[0] if labels else ""
        rows.append((example.id, span.label, span.text, span.start, "missed", instead, seen))
    for (label, text), count in unmatched.items():
        rows += [(example.id, label, text, -1, "spurious", "", pd.NA)] * max(0, count)
    return rows
