"""Worked examples: which training examples are shown before a prompt."""

import random
from collections.abc import Sequence

from harness.kinds import Example, Kind


def choose(
    training: Sequence[Example], kind: Kind, labels: Sequence[str], count: int, seed: int = 0
) -> tuple[Example, ...]:
    """Chooses examples that a prompt has room for and that show what there is.

    From the shorter half of the training split; each is the first in a seeded order that shows
    most of the labels or classes not shown so far, so that they soon cover all.

    Args:
        training: the training examples.
        kind: says what an example shows.
        labels: what there is to be shown.
        count: how many; 0 gives none.
        seed: of the choice.
    """
    pool = sorted(training, key=lambda one: (len(one.text), one.id))
    pool = pool[: max(count, (len(pool) + 1) // 2)]
    random.Random(f"few shot {seed}").shuffle(pool)
    chosen: list[Example] = []
    missing = set(labels)
    while pool and len(chosen) < count:
        best = max(pool, key=lambda one: len(missing.intersection(kind.shows(one))))
        pool.remove(best)
        chosen.append(best)
        missing -= set(kind.shows(best))
        missing = missing or set(labels)
    return tuple(chosen)
