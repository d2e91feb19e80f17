"""The task of a sweep, as every process of a study loads it: by name, with the sweep's data."""

from pathlib import Path

from harness.sweep import Sweep
from harness.task import Task, load


def load_task_of(sweep: Sweep) -> Task:
    """Loads the task that a sweep names, with its data folder and limit.

    Raises:
        UserError: the task or its data are faulty.
    """
    folder = sweep.data.folder
    return load(sweep.task, data=Path(folder) if folder else None, limit=sweep.data.limit)
