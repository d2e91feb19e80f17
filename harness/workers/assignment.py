"""`Assignment`: all that crosses the border into a worker's process: names and plain values."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url


@dataclass(frozen=True)
class Assignment:
    """Where and how a worker works.

    Attributes:
        url: the study's database.
        study: the study's name.
        index: which worker of those side by side, from 0.
        workers: how many there are.
        threads: torch threads.
        minutes: bound on the whole study, or None.
        spent: seconds of it that earlier sessions spent.
        began: when this session began, seconds since the epoch.
        parent: process id that the worker dies with, or None.
    """

    url: str
    study: str
    index: int = 0
    workers: int = 1
    threads: int = 1
    minutes: float | None = None
    spent: float = 0.0
    began: float = 0.0
    parent: int | None = None

    @property
    def folder(self) -> Path | None:
        """The study's, where its database is a file; None on a server."""
        url = make_url(self.url)
        file = url.database if url.get_backend_name() == "sqlite" else None
        return None if file is None else Path(file).parent

    def arguments(self) -> list[str]:
        """The words behind `python -m harness worker`."""
        words = []
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if value is not None:
                words += [f"--{item.name}", str(value)]
        return words
