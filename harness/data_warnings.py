"""What a data card shows that somebody should act on, in plain sentences; knows no files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness.data_card import FEW, TRAIN, DataCard

if TYPE_CHECKING:
    from harness.rows.repeated import Place

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
