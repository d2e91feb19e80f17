"""Makes a split from another: by group, by seed, and in the proportions of the classes if wanted.

Groups are taken in the order of a hash of seed and name, so that the choice is the same on every
platform, and a group more or less hardly moves the others. `StratifiedGroupKFold` of scikit-learn
shuffles by position, knows one class a row and shares of 1/k only; hence the few lines here.

Leaves training rows out that are not good enough: a low score, a repetition, a bad length.

Knows rows alone; which keys a task.yaml may say is in `harness.tasks.schema`.

Texts that stand in the data nearly word for word more than once, within and across splits.

A text is a near duplicate of another when at least 70 % of its word 8-grams occur in it, the
measure and the threshold of PaLM (Chowdhery et al. 2022, section 8) with one text in the place of
the whole training set. A text of three to seven words is one when its words are all the same.
Words are runs of letters and digits in any case. Equal inputs are not counted here; see
`harness.data.leaks`.

Inputs that stand in the data more than once: where, how often, and with which answers.

What to do about inputs that stand in two splits: say so, or leave them out.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from harness.data.rows import Leak, Row, input_key

#: What `by` may say besides the name of a field.
DOCUMENT: Final = "document"
ROW: Final = "row"

#: Answers the classes of a row.
Labels = Callable[[Row], Collection[str]]
#: Stands for having none.
_NONE: Final = ""


class Split(NamedTuple):
    """Rows in two parts, no group in both.

    Attributes:
        kept: what stays.
        carved: the new split.
        groups: groups in `carved`.
    """

    kept: tuple[Row, ...]
    carved: tuple[Row, ...]
    groups: int


def hash_order(seed: int, name: str) -> str:
    """What names are sorted by: as good as drawn, and always the same."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def grouped(rows: Sequence[Row], by: str) -> dict[str, list[Row]]:
    """Rows by group, the groups in the order of the rows.

    Args:
        rows: of one split.
        by: `document`, `row` (rows with the same input are one group), or the name of the field
            that `Row.group` holds.
    """
    first: dict[str, str] = {}
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if by == DOCUMENT:
            name = row.document
        elif by == ROW:
            name = first.setdefault(input_key(row), row.id)
        else:
            name = str(row.group)
        groups[name].append(row)
    return dict(groups)


def split_off(
    rows: Sequence[Row], count: float, seed: int, by: str, labels: Labels | None = None
) -> Split:
    """Takes whole groups out of a split.

    Args:
        rows: of the split, at least two groups.
        count: how much to take: groups, or rows where `labels` are given.
        seed: of the choice.
        by: what groups are; see `grouped`.
        labels: gives the classes of a row, which keep their proportions (nearly, where a row has
            several or groups are large); no class loses its last group. None takes groups as they
            come.

    Raises:
        ValueError: there is one group only.
    """
    groups = grouped(rows, by)
    if len(groups) < 2:
        raise ValueError("one group only")
    names = sorted(groups, key=lambda name: hash_order(seed, name))
    if labels is None:
        chosen = set(names[: min(len(names) - 1, max(1, round(count)))])
    else:
        chosen = _stratified(names, groups, count / len(rows), labels)
    inside = {id(row) for name in chosen for row in groups[name]}
    return Split(
        tuple(row for row in rows if id(row) not in inside),
        tuple(row for row in rows if id(row) in inside),
        len(chosen),
    )


def _stratified(
    names: Sequence[str], groups: Mapping[str, Sequence[Row]], share: float, labels: Labels
) -> set[str]:
    """Takes a group where that brings the counts of its classes nearer to their shares.

    Deviations are squared and divided by what is wanted, as in a chi-squared: a class of ten rows
    counts as much as one of a thousand. With single rows of one class each, every class gives the
    first rows of its own, its share rounded.
    """
    counts = {name: _counts(groups[name], labels) for name in names}
    total: Counter[str] = Counter()
    for one in counts.values():
        total.update(one)
    wanted = {label: share * number for label, number in total.items()}
    have: Counter[str] = Counter()
    chosen: set[str] = set()
    for name in names:
        nearer = sum(
            ((have[label] + n - wanted[label]) ** 2 - (have[label] - wanted[label]) ** 2)
            / wanted[label]
            for label, n in counts[name].items()
        )
        last = any(have[label] + n == total[label] for label, n in counts[name].items())
        if nearer < 0 and not last:
            chosen.add(name)
            have.update(counts[name])
    return chosen or {names[0]}


def _counts(rows: Sequence[Row], labels: Labels) -> Counter[str]:
    return Counter(label for row in rows for label in (set(labels(row)) or {_NONE}))


class QualityLimits(Protocol):
    """What a row has to keep to; see `harness.tasks.schema.Quality`."""

    @property
    def min_score(self) -> float | None:
        """Rows with a lower score go."""

    @property
    def drop_duplicates(self) -> bool:
        """Whether rows go whose input and answer stand in an earlier row."""

    @property
    def min_words(self) -> int | None:
        """Rows with a shorter input go."""

    @property
    def max_words(self) -> int | None:
        """Rows with a longer input go."""


class FilteredRows(NamedTuple):
    """What is left.

    Attributes:
        rows: in their order.
        left_out: how many went, by the first reason that held.
    """

    rows: tuple[Row, ...]
    left_out: Mapping[str, int]


def filter_rows(rows: Sequence[Row], bounds: QualityLimits) -> FilteredRows:
    """Leaves out what does not keep to the bounds."""
    kept: list[Row] = []
    reasons: Counter[str] = Counter()
    met: set[tuple[object, ...]] = set()
    for row in rows:
        reason = _outside(row, bounds)
        if not reason and bounds.drop_duplicates:
            content = (input_key(row), answer_key(row))
            reason = "repeated" if content in met else ""
            met.add(content)
        if reason:
            reasons[reason] += 1
        else:
            kept.append(row)
    return FilteredRows(tuple(kept), dict(reasons))


def answer_key(row: Row) -> tuple[object, ...]:
    """What belongs to the input, for comparing: the output, or the entities with their places.

    Places count words and not characters, for inputs are compared without extra white space.
    """
    places = (
        (len(row.text[: span.start].split()), span.label, " ".join(span.text.casefold().split()))
        for span in row.entities
    )
    return (row.output and " ".join(row.output.split()), *places)


def _outside(row: Row, bounds: QualityLimits) -> str:
    if bounds.min_score is not None and row.score is not None and row.score < bounds.min_score:
        return f"scored below {bounds.min_score:g}"
    words = len((row.text.strip() or row.instruction or "").split())
    if bounds.min_words is not None and words < bounds.min_words:
        return f"under {bounds.min_words} words"
    if bounds.max_words is not None and words > bounds.max_words:
        return f"over {bounds.max_words} words"
    return ""


GRAM: Final = 8
SHARE: Final = 0.7
#: Shorter texts are no near duplicates: "5 %." is not told from "5."
LEAST: Final = 3

_WORD: Final = re.compile(r"\w+")


class NearDuplicate(NamedTuple):
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


def near_duplicates(splits: Mapping[str, Sequence[Row]]) -> tuple[NearDuplicate, ...]:
    """Each row that is a near duplicate of one in its own or an earlier split, once for a split.

    Within a split the shorter of two is named, so that leaving the named ones out leaves one of
    each.

    Args:
        splits: rows by split, the training split first.
    """
    names = tuple(splits)
    texts = _texts(splits)
    frequency = Counter(gram for text in texts for gram in text.grams)
    found: list[NearDuplicate] = []
    holders: dict[int, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        for other in _containing(text, texts, holders, frequency):
            found.append(
                NearDuplicate(names[text.place], text.row.id, names[other.place], other.row.id)
            )
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


class Place(NamedTuple):
    """A row, and another that it is held against."""

    split: str
    id: str
    other: str = ""


class Repeated(NamedTuple):
    """Rows whose input stands in another row, too.

    Attributes:
        split: of the rows.
        other: the same split, where a row before is meant, or an earlier one.
        exact: how many, apart from case and white space.
        near: how many besides, by `harness.data.preparation`.
        example: ids of a row and of the other; `=` exactly, `~` nearly.
    """

    split: str
    other: str
    exact: int
    near: int
    example: str


def exact_duplicates(rows: Mapping[str, Sequence[Row]]) -> tuple[Repeated, ...]:
    """What is there twice: in each split, and in each split and an earlier one.

    Args:
        rows: by split, the training split first.
    """
    exact: Counter[tuple[str, str]] = Counter()
    near: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    first: dict[str, dict[str, str]] = {}
    for split, own in rows.items():
        met: dict[str, str] = {}
        for row in own:
            key = input_key(row)
            for other, seen in (*first.items(), (split, met)):
                if key in seen:
                    exact[split, other] += 1
                    examples.setdefault((split, other), f"{row.id} = {seen[key]}")
            met.setdefault(key, row.id)
        first[split] = met
    for one in near_duplicates(rows):
        near[one.split, one.other_split] += 1
        examples.setdefault((one.split, one.other_split), f"{one.id} ~ {one.other_id}")
    names = list(rows)
    pairs = [(one, other) for n, one in enumerate(names) for other in (one, *names[:n])]
    return tuple(
        Repeated(*pair, exact[pair], near[pair], examples.get(pair, "")) for pair in pairs
    )


def contradictions(rows: Mapping[str, Sequence[Row]]) -> tuple[Place, ...]:
    """Rows whose input stands before with another answer.

    Args:
        rows: by split, the training split first.
    """
    met: dict[str, tuple[object, Place]] = {}
    found: list[Place] = []
    for split, own in rows.items():
        for row in own:
            answer = answer_key(row)
            other, place = met.setdefault(input_key(row), (answer, Place(split, row.id)))
            if other != answer:
                found.append(Place(split, row.id, f"{place.id} ({place.split})"))
    return tuple(found)


#: How many are named in a message.
_EXAMPLES = 2


def leak_message(found: Sequence[Leak]) -> str:
    """How many inputs stand in more than one split, where, and two of them."""
    counts = Counter((leak.split, leak.other_split) for leak in found)
    places = ", ".join(
        f"{number} of {split} in {other}" for (split, other), number in counts.items()
    )
    named = ", ".join(
        f"{leak.id} ({leak.split}) and {leak.other_id} ({leak.other_split})"
        for leak in found[:_EXAMPLES]
    )
    stand = "input stands" if len(found) == 1 else "inputs stand"
    return f"{len(found)} {stand} in more than one split ({places}), such as {named}"


def drop_leaks(rows: Mapping[str, Sequence[Row]]) -> dict[str, tuple[Row, ...]]:
    """Rows by split, less those whose input stands in a later split too.

    Training rows go before validation rows, and these before test rows: scores stay comparable
    with those that others have on the same test rows.

    Args:
        rows: by split, the training split first.
    """
    kept: dict[str, tuple[Row, ...]] = {}
    later: set[str] = set()
    for split, own in reversed(list(rows.items())):
        kept[split] = tuple(row for row in own if input_key(row) not in later)
        later.update(map(input_key, own))
    return {split: kept[split] for split in rows}
