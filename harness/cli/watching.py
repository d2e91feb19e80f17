"""`report --watch`: a study's page written anew while its sweep runs, whenever a trial has ended.

Only reads the study: a worker that has died is left for the sweep to find.
"""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from harness.storage.study import StudyStore

#: Seconds after which an open page loads itself again while it is watched.
REFRESH: Final = 10
#: Seconds between two looks at the study.
EVERY: Final = 5.0
#: So many times as long as a page took to make nothing is made: the sweep needs the processor.
_REST: Final = 9.0
#: Beats that a worker may leave out before it is taken for gone.
_MISSED: Final = 3.0


def watch(
    write: Callable[[bool], object],
    stamp: Callable[[], object],
    done: Callable[[], bool],
    every: float = EVERY,
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Writes at once, then whenever the stamp is another one, until it is done or Ctrl-C.

    Args:
        write: writes the page; told whether more is to come. What is written last is told no, so
            that no page is left behind that loads itself for ever.
        stamp: what changes when there is something new to write.
        done: whether nothing more is to come.
        every: seconds between two looks; more where writing takes long.
        wait: waits for so many seconds.
    """
    seen: object = None
    first, pause = True, every
    try:
        while not done():
            now = stamp()  # before it writes: what comes meanwhile is seen the next time
            if first or now != seen:
                began = time.monotonic()
                write(True)
                pause = max(every, _REST * (time.monotonic() - began))
            first, seen = False, now
            wait(pause)
    except KeyboardInterrupt:
        pass  # how a watch is ended
    write(False)


def follow(
    study: str,
    results: Path,
    write: Callable[[int | None], Path],
    say: Callable[[str], object] = print,
    every: float = EVERY,
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Watches a study until it owes nothing and nobody runs it, or Ctrl-C; says what it writes.

    Args:
        study: the study's name.
        results: folder of studies.
        write: reads the study and writes its page, which is to load itself again after so many
            seconds (None: never); answers the page's file.
        say: takes one line for each page.
        every: seconds between two looks.
        wait: waits for so many seconds.

    Raises:
        UserError: there is no such study, or the page cannot be written.
    """
    from harness.storage import overview
    from harness.storage.records import study_folder
    from harness.storage.study import StudyStore, study_url

    studies = StudyStore(study_url(study_folder(study, results)), study)

    def publish(more: bool) -> None:
        path, now = write(REFRESH if more else None), overview.study_progress(studies)
        ended = now.done.get(now.stage, 0)
        told = f"{now.stage}, {ended} of {ended + now.owed} trials"
        say(f"{time.strftime('%H:%M:%S')}  {path}: {told}{'' if more else '; no longer watched'}")

    try:
        watch(publish, lambda: _ended(studies), lambda: is_over(studies), every, wait)
    finally:
        studies.close()


def is_over(studies: "StudyStore") -> bool:
    """Whether a study that has begun owes no trial and nobody is left to plan more."""
    from harness.storage import overview

    trials = studies.trials()
    return bool(trials) and not overview.study_progress(studies).owed and not _beating(studies)


def _ended(studies: "StudyStore") -> Counter[str]:
    """How many trials have ended, by how they did."""
    return Counter(one.state.name for one in studies.trials() if one.state.is_finished())


def _beating(studies: "StudyStore") -> bool:
    """Whether a worker's heart has beaten of late, on whatever host."""
    from sqlalchemy import func, select
    from sqlalchemy.orm import Session

    from harness.storage.heartbeat import BEAT_SECONDS
    from harness.storage.schema import WorkerRow

    latest = select(func.max(WorkerRow.beat)).where(WorkerRow.study == studies.study.study_name)
    with Session(studies.engine) as session:
        beat = session.scalar(latest)
    return beat is not None and time.time() - beat < _MISSED * BEAT_SECONDS
