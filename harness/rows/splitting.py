"""Makes a split from another: by group, by seed, and in the proportions of the classes if wanted.

Groups are taken in the order of a hash of seed and name, so that the choice is the same on every
platform, and a group more or less hardly moves the others. `StratifiedGroupKFold` of scikit-learn
shuffles by position, knows one class a row and shares of 1/k only; hence the few lines here.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

from harness.formats import Row, input_key

#: What `by` may say besides the name of a field.
DOCUMENT: Final = "document"
ROW: Final = "row"

#: Answers the classes of a row.
Labels = Callable[[Row], Collection[str]]
#: Stands for having none.
_NONE: Final = ""


class Cut(NamedTuple):
    """Rows in two parts, no group in both.

    Attributes:
        kept: what stays.
        carved: the new split.
        groups: groups in `carved`.
    """

    kept: tuple[Row, ...]
    carved: tuple[Row, ...]
    groups: int


def order(seed: int, name: str) -> str:
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


def carve(
    rows: Sequence[Row], count: float, seed: int, by: str, labels: Labels | None = None
) -> Cut:
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
    names = sorted(groups, key=lambda name: order(seed, name))
    if labels is None:
        chosen = set(names[: min(len(names) - 1, max(1, round(count)))])
    else:
        chosen = _stratified(names, groups, count / len(rows), labels)
    inside = {id(row) for name in chosen for row in groups[name]}
    return Cut(
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
