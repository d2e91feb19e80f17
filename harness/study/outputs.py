"""Answers beside the texts they were given to, for the report's look at mistakes.

The database keeps what was written, not what it was written to: texts come from the task's files,
if these are at hand and still the same. Reads predictions as the task's metric does.
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

#: So many seeds of a configuration are read at most, the first ones.
SEEDS: Final = 5


def attach_outputs(results: StudyResults, show: bool = False) -> StudyResults:
    """The study with `StudyResults.texts`.

    Args:
        results: the study.
        show: also texts of a task that is not marked `public: true`.
    """
    who = error_analysis.compared_configurations(results)
    if who is None:
        return results
    try:
        task = load_task_for(sweep.parse_sweep(dict(results.sweep), f"study '{results.name}'"))
        same = task.digest == results.provenance.get("task_digest")
    except UserError as error:
        told = f"The task is not at hand: {error}."
        return share_cache(replace(results, texts=_nothing(who.split, told)), results)
    if not same:
        told = "The task or its data have changed since the study was made."
        return share_cache(replace(results, texts=_nothing(who.split, told)), results)
    examples = {example.id: example for example in task.examples(who.split)}
    shown = task.public or show
    passages = [
        (
            example.id,
            len(_input(task, example).split()),
            _input(task, example) if shown else "",
            task.target(example).strip() if shown else "",
        )
        for example in examples.values()
    ]
    answers = [
        (name, seed, *row)
        for name in who.names
        for seed, identifier, prediction in _predictions(results, who, name)
        if identifier in examples
        for row in _compared(task, prediction, examples[identifier])
    ]
    frame = pd.DataFrame(answers, columns=list(ANSWER_COLUMNS))
    if not shown:
        frame["surface"] = ""
    hidden = (
        ""
        if shown
        else "The task is not marked public: true, so no text is shown (report STUDY --show-text)."
    )
    table = pd.DataFrame(passages, columns=list(PASSAGE_COLUMNS))
    return share_cache(replace(results, texts=Texts(who.split, table, frame, hidden)), results)


def _nothing(split: str, why: str) -> Texts:
    return Texts(
        split,
        pd.DataFrame(columns=list(PASSAGE_COLUMNS)),
        pd.DataFrame(columns=list(ANSWER_COLUMNS)),
        missing=why.replace("..", "."),
    )


def _input(task: Task, example: Example) -> str:
    return example.target if task.type.answers is AnswerMode.LIKELIHOOD else example.text


def _predictions(
    results: StudyResults, who: error_analysis.ComparedConfigurations, name: str
) -> Iterator[tuple[int, str, str]]:
    """Seed, example and output of the first seeds."""
    rows = error_analysis.rows_of(results, who, name)
    first = sorted(set(rows["seed"]))[:SEEDS]
    for seed, identifier, output in zip(
        rows["seed"], rows["example"].astype(str), rows["prediction"], strict=True
    ):
        if seed in first:
            yield int(seed), identifier, str(output)


def _compared(task: Task, output: str, example: Example) -> list[tuple[Any, ...]]:
    """Rows of `ANSWER_COLUMNS` behind who and seed."""
    if isinstance(task.type, Entities):
        return _entities(task.type, output, example)
    if isinstance(task.type, Choice):
        wanted, got = example.reference, task.parse(output).prediction
        right = got == wanted
        outcome, instead = ("found", "") if right else ("missed", got or "")
        return [(example.id, wanted, "", -1, outcome, instead, pd.NA)]
    return []


def _entities(kind: Entities, output: str, example: Example) -> list[tuple[Any, ...]]:
    """Each entity of the text and each that is none, as multisets of label and form."""
    fold = kind.context.fold_case

    def form(text: str) -> str:
        plain = " ".join(text.split())
        return plain.casefold() if fold else plain

    said = [(label, form(text)) for label, text in kind.mentions(kind.parse(output).prediction)]
    left = Counter(said)
    assert example.row is not None, "entities stand in a row"
    known = kind.seen_in_training(example)
    gold = list(zip(example.row.entities, known, strict=True))
    found: list[tuple[Any, ...]] = []
    missed = []
    for span, seen in gold:
        key = (span.label, form(span.text))
        if left[key] > 0:
            left[key] -= 1
            found.append((example.id, span.label, span.text, span.start, "found", "", seen))
        else:
            missed.append((span, seen))
    for span, seen in missed:
        others = [label for (label, text), n in left.items() if n > 0 and text == form(span.text)]
        instead = others[0] if others else ""
        found.append((example.id, span.label, span.text, span.start, "missed", instead, seen))
    for (label, text), count in left.items():
        found += [(example.id, label, text, -1, "spurious", "", pd.NA)] * max(0, count)
    return found
