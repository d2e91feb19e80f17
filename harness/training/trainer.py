"""The one interface of an engine: trials are pulled, results are yielded."""

from collections.abc import Callable, Iterator
from typing import Protocol

from harness.trial import Measurement, SplitScores, TrialRequest, TrialResult

#: Takes a trial's number and a reading; False means: end this trial now.
Report = Callable[[int, Measurement], bool]
#: Takes a trial's number and what of its last scores is there; tells why the rest is not worth it.
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

        A trial is taken only when there is room for it, so that whoever hands out trials knows
        all earlier results. A trial that fails is yielded as failed and takes no other along.

        Args:
            trials: handed out when asked for; None where there is none just now, so that trials
                in progress go on.
            report: called at each reading of a trial with `readings`.
            race: called as a trial with `readings` is scored at its end, after each part of the
                objective's split but the last, where answers are decoded in several batches.

        Yields:
            One result for each trial, as they end.
        """
        ...
