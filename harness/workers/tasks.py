"""The task of a sweep, as every process of a study loads it: by name, with the sweep's data."""

from pathlib import Path

from harness import catalog
from harness.heads import GENERATION, Head
from harness.sweep import Sweep
from harness.task import Task, load
from harness.task_file import read_task_file


def load_task_of(sweep: Sweep) -> Task:
    """Loads the task that a sweep names, with its data folder and limit.

    Raises:
        UserError: the task or its data are faulty.
    """
    folder = sweep.data.folder
    return load(sweep.task, data=Path(folder) if folder else None, limit=sweep.data.limit)


def head_of(sweep: Sweep) -> Head:
    """What has to stand on a sweep's base; rows are read only where they say it.

    Raises:
        UserError: the task or its data are faulty.
    """
    file = read_task_file(catalog.find_task(sweep.task) / "task.yaml")
    return GENERATION if file.head == GENERATION.name else load_task_of(sweep).kind.head
