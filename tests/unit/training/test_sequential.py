"""Scoring in parts: how many, in which order, and how it ends."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest

from harness.training.sequential import PrunedError, merge_scores, score_in_parts, split_parts
from harness.trial import SplitScores


@dataclass(frozen=True)
class Row:
    id: str


class Ten:
    """A task of ten examples, as far as parts know one."""

    def examples(self, _split: str) -> tuple[Row, ...]:
        return tuple(Row(f"n{index}") for index in range(10))

    def values(self, rows: list[tuple[float, ...]], unparsed: list[bool]) -> dict[str, float]:
        return {"mean": sum(row[0] for row in rows) / len(rows), "unparsed": float(sum(unparsed))}


TASK: Any = Ten()


def scores(wanted: slice | None) -> SplitScores:
    chosen = range(10)[wanted or slice(None)]
    rows = tuple((float(index),) for index in chosen)
    unparsed = tuple(index == 3 for index in chosen)
    ids, texts = (tuple(f"{letter}{index}" for index in chosen) for letter in "nt")
    return SplitScores("s", ids, texts, unparsed, rows, TASK.values([*rows], [*unparsed]))


def score(wanted: slice | None) -> Generator[Any, Any, SplitScores]:
    yield "asked"
    return scores(wanted)


def run(life: Generator[Any, Any, SplitScores]) -> SplitScores:
    try:
        while True:
            next(life)
    except StopIteration as end:
        found: SplitScores = end.value
        return found


@pytest.mark.parametrize(("batch", "many"), [(100, 1), (6, 1), (5, 2), (3, 3), (1, 4)])
def test_a_part_is_no_smaller_than_a_batch(batch: int, many: int) -> None:
    found = split_parts(TASK, "s", batch)
    assert len(found) == many
    covered = sorted(index for part in found for index in range(10)[part])
    assert covered == list(range(10))
    assert all(len(range(10)[part]) >= min(batch, 10) for part in found) or many == 4


def test_parts_come_to_the_whole() -> None:
    seen: list[int] = []

    def ask(so_far: SplitScores) -> None:
        seen.append(len(so_far.ids))
        assert so_far.values == TASK.values([*so_far.statistics], [*so_far.unparsed])

    assert run(score_in_parts(score, TASK, split_parts(TASK, "s", 3), ask)) == scores(None)
    assert seen == [4, 7]


def test_whoever_looks_on_ends_it_with_a_reason() -> None:
    with pytest.raises(PrunedError, match="enough"):
        run(score_in_parts(score, TASK, split_parts(TASK, "s", 3), lambda _: "enough"))


def test_without_anybody_looking_on_there_is_one_part() -> None:
    assert run(score_in_parts(score, TASK, (None,), None)) == scores(None)
    assert merge_scores(TASK, [scores(slice(1, None, 2)), scores(slice(0, None, 2))]) == scores(
        None
    )
