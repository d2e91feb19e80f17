"""`report`: writes pages, tables and figures of studies, without training or torch.

`report --watch` writes a study's page again whenever a trial has ended. It only reads the study:
trials of a dead worker are left for the sweep to take back.
"""

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from harness.cli import options

if TYPE_CHECKING:
    from harness.results import StudyResults
    from harness.storage.study import StudyStore

#: Formats of a comparison of several studies.
_COMPARISON_FORMATS: Final = ("html", "csv", "json")
#: Seconds after which an open page reloads itself while it is watched.
REFRESH: Final = 10
#: Seconds between two checks of the study.
EVERY: Final = 5.0
#: After writing a page, wait so many times as long as that took: the sweep needs the processor.
_REST: Final = 9.0
#: Heartbeats that a worker may miss before it counts as dead.
_MISSED: Final = 3.0


def report(
    studies: Annotated[
        list[str] | None,
        typer.Argument(help="one study, several to compare, or none for the index"),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format", help="html, md, csv, latex, json, svg, png; separate several by commas"
        ),
    ] = "html",
    price: Annotated[str | None, typer.Option(help="price of the machine, such as 1.29/h")] = None,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="show texts of a task that is not public")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="rewrite the page while the sweep runs")
    ] = False,
    results: options.Results = Path("results"),
    reports: options.Reports = Path("reports"),
) -> None:
    """Write the report of a study, or export its tables or charts.

    For several studies a comparison, without a name the index of all studies.
    """
    with nullcontext() if watch else _without_garbage_collection():
        from harness.errors import UserError
        from harness.report import page
        from harness.report.exports import write

        formats, hourly = _parse_formats(form), options.hourly_price(price)
        html_only = formats == ["html"]
        if not studies and (watch or not html_only):
            raise UserError("without a study name, `report` writes the index, which is HTML only")
        if watch and (len(studies or ()) > 1 or not html_only):
            raise UserError("--watch: writes the page of one study, as html")
        paths: Iterable[Path]
        if not studies:
            paths = [_write_index(results, reports)]
        elif len(studies) > 1:
            paths = _write_comparison(studies, formats, results, reports)
        elif watch:
            (name,) = studies

            def write_page(refresh: int | None) -> Path:
                study_results = _read(name, results, hourly, show_text)
                return page.write(study_results, reports / f"{name}.html", refresh)

            follow(name, results, write_page)
            paths = []
        else:
            study_results = _read(studies[0], results, hourly, show_text)
            paths = (write(study_results, format_, reports) for format_ in formats)
        for path in paths:
            print(path)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """The process ends soon after: collecting garbage would take a sixth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _parse_formats(text: str) -> list[str]:
    from harness.errors import UserError, did_you_mean
    from harness.report.exports import FORMATS

    formats = [*dict.fromkeys(name.strip() for name in text.split(","))]
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"--format {name}: {did_you_mean(name, FORMATS)}")
    return formats


def _read(name: str, results: Path, hourly: float | None, show_text: bool) -> "StudyResults":
    """A study with its texts and, where it was given, the price of an hour."""
    from dataclasses import replace

    from harness.storage.records import read_study
    from harness.study.outputs import attach_outputs

    study_results = read_study(name, results)
    if hourly is not None:
        attributes = {**study_results.attributes, "asked": {"price": hourly}}
        study_results = replace(study_results, attributes=attributes)
    return attach_outputs(study_results, show_text)


def _write_index(results: Path, reports: Path) -> Path:
    from harness.report import index
    from harness.storage import overview

    return index.write(overview.find_studies(results), reports)


def _write_comparison(
    names: Sequence[str], formats: Sequence[str], results: Path, reports: Path
) -> list[Path]:
    """Writes a comparison of studies; returns the files, of csv the folder."""
    from harness.errors import UserError
    from harness.report import compare
    from harness.report.page import write_text
    from harness.storage.records import read_study

    for name in formats:
        if name not in _COMPARISON_FORMATS:
            raise UserError(
                f"--format {name}: a comparison can be written as html, csv or json only"
            )
    studies = [read_study(name, results) for name in names]
    page = compare.render(studies)
    tables = compare.tables(studies)
    stem = reports / "-and-".join(study.name for study in studies)[:120]
    paths = []
    if "html" in formats:
        paths.append(write_text(page, stem.with_name(f"{stem.name}.html")))
    if "json" in formats:
        bodies = [f'"{name}": {frame.to_json(orient="records")}' for name, frame in tables.items()]
        text = "{" + ",\n".join(bodies) + "}\n"
        paths.append(write_text(text, stem.with_name(f"{stem.name}.json")))
    if "csv" in formats:
        for name, frame in tables.items():
            write_text(frame.to_csv(index=False, lineterminator="\n"), stem / f"{name}.csv")
        paths.append(stem)
    return paths


def watch(
    write: Callable[[bool], object],
    stamp: Callable[[], object],
    is_over: Callable[[], bool],
    every: float = EVERY,
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Writes at once, then whenever the stamp has changed, until it is over or Ctrl-C.

    Args:
        write: writes the page; its argument says whether more is to come. The last call gets
            False, so that no page that reloads itself is left behind.
        stamp: a value that changes when there is something new to write.
        is_over: whether nothing more is to come.
        every: seconds between two checks; more where writing takes long.
        wait: waits for so many seconds.
    """
    written: object = None
    first, pause = True, every
    try:
        while not is_over():
            current = stamp()  # before writing: a change meanwhile is noticed at the next check
            if first or current != written:
                began = time.monotonic()
                write(True)
                pause = max(every, _REST * (time.monotonic() - began))
            first, written = False, current
            wait(pause)
    except KeyboardInterrupt:
        pass  # the usual end of a watch
    write(False)


def follow(
    study: str,
    results: Path,
    write: Callable[[int | None], Path],
    say: Callable[[str], object] = print,
    every: float = EVERY,
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Watches a study until no trial remains and nobody runs it, or Ctrl-C.

    `write` reads the study and writes its page, which reloads itself after so many seconds (None:
    never), and returns the page's file; `say` prints one line for each page. `every` and `wait`
    are those of `watch`.

    Raises:
        UserError: there is no such study, or the page cannot be written.
    """
    from harness.storage import overview
    from harness.storage.records import study_folder
    from harness.storage.study import StudyStore, study_url

    store = StudyStore(study_url(study_folder(study, results)), study)

    def publish(more: bool) -> None:
        path, progress = write(REFRESH if more else None), overview.study_progress(store)
        completed = progress.completed.get(progress.stage, 0)
        state = f"{progress.stage} {completed}/{completed + progress.remaining}"
        end = "" if more else "; watching ends"
        say(f"{time.strftime('%H:%M:%S')}  {path}: {state}{end}")

    try:
        watch(publish, lambda: _ended_counts(store), lambda: is_over(store), every, wait)
    finally:
        store.close()


def is_over(store: "StudyStore") -> bool:
    """Whether a study that has begun has no trial left and no worker that could plan more."""
    from harness.storage import overview

    if not store.trials() or overview.study_progress(store).remaining:
        return False
    return not _has_live_worker(store)


def _ended_counts(store: "StudyStore") -> Counter[str]:
    """How many trials have ended, by state."""
    return Counter(trial.state.name for trial in store.trials() if trial.state.is_finished())


def _has_live_worker(store: "StudyStore") -> bool:
    """Whether any worker, on whatever host, has sent a heartbeat lately."""
    from sqlalchemy import func, select
    from sqlalchemy.orm import Session

    from harness.storage.heartbeat import BEAT_SECONDS
    from harness.storage.schema import WorkerRow

    latest = select(func.max(WorkerRow.beat)).where(WorkerRow.study == store.study.study_name)
    with Session(store.engine) as session:
        beat = session.scalar(latest)
    return beat is not None and time.time() - beat < _MISSED * BEAT_SECONDS
