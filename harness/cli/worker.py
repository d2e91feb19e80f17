"""`worker`: one worker on a study that exists; `sweep` starts these, a cluster may start more."""

from typing import Annotated

import typer


def worker(
    url: Annotated[str, typer.Option(help="database, such as sqlite:///results/x/study.db")],
    study: Annotated[str, typer.Option(help="name of the study")],
    index: Annotated[int, typer.Option(help="index of this worker, from 0")] = 0,
    workers: Annotated[int, typer.Option(help="number of workers on the study")] = 1,
    threads: Annotated[int, typer.Option(help="torch threads")] = 1,
    minutes: Annotated[float | None, typer.Option(hidden=True)] = None,
    spent: Annotated[float, typer.Option(hidden=True)] = 0.0,
    began: Annotated[float, typer.Option(hidden=True)] = 0.0,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Add a worker to a study (sweep starts those it needs)."""
    import signal

    from harness.study.launcher import WorkerSpec
    from harness.study.worker import Worker

    # A terminated worker returns its trial, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    Worker(WorkerSpec(url, study, index, workers, threads, minutes, spent, began, parent)).run()
