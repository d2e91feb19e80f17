"""`DataCard`: what a user should know of their data before training, as tables and warnings.

`make_data_card` counts rows, classes, lengths in tokens, duplicates and contradictions;
`warnings` says in sentences what should be acted on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.data.preparation import (
    DuplicateCount,
    RowReference,
    count_duplicates,
    find_contradictions,
)

if TYPE_CHECKING:
    from harness.data.rows import Row


Array = npt.NDArray[Any]

TRAIN: Final = "train"
#: With fewer test examples the score of a class is too noisy to rank anything.
MIN_TEST_EXAMPLES: Final = 30


class RowTexts(NamedTuple):
    """The texts that a row is turned into: the model's input and the expected output."""

    prompt: str
    answer: str


class TokenLimits(NamedTuple):
    """Limits on texts, in tokens.

    Attributes:
        max_length: of a training example.
        max_new_tokens: of an answer; None where none is generated.
        special_tokens: tokens added to an example: start and end of text.
        prompt_room: of a prompt that is scored: the model's context less the answer; None where
            the model has no limit.
    """

    max_length: int
    max_new_tokens: int | None
    special_tokens: int = 0
    prompt_room: int | None = None


class PreparationCounts(NamedTuple):
    """Training rows that were dropped, by reason, and those that a hook added."""

    left_out: Mapping[str, int]
    augmented: int


class SplitCount(NamedTuple):
    """Rows of a split; `labelled` counts those with a label, and is None where rows have none."""

    split: str
    rows: int
    documents: int
    labelled: int | None


class ClassCount(NamedTuple):
    """Rows that have a class, by split, in the order of the splits."""

    name: str
    rows: tuple[int, ...]


class LengthSummary(NamedTuple):
    """Tokens of prompts or answers; `cut_share` is the share of texts that do not fit."""

    split: str
    what: str
    median: float
    percentile_95: float
    longest: int
    cut_share: float


class BaselineScore(NamedTuple):
    """Test score of a baseline that trains no model, in the unit that reports use."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class DataCard:
    """Tables on the data of a task.

    Attributes:
        counts: rows of each split.
        classes: rows of each class; empty where there are no classes.
        lengths: in tokens.
        duplicates: exact and near, within and across splits.
        contradictions: rows whose input occurs in an earlier row with another answer.
        empty: rows whose answer is blank.
        overlong: rows whose answer exceeds `max_new_tokens`.
        too_long: training rows whose answer alone is too long to train on.
        baselines: of answers without a model, on the test split.
        preparation: what was done to the training rows.
        limits: that lengths were compared with.
    """

    counts: tuple[SplitCount, ...]
    classes: tuple[ClassCount, ...]
    lengths: tuple[LengthSummary, ...]
    duplicates: tuple[DuplicateCount, ...]
    contradictions: tuple[RowReference, ...]
    empty: tuple[RowReference, ...]
    overlong: tuple[RowReference, ...]
    too_long: tuple[RowReference, ...]
    baselines: tuple[BaselineScore, ...]
    preparation: PreparationCounts
    limits: TokenLimits


def make_data_card(
    rows: Mapping[str, Sequence[Row]],
    texts: Mapping[str, Sequence[RowTexts]],
    tokens: Callable[[Sequence[str]], Sequence[int]],
    limits: TokenLimits,
    labels: Callable[[Row], Collection[str]] | None,
    preparation: PreparationCounts,
    baselines: Sequence[BaselineScore] = (),
) -> DataCard:
    """Describes the rows of a task.

    Args:
        rows: by split, the training split first.
        texts: of each row, in the order of the rows.
        tokens: returns the length of each text.
        limits: as in `DataCard`.
        labels: the labels or the class of a row; None where rows have none.
        preparation: as in `DataCard`.
        baselines: as in `DataCard`.
    """
    sizes = {}  # tokens of the prompts, and of the answers
    for split, split_texts in texts.items():
        parts = [text.prompt for text in split_texts], [text.answer for text in split_texts]
        sizes[split] = [np.asarray(tokens(part), dtype=int) for part in parts]
    overlong, too_long = _overlong_rows(rows, sizes, limits)
    return DataCard(
        counts=tuple(
            SplitCount(
                split,
                len(split_rows),
                len({row.document for row in split_rows}),
                None if labels is None else sum(bool(labels(row)) for row in split_rows),
            )
            for split, split_rows in rows.items()
        ),
        classes=() if labels is None else _class_counts(rows, labels),
        lengths=tuple(_summarize_lengths(sizes, limits)),
        duplicates=count_duplicates(rows),
        contradictions=find_contradictions(rows),
        empty=tuple(
            RowReference(split, row.id)
            for split, split_rows in rows.items()
            for row, text in zip(split_rows, texts[split], strict=True)
            if not text.answer.strip()
        ),
        overlong=overlong,
        too_long=too_long,
        baselines=tuple(baselines),
        preparation=preparation,
        limits=limits,
    )


def _class_counts(
    rows: Mapping[str, Sequence[Row]], labels: Callable[[Row], Collection[str]]
) -> tuple[ClassCount, ...]:
    """The most frequent class of the training split first."""
    counts = {
        split: Counter(label for row in split_rows for label in set(labels(row)))
        for split, split_rows in rows.items()
    }
    names = sorted(set().union(*counts.values()))
    classes = [ClassCount(name, tuple(count[name] for count in counts.values())) for name in names]
    return tuple(sorted(classes, key=lambda entry: -entry.rows[0]))


def _summarize_lengths(
    sizes: Mapping[str, Sequence[Array]], limits: TokenLimits
) -> Iterator[LengthSummary]:
    for split, (prompts, answers) in sizes.items():
        too_long = np.zeros(len(prompts), dtype=bool)
        if split == TRAIN:
            too_long = prompts + answers + limits.special_tokens > limits.max_length
        elif limits.prompt_room is not None:
            too_long = prompts > limits.prompt_room
        if prompts.any():
            yield _summarize(split, "prompt", prompts, too_long)
            too_long = answers > (limits.max_new_tokens or np.inf)
        yield _summarize(split, "answer" if prompts.any() else "text", answers, too_long)


def _summarize(split: str, what: str, counts: Array, too_long: Array) -> LengthSummary:
    if not len(counts):
        return LengthSummary(split, what, 0.0, 0.0, 0, 0.0)
    median, high = np.percentile(counts, [50, 95]).tolist()
    return LengthSummary(split, what, median, high, int(counts.max()), float(too_long.mean()))


def _overlong_rows(
    rows: Mapping[str, Sequence[Row]], sizes: Mapping[str, Sequence[Array]], limits: TokenLimits
) -> tuple[tuple[RowReference, ...], tuple[RowReference, ...]]:
    """Rows whose answer exceeds `max_new_tokens`; training rows whose answer leaves no room."""
    overlong: list[RowReference] = []
    too_long: list[RowReference] = []
    for split, split_rows in rows.items():
        # Language modelling has no prompts: it splits texts into pieces and uses all of them.
        prompts, answers = sizes[split]
        prompted = prompts.any()
        for row, size in zip(split_rows, answers, strict=True):
            if limits.max_new_tokens is not None and size > limits.max_new_tokens:
                overlong.append(RowReference(split, row.id))
            if split == TRAIN and prompted and size + limits.special_tokens >= limits.max_length:
                too_long.append(RowReference(split, row.id))
    return tuple(overlong), tuple(too_long)


#: A warning names so many classes or rows at most.
_MAX_NAMED = 4


def warnings(card: DataCard) -> tuple[str, ...]:
    """One sentence for each problem, the most serious first."""
    return (
        *_leak_warnings(card),
        *_duplicate_warnings(card),
        *_answer_warnings(card),
        *_length_warnings(card),
        *_size_warnings(card),
    )


def _leak_warnings(card: DataCard) -> Iterator[str]:
    for pair in card.duplicates:
        if pair.split == pair.other_split:
            continue
        if pair.exact:
            near = f" ({pair.near} more nearly)" if pair.near else ""
            yield (
                f"{_count_rows(pair.exact)} of {pair.split} {_have(pair.exact)} the same input as "
                f"a row of {pair.other_split}, such as {pair.example}{near}: scores on them are "
                "inflated"
            )
        elif pair.near:
            are = "is a near duplicate" if pair.near == 1 else "are near duplicates"
            yield (
                f"{_count_rows(pair.near)} of {pair.split} {are} of a row of {pair.other_split}, "
                f"such as {pair.example}: scores on them may be inflated"
            )


def _duplicate_warnings(card: DataCard) -> Iterator[str]:
    for pair in card.duplicates:
        if pair.split != pair.other_split or not pair.exact:
            continue
        effect = (
            "training weights it twice" if pair.split == TRAIN else "the score counts it twice"
        )
        advice = "; quality: {drop_duplicates: true} drops duplicates" * (pair.split == TRAIN)
        yield (
            f"{_count_rows(pair.exact)} of {pair.split} repeat{'s' * (pair.exact == 1)} the input "
            f"of an earlier row, such as {pair.example}: {effect}{advice}"
        )
    if card.contradictions:
        first = card.contradictions[0]
        yield (
            f"{_rows_have(card.contradictions)} the same input as an earlier row but another "
            f"answer, such as {first.id} ({first.split}) and {first.compared_with}: no "
            "model can get both right"
        )


def _answer_warnings(card: DataCard) -> Iterator[str]:
    if card.empty:
        yield f"{_rows_have(card.empty)} a blank answer: {_list_rows(card.empty)}"
    if card.overlong:
        yield (
            f"{_rows_have(card.overlong)} an answer longer than max_new_tokens: "
            f"{card.limits.max_new_tokens}, which no model can complete: "
            f"{_list_rows(card.overlong)}"
        )
    if card.too_long:
        yield (
            f"{_rows_have(card.too_long, ' of train')} an answer that alone fills "
            f"training.max_length: {card.limits.max_length}, and "
            f"{'is' if len(card.too_long) == 1 else 'are'} not trained on: "
            f"{_list_rows(card.too_long)}"
        )


def _length_warnings(card: DataCard) -> Iterator[str]:
    for summary in card.lengths:
        if summary.what == "answer" or not summary.cut_share:
            continue
        limit = f"training.max_length: {card.limits.max_length}"
        treatment = "split into pieces" if summary.what == "text" else "truncated"
        if summary.split != TRAIN:
            limit = f"the {card.limits.prompt_room} tokens that the model's context leaves them"
        yield (
            f"{_percent(summary.cut_share)} of the {summary.what}s of {summary.split} are "
            f"{treatment} to fit {limit}"
        )


def _size_warnings(card: DataCard) -> Iterator[str]:
    splits = [count.split for count in card.counts]
    if "test" not in splits:
        return
    test = splits.index("test")
    sizes = {name: rows[test] for name, rows in card.classes}
    rare = sorted((count, name) for name, count in sizes.items() if count < MIN_TEST_EXAMPLES)
    if rare and len(rare) == len(sizes):
        yield (
            f"no class has {MIN_TEST_EXAMPLES} test examples (at most {max(sizes.values())}): "
            "scores of single classes are too noisy to rank anything"
        )
    elif rare:
        names = _list_names([f"{name} ({count})" for count, name in rare])
        yield (
            f"fewer than {MIN_TEST_EXAMPLES} test examples: {names}: the score of such a class is "
            "too noisy to rank anything"
        )
    if card.counts[test].rows < MIN_TEST_EXAMPLES:
        rows = _count_rows(card.counts[test].rows)
        yield f"test has {rows}: its scores are too noisy to rank anything"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "under 0.1 %"


def _count_rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _rows_have(rows: Sequence[RowReference], split: str = "") -> str:
    return f"{_count_rows(len(rows))}{split} {_have(len(rows))}"


def _list_rows(rows: Sequence[RowReference]) -> str:
    return _list_names([f"{row.id} ({row.split})" for row in rows])


def _list_names(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
