"""Shows a running sweep: a live table on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.analysis.formatting import metric_format
from harness.config.sweep import Sweep
from harness.results import Objective
from harness.storage.overview import Progress

#: Seconds between plain lines while nothing changes.
_QUIET = 60.0


class View:
    """Draws the progress of a sweep.

    Args:
        sweep: what runs.
        objective: unit and scale of the score.
        console: where to draw.
        workers: workers side by side.
    """

    def __init__(self, sweep: Sweep, objective: Objective, console: Console, workers: int) -> None:
        self._sweep, self._objective, self._console = sweep, objective, console
        self._workers = workers
        self._began = time.monotonic()
        self._stage, self._stage_began, self._stage_done = "", time.monotonic(), 0
        self._last, self._said = "", 0.0
        self._live = Live(console=console, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        """Starts drawing."""
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops drawing."""
        if self._live:
            self._live.stop()

    def tick(self, progress: Progress) -> None:
        """Draws one moment."""
        done = progress.done.get(progress.stage, 0)
        if progress.stage != self._stage:
            self._stage, self._stage_began = progress.stage, time.monotonic()
            self._stage_done = done
        if self._live:
            self._live.update(self._table(progress))
            return
        line = self._line(progress)
        if line != self._last and (done % 5 == 0 or time.monotonic() - self._said > _QUIET):
            self._console.print(
                f"{_clock(time.monotonic() - self._began)}  {line}",
                highlight=False,
                soft_wrap=True,
            )
            self._last, self._said = line, time.monotonic()

    def left(self, progress: Progress) -> float | None:
        """Seconds until the stage is done, from the pace of this session; None before it shows."""
        done = progress.done.get(progress.stage, 0) - self._stage_done
        if done < self._workers:
            return None
        pace = (time.monotonic() - self._stage_began) / done
        return pace * progress.owed

    def _best(self, progress: Progress) -> str:
        if progress.best is None:
            return ""
        return f"{metric_format(self._objective).show(progress.best)} ({progress.best_label})"

    def _line(self, progress: Progress) -> str:
        done = progress.done.get(progress.stage, 0)
        line = f"{progress.stage}: {done} of {done + progress.owed} trials"
        best = self._best(progress)
        return f"{line}, best {best}" if best else line

    def _table(self, progress: Progress) -> Group:
        done = progress.done.get(progress.stage, 0)
        left = self.left(progress)
        table = Table.grid(padding=(0, 2))
        table.add_row("stage", f"{progress.stage}: {done} done, {progress.owed} owed")
        table.add_row(
            "so far", ", ".join(f"{count} {state}" for state, count in progress.outcomes.items())
        )
        if best := self._best(progress):
            table.add_row("best", f"{best} {self._objective.unit}, validation")
        table.add_row(
            "time",
            f"{_clock(time.monotonic() - self._began)} so far, this stage "
            + (f"about {_clock(left)} more" if left is not None else "to be seen"),
        )
        for label in progress.running:
            table.add_row("running", label)
        bar = ProgressBar(total=max(1, done + progress.owed), completed=done, width=60)
        return Group(Text(f"{self._sweep.task} on {self._sweep.model.name}", "bold"), table, bar)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return (
        f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
        if minutes >= 60
        else (f"{minutes}:{rest:02d}")
    )
