"""Scoring a split part by part, so that whoever looks on may end it early."""

from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

from harness.task import Task
from harness.training.ongoing import PrunedError
from harness.trial import SplitScores

#: Parts at most; each look at them costs some of the error that may be spent.
_MOST: Final = 4


def parts(task: Task, split: str, batch: int) -> tuple[slice, ...]:
    """Parts of a split, each spread over all of its examples.

    Args:
        task: has the split.
        split: its name.
        batch: examples decoded together; a part is no smaller, or scoring would take longer.
    """
    many = max(1, min(_MOST, len(task.examples(split)) // batch))
    return tuple(slice(part, None, many) for part in range(many))


def raced(
    score: Callable[[slice | None], Generator[Any, Any, SplitScores]],
    task: Task,
    wanted: Sequence[slice | None],
    ask: Callable[[SplitScores], str | None] | None,
) -> Generator[Any, Any, SplitScores]:
    """Scores part after part.

    Args:
        score: scores one.
        task: computes the metrics' values of all.
        wanted: the parts.
        ask: told what there is after each part but the last; answers why to stop, or None.

    Raises:
        PrunedError: it said so.
    """
    found: list[SplitScores] = []
    for place, part in enumerate(wanted, 1):
        found.append((yield from score(part)))
        if ask is not None and place < len(wanted):
            why = ask(joined(task, found))
            if why is not None:
                raise PrunedError(why)
    return joined(task, found)


def joined(task: Task, found: Sequence[SplitScores]) -> SplitScores:
    """Parts of a split as one, in the order of the task's examples.

    Args:
        task: computes the metrics' values.
        found: one or more parts, no example in two of them.
    """
    if len(found) == 1:
        return found[0]
    place = {example.id: at for at, example in enumerate(task.examples(found[0].split))}
    rows = [
        row
        for each in found
        for row in zip(each.ids, each.predictions, each.unparsed, each.statistics, strict=True)
    ]
    ids, predictions, unparsed, statistics = zip(
        *sorted(rows, key=lambda row: place[row[0]]), strict=True
    )
    values = task.values([*statistics], [*unparsed])
    return SplitScores(found[0].split, ids, predictions, unparsed, statistics, values)
