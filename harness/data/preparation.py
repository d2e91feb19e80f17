"""Prepares rows: makes splits, filters by quality, finds duplicates and drops leaks.

Functions that take several splits need the training split first.

Splits take whole groups, in the order of a hash of seed and name: the choice is the same on every
platform, and one group more or less hardly changes it. (`StratifiedGroupKFold` of scikit-learn
shuffles by position and knows one class per row and shares of 1/k only.)

A text is a near duplicate of another if at least 70 % of its word 8-grams occur in it: the
measure and threshold of PaLM (Chowdhery et al. 2022, section 8), with one text in the place of the
whole training set. Texts of three to seven words are near duplicates if all their words are equal.
Words are case-folded runs of letters and digits. Equal inputs are exact duplicates, not near ones.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from harness.data.rows import Leak, Row, input_key

#: Values of `by` other than the name of a field.
DOCUMENT: Final = "document"
ROW: Final = "row"

#: Returns the classes of a row.
Labels = Callable[[Row], Collection[str]]
#: The class of rows that have none.
_NO_LABEL: Final = ""


class Split(NamedTuple):
    """Rows in two parts, with no group in both.

    Attributes:
        remaining: in the old split.
        taken: the new split.
        groups: number of groups in `taken`.
    """

    remaining: tuple[Row, ...]
    taken: tuple[Row, ...]
    groups: int


def hash_order(seed: int, name: str) -> str:
    """A pseudo-random sort key, equal on every platform."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def group_rows(rows: Sequence[Row], by: str) -> dict[str, list[Row]]:
    """Rows by group, in order of first occurrence.

    They are grouped by `document`, by `row` (rows with the same input are one group), or by the
    name of the field that `Row.group` holds.
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
    """Moves whole groups of a split into a new one.

    Args:
        rows: of the split, at least two groups.
        count: number of groups to take, or of rows where `labels` are given.
        seed: of the choice.
        by: see `group_rows`.
        labels: returns the classes of a row, which keep their proportions (approximately, where a
            row has several or groups are large); no class loses its last group. None does not
            stratify.

    Raises:
        ValueError: there is only one group.
    """
    groups = group_rows(rows, by)
    if len(groups) < 2:
        raise ValueError("one group only")
    names = sorted(groups, key=lambda name: hash_order(seed, name))
    if labels is None:
        selected = set(names[: min(len(names) - 1, max(1, round(count)))])
    else:
        selected = _stratified_groups(names, groups, count / len(rows), labels)
    taken = {id(row) for name in selected for row in groups[name]}
    parts = [tuple(row for row in rows if (id(row) in taken) == new) for new in (False, True)]
    return Split(parts[0], parts[1], len(selected))


def _stratified_groups(
    names: Sequence[str], groups: Mapping[str, Sequence[Row]], share: float, labels: Labels
) -> set[str]:
    """Takes a group if that brings the counts of its classes closer to their targets.

    Squared deviations are divided by the target, as in a chi-squared statistic, so that a class of
    ten rows counts as much as one of a thousand. With groups of one row and one class, each class
    gives its first rows, up to its rounded share.
    """
    counts = {
        name: Counter(label for row in groups[name] for label in set(labels(row)) or {_NO_LABEL})
        for name in names
    }
    total = Counter(label for count in counts.values() for label in count.elements())
    target = {label: share * number for label, number in total.items()}
    taken: Counter[str] = Counter()
    selected: set[str] = set()
    for name in names:
        change = sum(
            ((taken[label] + count - target[label]) ** 2 - (taken[label] - target[label]) ** 2)
            / target[label]
            for label, count in counts[name].items()
        )
        last = any(taken[label] + count == total[label] for label, count in counts[name].items())
        if change < 0 and not last:
            selected.add(name)
            taken.update(counts[name])
    return selected or {names[0]}


def filter_rows(
    rows: Sequence[Row],
    min_score: float | None = None,
    drop_duplicates: bool = False,
    min_words: int | None = None,
    max_words: int | None = None,
) -> tuple[tuple[Row, ...], dict[str, int]]:
    """The rows within these limits, and how many were dropped, by the first reason that applied.

    See `harness.tasks.schema.Quality` for the limits.
    """
    remaining: list[Row] = []
    reasons: Counter[str] = Counter()
    seen: set[object] = set()
    for row in rows:
        words = len((row.text.strip() or row.instruction or "").split())
        content = (input_key(row), answer_key(row)) if drop_duplicates else None
        if min_score is not None and row.score is not None and row.score < min_score:
            reasons[f"scored below {min_score:g}"] += 1
        elif min_words is not None and words < min_words:
            reasons[f"under {min_words} words"] += 1
        elif max_words is not None and words > max_words:
            reasons[f"over {max_words} words"] += 1
        elif drop_duplicates and content in seen:
            reasons["repeated"] += 1
        else:
            remaining.append(row)
            seen.add(content)
    return tuple(remaining), dict(reasons)


def answer_key(row: Row) -> tuple[object, ...]:
    """The answer of a row, for comparing: the output, or the entities with their positions.

    Positions count words, not characters, since inputs are compared with white space collapsed.
    """
    places = (
        (len(row.text[: span.start].split()), span.label, " ".join(span.text.casefold().split()))
        for span in row.entities
    )
    return (row.output and " ".join(row.output.split()), *places)


NGRAM: Final = 8
MIN_SHARED: Final = 0.7
#: Shorter texts are never near duplicates: as words, "5 %." and "5." are the same.
MIN_WORDS: Final = 3

_WORD: Final = re.compile(r"\w+")


class _Text(NamedTuple):
    split: str
    row: Row
    key: str
    grams: frozenset[int]


def find_near_duplicates(splits: Mapping[str, Sequence[Row]]) -> tuple[Leak, ...]:
    """Each row that is a near duplicate of one in its own or an earlier split, once per split.

    Within a split the shorter of two is reported, so that dropping what is reported leaves one.
    """
    texts = _texts(splits)
    frequency = Counter(gram for text in texts for gram in text.grams)
    duplicates: list[Leak] = []
    holders: dict[int, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        for container in _texts_containing(text, texts, holders, frequency):
            duplicates.append(Leak(text.split, text.row.id, container.split, container.row.id))
        for gram in text.grams:
            holders[gram].append(number)
    return tuple(duplicates)


def _texts(splits: Mapping[str, Sequence[Row]]) -> list[_Text]:
    """Split by split, the longest texts first."""
    numbers: dict[tuple[str, ...], int] = {}
    texts: list[_Text] = []
    for split, rows in splits.items():
        split_texts = []
        for row in rows:
            words = _WORD.findall((row.text.strip() or row.instruction or "").casefold())
            starts = range(max(1, len(words) - NGRAM + 1) if len(words) >= MIN_WORDS else 0)
            grams = (tuple(words[start : start + NGRAM]) for start in starts)
            ngrams = frozenset(numbers.setdefault(gram, len(numbers)) for gram in grams)
            split_texts.append(_Text(split, row, input_key(row), ngrams))
        texts += sorted(split_texts, key=lambda text: -len(text.grams))
    return texts


def _texts_containing(
    text: _Text,
    texts: Sequence[_Text],
    holders: Mapping[int, Sequence[int]],
    frequency: Mapping[int, int],
) -> Iterator[_Text]:
    """One text of each split, among the earlier ones, that contains most of this one.

    Such a text shares at least `needed` of the 8-grams, hence at least one of any
    `len - needed + 1` of them: only texts with one of the rarest so many are compared, so that a
    beginning that thousands of texts share costs nothing.
    """
    needed = math.ceil(MIN_SHARED * len(text.grams))
    rarest = sorted(text.grams, key=lambda gram: (frequency[gram], gram))
    checked: set[int] = set()
    matched_splits: set[str] = set()
    for gram in rarest[: len(text.grams) - needed + 1]:
        for number in holders.get(gram, ()):
            candidate = texts[number]
            if candidate.split in matched_splits or number in checked:
                continue
            checked.add(number)
            if len(text.grams & candidate.grams) >= needed and text.key != candidate.key:
                matched_splits.add(candidate.split)
                yield candidate


class RowReference(NamedTuple):
    """A row of a split, and the row that it is compared with, if any, as `id (split)`."""

    split: str
    id: str
    compared_with: str = ""


class DuplicateCount(NamedTuple):
    """How many rows of a split repeat the input of a row in the same or an earlier split.

    Attributes:
        split: of the rows.
        other_split: the same split (an earlier row of it), or an earlier one.
        exact: equal inputs, by `input_key`.
        near: further rows that are near duplicates.
        example: ids of a row and of the other; `=` for exact, `~` for near.
    """

    split: str
    other_split: str
    exact: int
    near: int
    example: str


def count_duplicates(rows: Mapping[str, Sequence[Row]]) -> tuple[DuplicateCount, ...]:
    """Counts exact and near duplicates within each split, and between it and each earlier one."""
    exact: Counter[tuple[str, str]] = Counter()
    near: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    first: dict[str, dict[str, str]] = {}
    for split, split_rows in rows.items():
        ids: dict[str, str] = {}
        for row in split_rows:
            key = input_key(row)
            for earlier, seen in (*first.items(), (split, ids)):
                if key in seen:
                    exact[split, earlier] += 1
                    examples.setdefault((split, earlier), f"{row.id} = {seen[key]}")
            ids.setdefault(key, row.id)
        first[split] = ids
    for split, name, other_split, other_name in find_near_duplicates(rows):
        near[split, other_split] += 1
        examples.setdefault((split, other_split), f"{name} ~ {other_name}")
    names = list(rows)
    pairs = [(split, earlier) for n, split in enumerate(names) for earlier in (split, *names[:n])]
    return tuple(
        DuplicateCount(*pair, exact[pair], near[pair], examples.get(pair, "")) for pair in pairs
    )


def find_contradictions(rows: Mapping[str, Sequence[Row]]) -> tuple[RowReference, ...]:
    """Rows whose input occurs in an earlier row with another answer."""
    answers: dict[str, tuple[object, str]] = {}
    contradicting: list[RowReference] = []
    for split, split_rows in rows.items():
        for row in split_rows:
            answer = answer_key(row)
            first_answer, first = answers.setdefault(
                input_key(row), (answer, f"{row.id} ({split})")
            )
            if first_answer != answer:
                contradicting.append(RowReference(split, row.id, first))
    return tuple(contradicting)


#: A message names so many examples.
_EXAMPLES = 2


def leak_message(leaks: Sequence[Leak]) -> str:
    """How many inputs occur in more than one split, in which, and two examples."""
    counts = Counter((leak.split, leak.other_split) for leak in leaks)
    pairs = ", ".join(
        f"{number} of {split} in {earlier}" for (split, earlier), number in counts.items()
    )
    examples = ", ".join(
        f"{leak.id} ({leak.split}) and {leak.other_id} ({leak.other_split})"
        for leak in leaks[:_EXAMPLES]
    )
    occur = "input occurs" if len(leaks) == 1 else "inputs occur"
    return f"{len(leaks)} {occur} in more than one split ({pairs}), such as {examples}"


def drop_leaks(rows: Mapping[str, Sequence[Row]]) -> dict[str, tuple[Row, ...]]:
    """Rows by split, without those whose input occurs in a later split.

    Training rows are dropped rather than validation rows, and these rather than test rows, so
    that scores stay comparable with others on the same test rows.
    """
    remaining: dict[str, tuple[Row, ...]] = {}
    later: set[str] = set()
    for split, split_rows in reversed(list(rows.items())):
        remaining[split] = tuple(row for row in split_rows if input_key(row) not in later)
        later.update(map(input_key, split_rows))
    return {split: remaining[split] for split in rows}
