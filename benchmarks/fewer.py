"""A task with fewer examples in one split, evenly spaced: what a short measurement needs."""

from typing import Any

from harness.tasks.task import Task
from harness.training import evaluation


def fewer(task: Task, split: str, count: int) -> Task:
    """The task with so many examples of a split; other splits are as they were.

    Args:
        task: the whole one.
        split: which to shorten.
        count: how many to keep at most.
    """

    def rows(name: str) -> tuple[Any, ...]:
        found = task.rows(name)
        if name != split:
            return found
        return tuple(found[index] for index in evaluation.evenly_spaced(len(found), count))

    return Task(task.file, task.folder, task.labels, rows)
