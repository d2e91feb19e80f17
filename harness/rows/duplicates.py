"""Texts that stand in the data nearly word for word more than once, within and across splits.

A text is a near duplicate of another when at least 70 % of its word 8-grams occur in it, the
measure and the threshold of PaLM (Chowdhery et al. 2022, section 8) with one text in the place of
the whole training set. A text of three to seven words is one when its words are all the same.
Words are runs of letters and digits in any case. Equal inputs are not counted here; see
`harness.formats.leaks`.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from harness.formats import Row, input_key

GRAM: Final = 8
SHARE: Final = 0.7
#: Shorter texts are no near duplicates: "5 %." is not told from "5."
LEAST: Final = 3

_WORD: Final = re.compile(r"\w+")


class Near(NamedTuple):
    """A row most of whose text stands in another row, too.

    Attributes:
        split: of the row.
        id: of the row.
        other_split: the same split, or an earlier one.
        other_id: of the row that holds its text.
    """

    split: str
    id: str
    other_split: str
    other_id: str


class _Text(NamedTuple):
    place: int  # number of the split
    row: Row
    key: str
    grams: frozenset[int]


def near_duplicates(splits: Mapping[str, Sequence[Row]]) -> tuple[Near, ...]:
    """Each row that is a near duplicate of one in its own or an earlier split, once for a split.

    Within a split the shorter of two is named, so that leaving the named ones out leaves one of
    each.

    Args:
        splits: rows by split, the training split first.
    """
    names = tuple(splits)
    texts = _texts(splits)
    frequency = Counter(gram for text in texts for gram in text.grams)
    found: list[Near] = []
    holders: dict[int, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        for other in _containing(text, texts, holders, frequency):
            found.append(Near(names[text.place], text.row.id, names[other.place], other.row.id))
        for gram in text.grams:
            holders[gram].append(number)
    return tuple(found)


def _texts(splits: Mapping[str, Sequence[Row]]) -> list[_Text]:
    """Split by split, long texts first."""
    numbers: dict[tuple[str, ...], int] = {}
    texts: list[_Text] = []
    for place, rows in enumerate(splits.values()):
        own = []
        for row in rows:
            words = _WORD.findall((row.text.strip() or row.instruction or "").casefold())
            starts = range(max(1, len(words) - GRAM + 1) if len(words) >= LEAST else 0)
            grams = (tuple(words[start : start + GRAM]) for start in starts)
            held = frozenset(numbers.setdefault(gram, len(numbers)) for gram in grams)
            own.append(_Text(place, row, input_key(row), held))
        texts += sorted(own, key=lambda text: -len(text.grams))
    return texts


def _containing(
    text: _Text,
    texts: Sequence[_Text],
    holders: Mapping[int, Sequence[int]],
    frequency: Mapping[int, int],
) -> Iterator[_Text]:
    """One text of each split, among those met before, that holds most of this one.

    Such a text shares `needed` of the 8-grams, hence one at least of any `len - needed + 1`: only
    the holders of the rarest so many are looked at, and what thousands of texts begin with costs
    nothing.
    """
    needed = math.ceil(SHARE * len(text.grams))
    rarest = sorted(text.grams, key=lambda gram: (frequency[gram], gram))
    seen: set[int] = set()
    done: set[int] = set()
    for gram in rarest[: len(text.grams) - needed + 1]:
        for number in holders.get(gram, ()):
            other = texts[number]
            if other.place in done or number in seen:
                continue
            seen.add(number)
            if len(text.grams & other.grams) >= needed and text.key != other.key:
                done.add(other.place)
                yield other
