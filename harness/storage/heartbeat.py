"""Heartbeats of workers, and which workers are dead.

Optuna has heartbeats of its own, but sends them only inside `Study.optimize`.
"""

import os
import socket
import threading
import time
from typing import Final, Self

import psutil
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from harness.storage.schema import WorkerRow
from harness.storage.study import StudyStore

#: Seconds between heartbeats, and without one after which a worker on another host counts as dead.
BEAT_SECONDS: Final = 10.0
DEAD_SECONDS: Final = 120.0


class Heartbeat:
    """Writes heartbeats from a thread while a worker runs.

    Args:
        engine: the study's database.
        study: the study's name.
        worker: the worker's name, unique within the study.
        parent: process id that the worker dies with, or None.
    """

    def __init__(self, engine: Engine, study: str, worker: str, parent: int | None = None) -> None:
        self._engine, self._study, self._worker, self._parent = engine, study, worker, parent
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Writes the first heartbeat and starts the thread."""
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        seconds = 0.0
        while not self._stop.wait(1.0):
            if self._parent is not None and os.getppid() != self._parent:
                os._exit(3)  # nobody waits for this worker; its trial will be run again
            seconds += 1.0
            if seconds >= BEAT_SECONDS:
                seconds = 0.0
                self._beat()

    def _beat(self) -> None:
        with Session(self._engine) as session, session.begin():
            session.merge(
                WorkerRow(
                    study=self._study,
                    worker=self._worker,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    born=psutil.Process().create_time(),
                    beat=time.time(),
                )
            )


def fail_dead_workers(studies: StudyStore) -> int:
    """Fails the running trials of dead workers as lost, so that they are run again.

    Returns:
        How many trials that were.
    """
    name = studies.study.study_name
    with Session(studies.engine) as session:
        rows = session.scalars(select(WorkerRow).where(WorkerRow.study == name)).all()
        dead = [row.worker for row in rows if not _alive(row)]
    named = sum(studies.fail_trials_of(worker) for worker in dead)
    return named + studies.fail_unnamed_trials(DEAD_SECONDS)


def _alive(row: WorkerRow) -> bool:
    if row.host != socket.gethostname():
        return time.time() - row.beat < DEAD_SECONDS
    try:
        # The operating system may have given the process id to another process since.
        return abs(psutil.Process(row.pid).create_time() - row.born) < 1.0
    except psutil.NoSuchProcess:
        return False
