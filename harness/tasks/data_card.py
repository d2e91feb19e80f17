"""What a user should know of their data before anything trains, as tables and plain sentences.

Rows by split, their texts and a function that counts tokens come in; counts, lengths, repetitions,
contradictions and warnings go out. Knows no files, models or kinds of task; prints nothing.

What a data card shows that somebody should act on, in plain sentences; knows no files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.data.preparation import Place, Repeated, contradictions, exact_duplicates

if TYPE_CHECKING:
    from harness.data.rows import Row


Array = npt.NDArray[Any]

TRAIN: Final = "train"
#: Below so many test examples the score of a class cannot rank anything.
FEW: Final = 30


class Texts(NamedTuple):
    """What a row becomes.

    Attributes:
        prompt: what the model is given.
        answer: what it should write.
    """

    prompt: str
    answer: str


class Limits(NamedTuple):
    """What texts are held against, in tokens.

    Attributes:
        max_length: of a training example.
        max_new_tokens: of an answer; None where none is written.
        marks: tokens put around an example: start and end of text.
        room: of a prompt that is scored, beside the answer in the model's context; None where the
            model does not say.
    """

    max_length: int
    max_new_tokens: int | None
    marks: int = 0
    room: int | None = None


class PreparationCounts(NamedTuple):
    """What was done to the rows before.

    Attributes:
        left_out: training rows that went, by reason.
        augmented: training rows that a hook added.
    """

    left_out: Mapping[str, int]
    augmented: int


class Count(NamedTuple):
    """Rows of a split; `labelled` counts those with a label, and is None where rows have none."""

    split: str
    rows: int
    documents: int
    labelled: int | None


class ClassCount(NamedTuple):
    """Rows that have a class, by split, in the order of the splits."""

    name: str
    rows: tuple[int, ...]


class Length(NamedTuple):
    """Tokens of prompts or answers: `cut` is the share that does not fit."""

    split: str
    what: str
    median: float
    high: float
    most: int
    cut: float


class BaselineScore(NamedTuple):
    """What an answer without any training reaches on the test split, as people read it."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class DataCard:
    """The tables.

    Attributes:
        counts: rows of each split.
        classes: rows of each class; empty where there are no classes.
        lengths: in tokens.
        repeated: within and across splits.
        contradictions: rows whose input stands in another row with another answer.
        empty: rows whose answer is blank.
        overlong: rows whose answer is longer than may be written.
        too_long: training rows whose answer alone is too long to train on.
        floors: naive answers on the test split.
        given: what was done before.
        limits: what lengths were held against.
    """

    counts: tuple[Count, ...]
    classes: tuple[ClassCount, ...]
    lengths: tuple[Length, ...]
    repeated: tuple[Repeated, ...]
    contradictions: tuple[Place, ...]
    empty: tuple[Place, ...]
    overlong: tuple[Place, ...]
    too_long: tuple[Place, ...]
    floors: tuple[BaselineScore, ...]
    given: PreparationCounts
    limits: Limits


def make_data_card(
    rows: Mapping[str, Sequence[Row]],
    texts: Mapping[str, Sequence[Texts]],
    tokens: Callable[[Sequence[str]], Sequence[int]],
    limits: Limits,
    labels: Callable[[Row], Collection[str]] | None,
    given: PreparationCounts,
    floors: Sequence[BaselineScore] = (),
) -> DataCard:
    """Looks at the rows of a task.

    Args:
        rows: by split, the training split first.
        texts: what each row becomes, in the order of the rows.
        tokens: gives the length of each text.
        limits: what lengths are held against.
        labels: the labels or the class of a row; None where rows have none.
        given: what was done to the rows before.
        floors: what naive answers reach.
    """
    sizes = {split: _sizes(own, tokens) for split, own in texts.items()}
    overlong, too_long = _long(rows, sizes, limits)
    return DataCard(
        counts=tuple(
            Count(
                split,
                len(own),
                len({row.document for row in own}),
                None if labels is None else sum(bool(labels(row)) for row in own),
            )
            for split, own in rows.items()
        ),
        classes=() if labels is None else _classes(rows, labels),
        lengths=tuple(_lengths(sizes, limits)),
        repeated=exact_duplicates(rows),
        contradictions=contradictions(rows),
        empty=tuple(
            Place(split, row.id)
            for split, own in rows.items()
            for row, text in zip(own, texts[split], strict=True)
            if not text.answer.strip()
        ),
        overlong=overlong,
        too_long=too_long,
        floors=tuple(floors),
        given=given,
        limits=limits,
    )


def _classes(
    rows: Mapping[str, Sequence[Row]], labels: Callable[[Row], Collection[str]]
) -> tuple[ClassCount, ...]:
    """Most frequent in training first."""
    counts = {
        split: Counter(label for row in own for label in set(labels(row)))
        for split, own in rows.items()
    }
    names = sorted(set().union(*counts.values()))
    found = [ClassCount(name, tuple(one[name] for one in counts.values())) for name in names]
    return tuple(sorted(found, key=lambda one: -one.rows[0]))


class _Sizes(NamedTuple):
    prompts: Array
    answers: Array


def _sizes(texts: Sequence[Texts], tokens: Callable[[Sequence[str]], Sequence[int]]) -> _Sizes:
    return _Sizes(
        np.asarray(tokens([text.prompt for text in texts]), dtype=int),
        np.asarray(tokens([text.answer for text in texts]), dtype=int),
    )


def _lengths(sizes: Mapping[str, _Sizes], limits: Limits) -> Iterator[Length]:
    for split, (prompts, answers) in sizes.items():
        cut = np.zeros(len(prompts), dtype=bool)
        if split == TRAIN:
            cut = prompts + answers + limits.marks > limits.max_length
        elif limits.room is not None:
            cut = prompts > limits.room
        if prompts.any():
            yield _length(split, "prompt", prompts, cut)
            cut = answers > (limits.max_new_tokens or np.inf)
        yield _length(split, "answer" if prompts.any() else "text", answers, cut)


def _length(split: str, what: str, found: Array, cut: Array) -> Length:
    if not len(found):
        return Length(split, what, 0.0, 0.0, 0, 0.0)
    median, high = np.percentile(found, [50, 95])
    return Length(split, what, float(median), float(high), int(found.max()), float(cut.mean()))


def _long(
    rows: Mapping[str, Sequence[Row]], sizes: Mapping[str, _Sizes], limits: Limits
) -> tuple[tuple[Place, ...], tuple[Place, ...]]:
    """Rows whose answer cannot be written whole, and training rows whose answer cannot be met."""
    overlong: list[Place] = []
    too_long: list[Place] = []
    for split, own in rows.items():
        asks = sizes[split].prompts.any()  # texts alone are cut into pieces, all of them used
        for row, size in zip(own, sizes[split].answers, strict=True):
            if limits.max_new_tokens is not None and size > limits.max_new_tokens:
                overlong.append(Place(split, row.id))
            if split == TRAIN and asks and size + limits.marks >= limits.max_length:
                too_long.append(Place(split, row.id))
    return tuple(overlong), tuple(too_long)


#: How many classes or rows are named.
_NAMED = 4


def warnings(card: DataCard) -> tuple[str, ...]:
    """One sentence each, the most serious first; none where there is nothing to say."""
    return (*_leaking(card), *_repeating(card), *_answers(card), *_cut(card), *_few(card))


def _leaking(card: DataCard) -> Iterator[str]:
    for one in card.repeated:
        if one.split == one.other:
            continue
        where = f"in {one.other}, such as {one.example}"
        if one.exact:
            near = f" ({one.near} more nearly)" if one.near else ""
            yield (
                f"{_rows(one.exact)} of {one.split} {_have(one.exact)} an input that stands "
                f"{where}{near}: scores on them are too good"
            )
        elif one.near:
            yield (
                f"{_rows(one.near)} of {one.split} {'stands' if one.near == 1 else 'stand'} "
                f"nearly word for word {where}: scores on them may be too good"
            )


def _repeating(card: DataCard) -> Iterator[str]:
    for one in card.repeated:
        if one.split != one.other or not one.exact:
            continue
        means = "weigh double in training" if one.split == TRAIN else "count twice in its score"
        advice = "; quality: {drop_duplicates: true} leaves them out" * (one.split == TRAIN)
        yield (
            f"{_rows(one.exact)} of {one.split} repeat{'s' * (one.exact == 1)} an input of an "
            f"earlier one, such as {one.example}: these {means}{advice}"
        )
    found = card.contradictions
    if found:
        yield (
            f"{_rows(len(found))} {_have(len(found))} an input that stands with another answer "
            f"elsewhere, such as {found[0].id} ({found[0].split}) and {found[0].other}: no model "
            "can get both right"
        )


def _answers(card: DataCard) -> Iterator[str]:
    if card.empty:
        count = len(card.empty)
        yield f"{_rows(count)} {_have(count)} a blank answer: {_named(card.empty)}"
    if card.overlong:
        yield (
            f"{_rows(len(card.overlong))} {_have(len(card.overlong))} an answer of more than "
            f"max_new_tokens: {card.limits.max_new_tokens}, which cannot be written whole: "
            f"{_named(card.overlong)}"
        )
    if card.too_long:
        yield (
            f"{_rows(len(card.too_long))} of train {_have(len(card.too_long))} an answer that "
            f"alone fills training.max_length: {card.limits.max_length}, and "
            f"{'is' if len(card.too_long) == 1 else 'are'} not trained on: {_named(card.too_long)}"
        )


def _cut(card: DataCard) -> Iterator[str]:
    for one in card.lengths:
        if one.what == "answer" or not one.cut:
            continue
        limit = f"training.max_length: {card.limits.max_length}"
        fate = "cut into pieces" if one.what == "text" else "cut"
        if one.split != TRAIN:
            limit = f"the {card.limits.room} tokens that the model's context leaves them"
        yield f"{_percent(one.cut)} of the {one.what}s of {one.split} are {fate} to fit {limit}"


def _few(card: DataCard) -> Iterator[str]:
    test = next((n for n, one in enumerate(card.counts) if one.split == "test"), None)
    if test is None:
        return
    rare = sorted((one.rows[test], one.name) for one in card.classes if one.rows[test] < FEW)
    few = [f"{name} ({count})" for count, name in rare]
    if few and len(few) == len(card.classes):
        yield (
            f"no class has {FEW} test examples (at most {max(c.rows[test] for c in card.classes)})"
            ": the scores of single classes cannot rank anything"
        )
    elif few:
        yield (
            f"under {FEW} test examples: {_list(few)}: the score of such a class cannot rank "
            "anything"
        )
    if card.counts[test].rows < FEW:
        yield f"test has {_rows(card.counts[test].rows)}: its scores cannot rank anything"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "under 0.1 %"


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _named(places: Sequence[Place]) -> str:
    return _list([f"{place.id} ({place.split})" for place in places])


def _list(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
