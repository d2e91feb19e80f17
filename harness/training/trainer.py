"""`Trainer`, the interface of an engine: trials are pulled, results are yielded."""

from collections.abc import Callable, Iterator
from typing import Protocol

from harness.trial import Measurement, SplitScores, TrialRequest, TrialResult

#: Called with a trial's number and a reading; False ends the trial.
Report = Callable[[int, Measurement], bool]
#: Called with a trial's number and its scores of a part of the split; returns why to stop scoring.
Race = Callable[[int, SplitScores], str | None]


class Trainer(Protocol):
    """Trains adapters on one frozen base.

    Attributes:
        notes: what the user should know of the training tokens, and of how they are trained on.
    """

    @property
    def notes(self) -> tuple[str, ...]:
        """See above."""
        ...

    def train(
        self, trials: Iterator[TrialRequest | None], report: Report, race: Race | None = None
    ) -> Iterator[TrialResult]:
        """Trains trial after trial, or several at once.

        A trial is pulled only when there is a slot for it, so that whoever hands out trials knows
        all earlier results. A trial that fails is yielded as failed and does not affect others.

        Args:
            trials: the next trial when asked; None if there is none just now, while trials in
                progress continue.
            report: called at each reading of a trial with `readings`.
            race: called as a trial with `readings` is scored at its end, after each part of the
                objective's split but the last, where answers are decoded in several batches.

        Yields:
            One result for each trial, as they end.
        """
        ...
