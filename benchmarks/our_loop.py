"""This project's engines under the clock of the benchmark."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from benchmarks.plain_loop import Clock, Done
from harness.training import evaluation
from harness.training.trainer import Trainer
from harness.trial import TrialConfig, TrialRequest


class OurLoop:
    """One of this project's engines under the same clock.

    Args:
        trainer: the engine.
        clock: counts `train` (all but scoring) and `score`.
    """

    def __init__(self, trainer: Trainer, clock: Clock) -> None:
        """Numbers trials from 0."""
        self._trainer, self._clock, self._number = trainer, clock, 0

    def trial(self, config: TrialConfig) -> Done:
        """One trial by itself."""
        return self.trials([config])[0]

    def trials(self, configs: Sequence[TrialConfig]) -> list[Done]:
        """All of these, as the engine likes to have them; in their order."""
        requests = [TrialRequest(self._number + i, each) for i, each in enumerate(configs)]
        self._number += len(configs)
        with self._clock.part("train"), _scoring(self._clock):
            found = {one.number: one for one in self._trainer.train(iter(requests), _going_on)}
        results = [found[request.number] for request in requests]
        wrong = [result.error for result in results if not result.scores]
        if wrong:
            raise SystemExit(f"a trial ended without scores: {wrong[0]}")
        return [Done(one.measurements[-1].loss, one.scores["validation"]) for one in results]


def _going_on(_number: int, _reading: Any) -> bool:
    return True


@contextmanager
def _scoring(clock: Clock) -> Iterator[None]:
    """Counts what this project's engines score as `score`."""

    def timed(whole: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            with clock.part("score"):
                return whole(*given, **named)

        return run

    with ExitStack() as stack:
        for name in ("score", "score_together"):
            counted = timed(getattr(evaluation, name))
            stack.enter_context(mock.patch.object(evaluation, name, counted))
        yield
