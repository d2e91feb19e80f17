"""The task of a sweep, as every process of a study loads it: by name, with the sweep's data.

Loaded once for a process, and again when a file of the task or of its data has changed.
"""

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from harness import catalog
from harness.sweep import Sweep
from harness.task import Task, load
from harness.task_file import read_task_file

#: So many tasks are kept at most; a process rarely has more than one.
_KEPT: Final = 4

_State = tuple[tuple[str, int, int, int], ...]
_tasks: OrderedDict[tuple[object, ...], tuple[_State, Task]] = OrderedDict()


def load_task_of(sweep: Sweep) -> Task:
    """Loads the task that a sweep names, with its data folder and limit.

    Raises:
        UserError: the task or its data are faulty.
    """
    data = Path(sweep.data.folder) if sweep.data.folder else None
    folder = catalog.find_task(sweep.task).resolve()
    key = (Path.cwd(), folder, data and data.resolve(), sweep.data.limit)
    if key in _tasks:
        state, task = _tasks[key]
        if state == _state(folder, data):
            _tasks.move_to_end(key)
            return task
    task = load(sweep.task, data=data, limit=sweep.data.limit)
    # after loading, for a hook leaves a file in the folder
    _tasks[key] = (_state(folder, data), task)
    _tasks.move_to_end(key)
    if len(_tasks) > _KEPT:
        _tasks.popitem(last=False)
    return task


def _state(folder: Path, data: Path | None) -> _State:
    """Size, number and time of change of each file that a task is read from."""
    keys = read_task_file(folder / "task.yaml").data
    places = [folder, data]
    if data is None:
        places += [folder / name for name in (keys.folder,) if name]
        places += [Path(name) for name in (keys.hub,) if name]
    return tuple(sorted(set(_files(place for place in places if place is not None))))


def _files(places: Iterator[Path]) -> Iterator[tuple[str, int, int, int]]:
    for place in places:
        for file in place.rglob("*") if place.is_dir() else ():
            if file.is_file() and file.suffix != ".pyc":
                found = file.stat()
                yield str(file), found.st_size, found.st_ino, found.st_mtime_ns
