"""What is trained when: row lengths, document mix and learning rate, by tokens, not by time."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.embedded.corpus import COPYING_FIRST, MIXED


@dataclass(frozen=True)
class Stage:
    """A stretch of the run with one row length."""

    share: float
    length: int
    rows: int
    mix: Mapping[str, float]


#: About 3,072 tokens a step. The last rows are as long as a prompt with five worked examples.
STAGES: tuple[Stage, ...] = (
    Stage(0.08, 96, 32, COPYING_FIRST),
    Stage(0.30, 192, 16, MIXED),
    Stage(0.37, 384, 8, MIXED),
    Stage(0.25, 768, 4, MIXED),
)
_WARM_UP = 60
_HOLD = 0.35
_FLOOR = 0.03


def steps(stage: Stage, tokens: int) -> int:
    """Steps of a stage in a run of `tokens` tokens; at least one."""
    return max(1, round(stage.share * tokens / (stage.length * stage.rows)))


def factor(step: int, done: float) -> float:
    """Learning-rate factor: warm-up, hold, cosine to 3 %; `done` is the share of tokens seen."""
    warm = min(1.0, (step + 1) / _WARM_UP)
    if done < _HOLD:
        return warm
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, (done - _HOLD) / (1 - _HOLD))))
    return warm * (_FLOOR + (1 - _FLOOR) * fall)


def chunks(tokens: int, steps_per_chunk: int) -> Iterator[tuple[Stage, int]]:
    """The run in pieces: a stage and how many steps of it come next."""
    for stage in STAGES:
        left = steps(stage, tokens)
        while left > 0:
            count = min(left, steps_per_chunk)
            yield stage, count
            left -= count
